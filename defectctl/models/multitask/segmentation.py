"""The segmentation decoder: context on the pyramid's finest map, joined with fine features of the backbone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from defectctl.models.blocks.cbs import CBS
from defectctl.models.blocks.ddwaspp import DDWASPP
from defectctl.models.blocks.denseaspp import DenseASPP
from defectctl.models.blocks.parallel_aspp import ParallelASPP
from defectctl.models.blocks.resdwab import ResDWAB

CONTEXT_WIDTH, SHALLOW_WIDTH, GROWTH, U_WIDTH = 256, 48, 64, 128
"""Channels at width 0.5 of the context and the decoder, of the reduced fine features, of a dense block, of `ushape`."""


class SegmentationDecoder(nn.Module):
    """`forward`: P2 `(N, w[1], h, w)` and F3 `(N, w[2], h / 2, w / 2)` to mask logits `(N, outputs, h, w)`.

    Context: `ddwaspp` (the paper's), `dwaspp`, `denseaspp` and `aspp` gather F3 into 256 channels, `none` leaves it.

    Decoder: `resdwab` (the paper's) sends P2 through residual depthwise atrous blocks, reduces it to 48 channels, and
    joins it with the doubled context by two 3x3 convolutions; `v3plus` is that of DeepLabV3+ (arXiv 1802.02611,
    figure 2), the same without the blocks; `ushape` doubles the context as U-Net does (arXiv 1505.04597): reduced to
    128 channels, joined with the whole of P2 by two 3x3 convolutions; `none`, the paper's baseline, classifies the
    context at once, with logits at half the size.

    Args:
        outputs: planes of the logits.
        widths: the encoder's.
        context: `ddwaspp`, `dwaspp`, `denseaspp`, `aspp` or `none`.
        decoder: `resdwab`, `v3plus`, `ushape` or `none`.
        blocks: number of residual depthwise atrous blocks, of `resdwab`.
        scale: multiple of the channels named above.
    """

    def __init__(
        self, outputs: int, widths: tuple[int, ...], context: str, decoder: str, blocks: int, scale: float
    ) -> None:
        super().__init__()
        shallow, pyramid = widths[1], widths[2]
        deep, reduced, growth, u_width = (
            max(8, 8 * round(size * scale / 8)) for size in (CONTEXT_WIDTH, SHALLOW_WIDTH, GROWTH, U_WIDTH)
        )
        self.context, channels = _context(context, pyramid, deep, growth)
        self.plain = decoder == "none"
        if decoder == "ushape":
            self.reduce = CBS(channels, u_width)
            self.shallow = nn.Sequential()
            self.fuse = _fuse(u_width + shallow, u_width)
            channels = u_width
        elif not self.plain:
            blocks = blocks if decoder == "resdwab" else 0
            self.reduce = nn.Sequential()
            self.shallow = nn.Sequential(*(ResDWAB(shallow) for _ in range(blocks)), CBS(shallow, reduced))
            self.fuse = _fuse(channels + reduced, deep)
            channels = deep
        self.classify = nn.Conv2d(channels, outputs, 1)

    def forward(self, p2: Tensor, f3: Tensor) -> Tensor:
        features = self.context(f3)
        if self.plain:
            return self.classify(features)
        fine = self.shallow(p2)
        features = functional.interpolate(
            self.reduce(features), size=fine.shape[2:], mode="bilinear", align_corners=False
        )
        return self.classify(self.fuse(torch.cat([features, fine], dim=1)))


def _context(name: str, channels: int, deep: int, growth: int) -> tuple[nn.Module, int]:
    """The context module and its channels."""
    if name == "ddwaspp":
        return DDWASPP(channels, deep, growth), deep
    if name == "denseaspp":
        return DenseASPP(channels, deep, growth), deep
    if name in ("aspp", "dwaspp"):
        return ParallelASPP(channels, deep, separable=name == "dwaspp"), deep
    return nn.Sequential(), channels


def _fuse(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(CBS(in_channels, out_channels, 3), CBS(out_channels, out_channels, 3))
