"""Atrous pyramid without a global branch: the ASPP and DWASPP that Sensors 22:9845 (2022) compares DDWASPP with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defectctl.models.blocks.cbs import CBS, depthwise


class ParallelASPP(nn.Module):
    """`(N, in, H, W)` to `(N, out, H, W)`: a 1x1 and three dilated 3x3 side by side, joined by a 1x1, all of them CBS.

    Args:
        in_channels, out_channels: channels of the map that comes in and of every branch and the result.
        separable: DWASPP: a depthwise 3x3 and a 1x1, each a CBS, in the place of each dilated 3x3.
        rates: dilations of the three 3x3 convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        separable: bool = False,
        rates: tuple[int, ...] = (6, 12, 18),
    ) -> None:
        super().__init__()
        dilated = [
            nn.Sequential(depthwise(in_channels, rate), CBS(in_channels, out_channels))
            if separable
            else CBS(in_channels, out_channels, 3, dilation=rate)
            for rate in rates
        ]
        self.branches = nn.ModuleList([CBS(in_channels, out_channels), *dilated])
        self.join = CBS(len(self.branches) * out_channels, out_channels)

    def forward(self, features: Tensor) -> Tensor:
        return self.join(torch.cat([branch(features) for branch in self.branches], dim=1))
