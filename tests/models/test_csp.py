"""The blocks of YOLOv5: sizes, residuals, pooling that chains, norm as published."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from defectctl.models.blocks.cbs import CBS
from defectctl.models.blocks.csp import C3, SPPF, Bottleneck


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("module", "expected"),
    [(CBS(3, 32, 6, 2, padding=2), 3520), (C3(64, 64, 1), 18_816), (C3(128, 128, 2), 115_712), (SPPF(512), 656_896)],
)
def test_official_layer_sizes(module, expected):
    """As the model summary of YOLOv5s v6 prints them for layers 0, 2, 4 and 9."""
    assert count(module) == expected


def test_norm_and_activation():
    block = CBS(2, 3)
    assert (block.bn.eps, block.bn.momentum, block.conv.bias) == (1e-3, 0.03, None)
    assert [name for name, _ in block.named_children()] == ["conv", "bn", "act"]
    assert not hasattr(CBS(2, 3, activation=False), "act")


@pytest.mark.parametrize("add", [False, True])
def test_bottleneck_is_residual_where_asked(add):
    block = Bottleneck(4, add).eval()
    nn.init.zeros_(block.layers[1].conv.weight)
    features = torch.rand(1, 4, 5, 5)
    with torch.no_grad():
        assert torch.equal(block(features), features if add else torch.zeros_like(features))


def test_chained_maxima_equal_those_of_5_9_and_13():
    block = SPPF(8).eval()
    seen = []
    block.join.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    with torch.no_grad():
        features = torch.randn(1, 8, 20, 17)
        block(features)
        entered = block.enter(features)
        maxima = [functional.max_pool2d(entered, size, 1, size // 2) for size in (5, 9, 13)]
    assert torch.equal(seen[0], torch.cat([entered, *maxima], dim=1))
