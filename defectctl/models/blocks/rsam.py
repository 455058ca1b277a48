"""Residual spatial attention: a heat map makes features louder where it is warm, and silences nothing."""

from __future__ import annotations

from torch import Tensor, nn


class ResidualSpatialAttention(nn.Module):
    """`F + F * M`: features `(N, C, h, w)` and a heat map `(N, 1, h, w)` of 0..1 to features `(N, C, h, w)`.

    The RSAM of LNet/DNet (IEEE Access, 2020); it has no weights of its own.
    """

    def forward(self, features: Tensor, heat: Tensor) -> Tensor:
        return features + features * heat
