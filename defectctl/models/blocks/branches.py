"""Adaptive initialisation: parallel convolutions whose first weights follow the sizes of the defects to find."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from defectctl.errors import InputError


def scale_weights(branches: nn.ModuleList, shares: Sequence[float], option: str) -> None:
    """Multiply each convolution's weights by its share over the mean share, so that the factors' mean is 1.

    SME-DeepLabV3+ (PLoS ONE 20(8), 2025) claims an "adaptive weight initialisation from dataset statistics" without a
    formula; this is the reading that adds no parameter. A branch of share 0 starts at 0 and still learns.

    Args:
        branches: convolutions whose results are summed; biases stay.
        shares: one number of 0 or more a branch.
        option: key of the preset that gave them, for messages.

    Raises:
        InputError: another number of shares, or all are 0.
    """
    if len(shares) != len(branches):
        raise InputError(f"{option} has {len(shares)} numbers, but there are {len(branches)} kernels to start with it")
    total = sum(shares)
    if total <= 0:
        raise InputError(f"{option} needs at least one number above 0")
    with torch.no_grad():
        for branch, share in zip(branches, shares, strict=True):
            branch.weight.mul_(len(shares) * share / total)
