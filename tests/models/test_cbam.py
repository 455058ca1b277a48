"""CBAM against timm's, and by hand."""

from __future__ import annotations

import math

import pytest
import torch

from defectctl.models.blocks.cbam import CBAM, ChannelAttention, SpatialAttention


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_with_biases_and_timms_count_without():
    biases = 4 + 64  # of the MLP 64-4-64, which timm leaves out by default
    assert count(CBAM(64)) - biases == 612
    assert count(CBAM(64)) == (64 * 4 + 4) + (4 * 64 + 64) + 2 * 49 + 2
    assert count(ChannelAttention(8)) == 8 + 1 + 8 + 8, "at least one hidden channel"


def test_equal_to_timm():
    cbam = pytest.importorskip("timm.layers.cbam")
    torch.manual_seed(0)
    theirs, ours = cbam.CbamModule(32, mlp_bias=True).eval(), CBAM(32).eval()
    state = theirs.state_dict()
    state["spatial.conv.bn.running_var"].fill_(0.3)
    state["spatial.conv.bn.bias"].fill_(0.2)
    theirs.load_state_dict(state)
    ours.load_state_dict(
        {
            "channel.mlp.0.weight": state["channel.fc1.weight"],
            "channel.mlp.0.bias": state["channel.fc1.bias"],
            "channel.mlp.2.weight": state["channel.fc2.weight"],
            "channel.mlp.2.bias": state["channel.fc2.bias"],
            "spatial.conv.0.weight": state["spatial.conv.conv.weight"].flip(1),  # timm: mean first
            **{f"spatial.conv.1.{name}": state[f"spatial.conv.bn.{name}"] for name in (
                "weight", "bias", "running_mean", "running_var", "num_batches_tracked")},
        }
    )  # fmt: skip
    features = torch.randn(2, 32, 9, 14)
    with torch.no_grad():
        torch.testing.assert_close(ours(features), theirs(features))


def test_channel_attention_by_hand():
    attention = ChannelAttention(2)  # hidden layer of one
    with torch.no_grad():
        attention.mlp[0].weight.copy_(torch.tensor([1.0, 0.5]).view(1, 2, 1, 1))
        attention.mlp[0].bias.fill_(-1)
        attention.mlp[2].weight.copy_(torch.tensor([1.0, -2.0]).view(2, 1, 1, 1))
        attention.mlp[2].bias.fill_(0.25)
        gated = attention(torch.tensor([[[[1.0, 3.0]], [[0.0, 4.0]]]]))
    # means 2, 2: hidden 2 + 1 - 1 = 2, out 2.25, -3.75; maxima 3, 4: hidden 3 + 2 - 1 = 4, out 4.25, -7.75
    first, second = 1 / (1 + math.exp(-6.5)), 1 / (1 + math.exp(11.5))
    torch.testing.assert_close(gated, torch.tensor([[[[first, 3 * first]], [[0.0, 4 * second]]]]))


def test_spatial_attention_by_hand():
    attention = SpatialAttention().eval()
    with torch.no_grad():
        attention.conv[0].weight.zero_()
        attention.conv[0].weight[0, :, 3, 3] = torch.tensor(
            [1.0, -2.0]
        )  # max minus twice the mean, at the pixel itself
        attention.conv[1].running_var.fill_(1 - attention.conv[1].eps)
        gated = attention(torch.tensor([[[[4.0, 1.0]], [[2.0, 1.0]]]]))
    # max 4, mean 3: 4 - 6 = -2; max 1, mean 1: -1
    left, right = 1 / (1 + math.exp(2)), 1 / (1 + math.exp(1))
    torch.testing.assert_close(gated, torch.tensor([[[[4 * left, right]], [[2 * left, right]]]]))


def test_the_planes_norm_moves_slowly():
    assert CBAM(16).spatial.conv[1].momentum == 0.01
