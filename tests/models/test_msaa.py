"""Multi-scale attention aggregation: merged and literal computation agree, hand-worked gates, sizes."""

from __future__ import annotations

import pytest
import torch

from defectctl.errors import InputError
from defectctl.models.blocks.msaa import MSAA, ChannelGate, SpatialGate


def test_merged_kernels_equal_the_literal_layers_and_their_gradients():
    torch.manual_seed(0)
    block = MSAA(3 * 16, 32).double()
    features = torch.randn(2, 16, 9, 11, dtype=torch.float64)
    results, gradients = [], []
    for literal in (False, True):
        block.literal = literal
        block.zero_grad()
        result = block(features)
        (result**2).sum().backward()
        results.append(result.detach())
        gradients.append([parameter.grad.clone() for parameter in block.parameters()])
    torch.testing.assert_close(results[0], results[1])
    for merged, literal in zip(*gradients, strict=True):
        torch.testing.assert_close(merged, literal)
    block.literal = False
    torch.testing.assert_close(block(torch.cat([features] * 3, dim=1)), results[1])  # different maps are taken too


def test_parameters_by_hand():
    width = 64
    reduce = 768 * width + width
    gate = 2 * width * (width // 4)
    branches = width * width * (9 + 25 + 49) + 3 * width
    expand = width * 256 + 256
    block = MSAA(768, 256)
    assert sum(p.numel() for p in block.parameters()) == reduce + gate + branches + 2 * 49 + expand
    assert block(torch.rand(1, 256, 5, 7)).shape == (1, 256, 5, 7)


def test_channel_gate_by_hand():
    gate = ChannelGate(4, reduction=4)
    with torch.no_grad():
        gate.mlp[0].weight.fill_(1.0)
        gate.mlp[2].weight.fill_(0.5)
    features = torch.zeros(1, 4, 2, 2)
    features[0, 0, 0, 0] = 4.0  # mean 1, largest 4: 0.5 * 1 + 0.5 * 4
    assert gate(features).flatten().tolist() == pytest.approx([torch.sigmoid(torch.tensor(2.5)).item()] * 4)


def test_spatial_gate_by_hand():
    gate = SpatialGate()
    with torch.no_grad():
        gate.conv.weight.zero_()
        gate.conv.weight[0, :, 3, 3] = torch.tensor([1.0, 10.0])  # order: mean, then largest
    features = torch.tensor([0.1, 0.3]).view(1, 2, 1, 1)
    assert gate(features).item() == pytest.approx(torch.sigmoid(torch.tensor(0.2 + 10 * 0.3)).item())


def test_adaptive_initialisation_scales_the_branches_with_mean_one():
    block = MSAA(8, 16)
    before = [branch.weight.clone() for branch in block.branches]
    rest = {name: value.clone() for name, value in block.state_dict().items() if not name.endswith("weight")}
    block.scale_branches([0.5, 0.3, 0.2])
    for branch, weight, factor in zip(block.branches, before, (1.5, 0.9, 0.6), strict=True):
        torch.testing.assert_close(branch.weight.detach(), factor * weight)
    for name, value in rest.items():
        assert torch.equal(block.state_dict()[name], value)
    block.scale_branches([0.3333, 0.3333, 0.3333])  # rounded shares still have the mean 1
    torch.testing.assert_close(block.branches[0].weight.detach(), 1.5 * before[0])


def test_a_branch_without_defects_starts_at_zero_and_learns():
    block = MSAA(8, 16)
    block.scale_branches([1, 0, 0])
    block(torch.rand(1, 8, 5, 5)).sum().backward()
    assert not block.branches[2].weight.any() and block.branches[2].weight.grad.any()


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0, 0, 0]])
def test_shares_that_do_not_fit_are_refused(shares):
    with pytest.raises(InputError, match="branch_shares"):
        MSAA(8, 16).scale_branches(shares)
