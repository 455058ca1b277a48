"""Atrous spatial pyramid pooling: one map seen through five fields of view (Chen et al. 2017, arXiv 1706.05587)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defectctl.models.blocks.conv import ConvNorm, PooledBatchNorm


class ASPP(nn.Module):
    """`(N, in, H, W)` to `(N, out, H, W)`: a 1x1, three dilated 3x3 and a global mean, joined by a 1x1.

    Every convolution has a bias and is followed by batch norm and ReLU.

    Args:
        in_channels, out_channels: channels of the map that comes in and of every branch and the result.
        rates: dilation (and padding) of the three 3x3 convolutions.
    """

    def __init__(self, in_channels: int, out_channels: int, rates: tuple[int, int, int] = (6, 12, 18)) -> None:
        super().__init__()
        self.point = ConvNorm(in_channels, out_channels, activation=nn.ReLU(inplace=True))
        self.dilated = nn.ModuleList(
            ConvNorm(in_channels, out_channels, 3, dilation=rate, activation=nn.ReLU(inplace=True)) for rate in rates
        )
        self.pooled = ConvNorm(in_channels, out_channels, activation=nn.ReLU(inplace=True))
        self.pooled.bn = PooledBatchNorm(out_channels)
        self.project = ConvNorm((2 + len(rates)) * out_channels, out_channels, activation=nn.ReLU(inplace=True))

    def forward(self, features: Tensor) -> Tensor:
        pooled = self.pooled(features.mean((2, 3), keepdim=True))
        # bilinear interpolation of a single value is that value everywhere
        pooled = pooled.expand(-1, -1, *features.shape[2:])
        branches = [self.point(features), *(branch(features) for branch in self.dilated), pooled]
        return self.project(torch.cat(branches, dim=1))
