"""Residual depthwise atrous block, resDWAB, for fine features of the segmentation decoder (Sensors 22:9845, 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defectctl.models.blocks.cbs import CBS, depthwise

DILATIONS = (1, 2, 3)
"""The paper's "dilation 0, 1, 2", read as pixels left out between two weights of the kernel."""


class DWACB(nn.Module):
    """Depthwise atrous block: an inverted residual beside its input, fused by a 1x1; `(N, C, H, W)` stays so.

    1x1 to 2C, dilated depthwise 3x3, linear 1x1 back to C (MobileNetV2's bottleneck, arXiv 1801.04381), then the
    concatenation with the input goes through a 1x1.
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.residual = nn.Sequential(
            CBS(channels, wide), depthwise(wide, dilation), CBS(wide, channels, activation=False)
        )
        self.fuse = CBS(wide, channels)

    def forward(self, features: Tensor) -> Tensor:
        return self.fuse(torch.cat([self.residual(features), features], dim=1))


class ResDWAB(nn.Sequential):
    """Three depthwise atrous blocks of growing dilation in a row, `(N, C, H, W)` unchanged in shape."""

    def __init__(self, channels: int) -> None:
        super().__init__(*(DWACB(channels, dilation) for dilation in DILATIONS))
