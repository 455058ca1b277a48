"""Convolutional block attention: which channels matter, then where (Woo et al., ECCV 2018, arXiv 1807.06521)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """`x * sigmoid(MLP(mean) + MLP(max))`, mean and max over the positions (section 3, eq. 2); shapes unchanged.

    The MLP, shared by both, goes down to `max(1, C // reduction)` and up again, with biases.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.mlp = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, channels, 1))

    def forward(self, features: Tensor) -> Tensor:
        mean, largest = features.mean((2, 3), keepdim=True), features.amax((2, 3), keepdim=True)
        return features * (self.mlp(mean) + self.mlp(largest)).sigmoid()


class SpatialAttention(nn.Module):
    """`x * sigmoid(norm(conv7([max, mean])))`, max and mean over the channels (section 3, eq. 3); shapes unchanged.

    The batch norm of the single plane, momentum 0.01, is that of the authors' code; the paper does not mention it.
    """

    def __init__(self, kernel: int = 7) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(1, momentum=0.01)
        )

    def forward(self, features: Tensor) -> Tensor:
        summary = torch.cat([features.amax(1, keepdim=True), features.mean(1, keepdim=True)], dim=1)
        return features * self.conv(summary).sigmoid()


class CBAM(nn.Sequential):
    """Channel attention, then spatial attention: `(N, C, H, W)` to the same shape.

    Args:
        channels: C.
        reduction: how much narrower the channel attention's hidden layer is.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.add_module("channel", ChannelAttention(channels, reduction))
        self.add_module("spatial", SpatialAttention())
