"""Atrous pyramid without a global branch: the "ASPP" that Sensors 22:9845 (2022) compares DDWASPP with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defectctl.models.blocks.cbs import CBS


class ParallelASPP(nn.Module):
    """`(N, in, H, W)` to `(N, out, H, W)`: a 1x1 and three dilated 3x3 side by side, joined by a 1x1, all of them CBS.

    Args:
        in_channels, out_channels: channels of the map that comes in and of every branch and the result.
        rates: dilations of the three 3x3 convolutions.
    """

    def __init__(self, in_channels: int, out_channels: int = 256, rates: tuple[int, ...] = (6, 12, 18)) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [CBS(in_channels, out_channels), *(CBS(in_channels, out_channels, 3, dilation=rate) for rate in rates)]
        )
        self.join = CBS(len(self.branches) * out_channels, out_channels)

    def forward(self, features: Tensor) -> Tensor:
        return self.join(torch.cat([branch(features) for branch in self.branches], dim=1))
