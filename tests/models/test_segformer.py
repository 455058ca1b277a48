"""SegFormer: published size, stride and grey images."""

from __future__ import annotations

import pytest
import torch

from defectctl.models.segformer import SegFormer


def test_published_size():
    assert sum(p.numel() for p in SegFormer(3, encoder="mit_b2").parameters()) / 1e6 == pytest.approx(24.7, abs=0.05)


@pytest.mark.parametrize("channels", [1, 3])
def test_odd_sizes_and_a_single_image(channels):
    model = SegFormer(2, channels).train()
    logits = model(torch.rand(1, channels, 33, 47)).mask_logits
    assert logits.shape == (1, 3, 9, 12)
    logits.square().mean().backward()
