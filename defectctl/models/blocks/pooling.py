"""Pooling that halves a map of any size and loses nothing at its edge."""

from __future__ import annotations

from torch import nn


def halving_pool() -> nn.MaxPool2d:
    """2x2 maxima, `(N, C, H, W)` to `(N, C, ceil(H / 2), ceil(W / 2))`: an odd last row or column stands by itself."""
    return nn.MaxPool2d(2, ceil_mode=True)
