"""Feature norm against torch's instance norm, and where torch's gives up."""

from __future__ import annotations

import pytest
import torch

from defectctl.models.blocks.feature_norm import FeatureNorm


def test_equals_instance_norm_in_values_and_gradients():
    torch.manual_seed(0)
    ours, theirs = FeatureNorm(3).double(), torch.nn.InstanceNorm2d(3, affine=True).double()
    scale, bias = torch.rand(2, 3, dtype=torch.float64)
    gradients = []
    for norm, names in ((ours, ("scale", "bias")), (theirs, ("weight", "bias"))):
        norm.load_state_dict(dict(zip(names, (scale, bias), strict=True)))
        features = torch.linspace(-2, 5, 2 * 3 * 4 * 5, dtype=torch.float64).sin().view(2, 3, 4, 5).requires_grad_()
        result = norm(features)
        result.pow(3).sum().backward()
        gradients.append([result.detach(), features.grad, *(p.grad for p in norm.parameters())])
    for mine, reference in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, reference)


def test_by_hand():
    norm = FeatureNorm(1, eps=0.0)
    with torch.no_grad():
        norm.scale.fill_(2.0)
        norm.bias.fill_(1.0)
    features = torch.tensor([[[[1.0, 3.0], [1.0, 3.0]]]])  # mean 2, deviation 1
    assert norm(features).flatten().tolist() == [-1.0, 3.0, -1.0, 3.0]


def test_a_constant_map_becomes_the_bias():
    norm = FeatureNorm(2)
    with torch.no_grad():
        norm.bias.copy_(torch.tensor([0.25, -4.0]))
    assert norm(torch.full((1, 2, 1, 1), 7.0)).flatten().tolist() == pytest.approx([0.25, -4.0], abs=1e-3)
