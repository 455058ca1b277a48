"""The encoder of YOLOv5 v6: CSPDarknet down to stride 32, and a feature pyramid back up to stride 8."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from defectctl.models.blocks.cbs import CBS
from defectctl.models.blocks.csp import C3, SPPF

STRIDE = 32
"""Of the deepest features; the sides of an image must be multiples of it."""

NOMINAL_WIDTHS = (64, 128, 256, 512, 1024)
"""Channels at strides 2 to 32 at width 1."""

NOMINAL_DEPTHS = (3, 6, 9, 3)
"""Bottlenecks at strides 4 to 32 at depth 1; the pyramid has as many as the last."""


class Features(NamedTuple):
    """What the decoders get; `w` is the encoder's `widths`, channels at strides 2, 4, 8, 16 and 32.

    Attributes:
        p2: `(N, w[1], H / 4, W / 4)`, backbone.
        f3: `(N, w[2], H / 8, W / 8)`, top-down pyramid.
        t4: `(N, w[2], H / 16, W / 16)`, where the pyramid branches off at stride 16.
        t5: `(N, w[3], H / 32, W / 32)`, likewise at stride 32.
    """

    p2: Tensor
    f3: Tensor
    t4: Tensor
    t5: Tensor


def scaled_widths(width: float) -> tuple[int, ...]:
    """Channels at strides 2 to 32, rounded up to multiples of 8; `width` 0.5 is YOLOv5s."""
    return tuple(8 * math.ceil(nominal * width / 8) for nominal in NOMINAL_WIDTHS)


def scaled_depths(depth: float) -> tuple[int, ...]:
    """Bottlenecks at strides 4 to 32, at least 1; `depth` 0.33 is YOLOv5s."""
    return tuple(max(1, round(nominal * depth)) for nominal in NOMINAL_DEPTHS)


class Encoder(nn.Module):
    """`forward`: images `(N, channels, H, W)`, sides multiples of 32, to `Features`.

    Args:
        channels: channels of the image.
        width, depth: multiples of the nominal channels and bottlenecks.
    """

    def __init__(self, channels: int, width: float, depth: float) -> None:
        super().__init__()
        self.widths = w = scaled_widths(width)
        n2, n3, n4, n5 = scaled_depths(depth)
        self.stem = CBS(channels, w[0], 6, 2, padding=2)
        self.stage2 = nn.Sequential(CBS(w[0], w[1], 3, 2), C3(w[1], w[1], n2))
        self.stage3 = nn.Sequential(CBS(w[1], w[2], 3, 2), C3(w[2], w[2], n3))
        self.stage4 = nn.Sequential(CBS(w[2], w[3], 3, 2), C3(w[3], w[3], n4))
        self.stage5 = nn.Sequential(CBS(w[3], w[4], 3, 2), C3(w[4], w[4], n5), SPPF(w[4]))
        self.lateral5 = CBS(w[4], w[3])
        self.merge4 = C3(2 * w[3], w[3], n5, add=False)
        self.lateral4 = CBS(w[3], w[2])
        self.merge3 = C3(2 * w[2], w[2], n5, add=False)

    def forward(self, images: Tensor) -> Features:
        p2 = self.stage2(self.stem(images))
        p3 = self.stage3(p2)
        p4 = self.stage4(p3)
        t5 = self.lateral5(self.stage5(p4))
        t4 = self.lateral4(self.merge4(torch.cat([_double(t5), p4], dim=1)))
        f3 = self.merge3(torch.cat([_double(t4), p3], dim=1))
        return Features(p2, f3, t4, t5)


def _double(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2.0, mode="nearest")
