"""Convolution, batch norm and SiLU, the brick of YOLOv5 (v6)."""

from __future__ import annotations

from torch import nn


class CBS(nn.Sequential):
    """Convolution without bias, batch norm (eps 1e-3, momentum 0.03), SiLU: `(N, in, H, W)` to `(N, out, H', W')`.

    The children are plain layers called `conv`, `bn` and `act`, so that convolution and norm can be folded into one
    for inference.

    Args:
        in_channels, out_channels: channels.
        kernel, stride, dilation, groups: of the convolution.
        padding: None keeps the size at stride 1 (odd kernels), `H' = ceil(H / stride)`.
        activation: False leaves the SiLU out: a linear layer.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        padding: int | None = None,
        activation: bool = True,
    ) -> None:
        super().__init__()
        padding = dilation * (kernel // 2) if padding is None else padding
        self.add_module(
            "conv", nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, groups, bias=False)
        )
        self.add_module("bn", nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.03))
        if activation:
            self.add_module("act", nn.SiLU(inplace=True))


def depthwise(channels: int, dilation: int = 1) -> CBS:
    """A 3x3 CBS that looks at every channel by itself, `(N, C, H, W)` unchanged in shape."""
    return CBS(channels, channels, 3, dilation=dilation, groups=channels)
