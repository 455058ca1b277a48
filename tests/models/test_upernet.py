"""UPerNet: published size, ConvNeXt's own size inside, and a whole image as one value of its pyramid."""

from __future__ import annotations

import pytest
import torch

from defectctl.models.blocks.conv import PooledBatchNorm
from defectctl.models.upernet import UPerNet


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_sizes():
    with torch.device("meta"):
        model = UPerNet(3, encoder="resnet50")
    assert count(model) / 1e6 == pytest.approx(37.3, abs=0.05)


def test_convnext_tiny_inside():
    model = UPerNet(1, 1)
    classifier = 768 * 1000 + 1000 + 2 * 768  # linear layer and the norm before it
    first = 2 * 16 * 96  # two of the three channels of the 4x4 stem
    assert count(model.encoder) == 28_589_128 - classifier - first
    loss = model.train()(torch.rand(1, 1, 32, 32)).mask_logits.square().mean()
    loss.backward()
    assert loss.isfinite()


def test_only_the_global_mean_forgives_a_single_image():
    model = UPerNet(1, encoder="resnet18")
    names = [name for name, module in model.named_modules() if isinstance(module, PooledBatchNorm)]
    assert names == ["segmentation.decoder.psp.blocks.0.1.1"]
    assert model.eval()(torch.rand(2, 3, 45, 70)).mask_logits.shape == (2, 2, 12, 18)
