"""Quick dropout keeps what plain dropout promises."""

from __future__ import annotations

import pytest
import torch

from defectctl.models.blocks.dropout import QuickDropout


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_share_scale_and_gradient(p, memory_format):
    torch.manual_seed(0)
    features = torch.ones(2, 10, 101, 99).to(memory_format=memory_format).requires_grad_()
    result = QuickDropout(p)(features)
    assert result.is_contiguous(memory_format=memory_format)
    assert sorted(result.unique().tolist()) == pytest.approx([0, 1 / (1 - p)])
    assert (result == 0).float().mean().item() == pytest.approx(p, abs=0.005)
    dropped = (result == 0).float().mean((0, 2, 3))
    assert dropped.std() < 0.02  # no channel is favoured
    neighbours = (result[..., 1:] == 0) & (result[..., :-1] == 0)
    assert neighbours.float().mean().item() == pytest.approx(p * p, abs=0.01)  # neighbours decide apart
    result.sum().backward()
    assert torch.equal(features.grad, result.detach())


def test_seed_repeats_and_evaluation_changes_nothing():
    features = torch.rand(1, 3, 5, 7)
    layer = QuickDropout(0.5)
    torch.manual_seed(3)
    first, second = layer(features), layer(features)
    torch.manual_seed(3)
    assert torch.equal(layer(features), first)
    assert not torch.equal(first, second)
    assert torch.equal(layer.eval()(features), features)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_limits(p):
    assert torch.equal(QuickDropout(p)(torch.ones(2, 3)), torch.full((2, 3), 1 - p))
