"""Normalisation of every channel of every image by its own mean and spread, in training and in use alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FeatureNorm(nn.Module):
    """`scale * (x - mean) / sqrt(variance + eps) + bias`, `(N, C, H, W)` unchanged in shape.

    Mean and variance are those of one channel of one image; scale and bias are learned per channel. It keeps no
    running statistics, so a batch of one image is treated as any other, and an image is judged the same in training
    and in use. (SegDecNet, Tabernik et al., J. Intelligent Manufacturing 2019; instance normalisation, arXiv
    1607.08022.) A constant channel, such as a map of a single pixel, becomes `bias`.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        # torch's own instance norm refuses a map of one pixel; one group a channel is the same sum
        return torch.group_norm(features, len(self.scale), self.scale, self.bias, self.eps)
