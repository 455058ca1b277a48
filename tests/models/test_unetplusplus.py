"""UNet++: published size, and logits at the image's own size."""

from __future__ import annotations

import pytest
import torch

from defectctl.models.unetplusplus import UNetPlusPlus


def test_published_size():
    with torch.device("meta"):
        model = UNetPlusPlus(3)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(26.1, abs=0.05)


@pytest.mark.parametrize("channels", [1, 3])
def test_odd_sizes(channels):
    model = UNetPlusPlus(1, channels, encoder="resnet18").eval()
    with torch.no_grad():
        assert model(torch.rand(1, channels, 33, 47)).mask_logits.shape == (1, 2, 33, 47)
