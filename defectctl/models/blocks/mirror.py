"""Convolution that sees the image mirrored at its edge, so that the border of a part is no dark frame to it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from defectctl.models.blocks.conv import PooledBatchNorm


class MirrorPad(nn.Module):
    """Add `reach` pixels on every side: `(N, C, H, W)` to `(N, C, H + 2 reach, W + 2 reach)`.

    The pixels inside the edge are mirrored at it (the edge itself is not repeated). A mirror cannot show more than
    there is: where a side has `reach` pixels or fewer, all four sides repeat their outermost pixels instead.
    """

    def __init__(self, reach: int) -> None:
        super().__init__()
        self.reach = reach

    def forward(self, features: Tensor) -> Tensor:
        mode = "reflect" if min(features.shape[2:]) > self.reach else "replicate"
        return functional.pad(features, [self.reach] * 4, mode=mode)

    def extra_repr(self) -> str:
        return str(self.reach)


class MirrorConvNorm(nn.Sequential):
    """Mirrored edge, convolution (with bias), batch norm, ReLU: `(N, in, H, W)` to `(N, out, H, W)`.

    The children are plain layers called `pad`, `conv`, `bn` and `act`, so that convolution and norm can be folded into
    one for inference. `pooled` takes a batch norm that bears a map of a single pixel in a batch of one image.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, pooled: bool = False) -> None:
        super().__init__()
        self.add_module("pad", MirrorPad(kernel // 2))
        self.add_module("conv", nn.Conv2d(in_channels, out_channels, kernel))
        self.add_module("bn", (PooledBatchNorm if pooled else nn.BatchNorm2d)(out_channels))
        self.add_module("act", nn.ReLU(inplace=True))
