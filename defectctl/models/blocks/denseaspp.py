"""Densely connected atrous pyramid: each dilated convolution sees all the ones before it (DenseASPP, CVPR 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defectctl.models.blocks.cbs import CBS
from defectctl.models.blocks.dropout import QuickDropout

RATES = (3, 6, 12, 18, 24)
"""Dilations of the five blocks."""


class DensePyramid(nn.Module):
    """`(N, in, H, W)` to `(N, out, H, W)`: blocks that each see the input and all results before, joined by a 1x1 CBS.

    Args:
        in_channels, out_channels: channels.
        growth: channels of a block's result.
        blocks: one per rate, block k from `in + k growth` channels to `growth`.
    """

    def __init__(self, in_channels: int, out_channels: int, growth: int, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.join = CBS(in_channels + len(blocks) * growth, out_channels)

    def forward(self, features: Tensor) -> Tensor:
        for block in self.blocks:
            features = torch.cat([features, block(features)], dim=1)
        return self.join(features)


class DenseASPP(DensePyramid):
    """The pyramid with dense 3x3 convolutions (Yang et al., CVPR 2018, figure 3): a 1x1 first, dropout 0.1 at the end.

    Norm and activation stand after each convolution here, as everywhere in this network; in the paper, before it.

    Args:
        in_channels, out_channels: channels.
        growth: channels of a block's result; the 1x1 before it has twice as many.
    """

    def __init__(self, in_channels: int, out_channels: int = 256, growth: int = 64) -> None:
        blocks: list[nn.Module] = [
            nn.Sequential(
                CBS(in_channels + number * growth, 2 * growth),
                CBS(2 * growth, growth, 3, dilation=rate),
                QuickDropout(0.1),
            )
            for number, rate in enumerate(RATES)
        ]
        super().__init__(in_channels, out_channels, growth, blocks)
