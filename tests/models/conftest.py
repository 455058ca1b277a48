"""Lets the tests of networks share their smallest forms, and count operations as the papers' tables do."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def giga_macs() -> Callable[..., float]:
    """`giga_macs(build, *shape)`: 10^9 multiply-adds of `build()` on an input of that shape, without memory."""

    def count(build: Callable[[], nn.Module], *shape: int) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            thop = pytest.importorskip("thop", exc_type=ImportError)
            from thop.vision.basic_hooks import count_normalization

            from defectctl.models.blocks.conv import PooledBatchNorm

            with torch.device("meta"):
                network, images = build().eval(), torch.zeros(*shape)
            with torch.no_grad():
                rules = {PooledBatchNorm: count_normalization}
                operations, _ = thop.profile(network, (images,), custom_ops=rules, verbose=False)
        return float(operations) / 1e9

    return count
