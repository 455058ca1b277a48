"""Efficient local attention: gates for rows and columns from one-dimensional convolutions (arXiv 2403.01123)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from defectctl.errors import InputError
from defectctl.models.blocks.branches import scale_weights

KERNELS = {"dual": (3, 7), "b": (7,), "t": (5,)}
"""Kernel sizes of the depthwise 1-D convolutions whose results are summed, by variant."""
NORM_GROUPS = {"dual": 16, "b": 16, "t": 32}
"""Groups of the shared group norm, by variant (`b` and `t`: table of the ELA paper)."""


class ELA(nn.Module):
    """Gate a map by what stands in its row and in its column: `y = x * a_h * a_w`, shapes unchanged.

    The means over the width `(N, C, H)` and over the height `(N, C, W)` pass through the *same* depthwise convolutions
    (no bias, "same" padding) and the *same* group norm, then a sigmoid. No channel reduction, no residual.

    Args:
        channels: C.
        variant: `b` and `t` as in the ELA paper; `dual` sums kernels of 3 and 7, the reading of SME-DeepLabV3+
            ("3x3 and 7x7 convolutions") that its published counts allow.

    Raises:
        InputError: C cannot be divided into the variant's norm groups (`dual` takes the largest number that fits).
    """

    def __init__(self, channels: int, variant: str = "dual") -> None:
        super().__init__()
        groups = NORM_GROUPS[variant]
        if variant == "dual":
            groups = math.gcd(groups, channels)
        if channels % groups:
            raise InputError(
                f"attention 'ela: {variant}' needs a multiple of {groups} channels and this backbone's first stage has "
                f"{channels}; take 'ela: dual' or another backbone"
            )
        self.convs = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False)
            for kernel in KERNELS[variant]
        )
        self.norm = nn.GroupNorm(groups, channels)

    def scale_branches(self, shares: Sequence[float]) -> None:
        """Multiply the initial weights of the kernels by their number times q_k (SME-DeepLabV3+, adaptive
        initialisation).

        Args:
            shares: q_3, q_7 for `dual`, the shares of defects that fit each kernel best at this map's resolution.

        Raises:
            InputError: not one share a kernel, or all are 0.
        """
        scale_weights(self.convs, shares, "model.ela_shares")

    def gate(self, strip: Tensor) -> Tensor:
        """Return the gate, 0..1, of a strip of means `(N, C, L)`, same shape."""
        return self.norm(sum(conv(strip) for conv in self.convs)).sigmoid()

    def forward(self, features: Tensor) -> Tensor:
        rows = self.gate(features.mean(3)).unsqueeze(3)
        columns = self.gate(features.mean(2)).unsqueeze(2)
        return features * rows * columns
