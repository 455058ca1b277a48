"""Efficient local attention: hand-worked gates, sizes of the variants."""

from __future__ import annotations

import pytest
import torch

from defectctl.errors import InputError
from defectctl.models.blocks.ela import ELA


def test_hand_worked_gate():
    """One channel per norm group, kernel 5 with only its centre set: the strips are normalised, then gated."""
    block = ELA(32, "t")
    with torch.no_grad():
        block.convs[0].weight.zero_()
        block.convs[0].weight[:, :, 2] = 1
    features = torch.zeros(1, 32, 2, 2)
    features[:, :, 0, :] = 2.0  # row means 2 and 0: mean 1, deviation 1, normalised +1 and -1; column means equal
    with torch.no_grad():
        result = block(features)
    high, even = torch.sigmoid(torch.tensor(1.0)), 0.5
    torch.testing.assert_close(result[0, 0, 0], torch.full((2,), 2 * float(high) * even), rtol=1e-4, atol=1e-5)
    assert not result[0, :, 1].any()


@pytest.mark.parametrize(("variant", "expected"), [("dual", 32 * 10 + 64), ("b", 32 * 7 + 64), ("t", 32 * 5 + 64)])
def test_shape_and_parameters(variant, expected):
    block = ELA(32, variant)
    assert sum(parameter.numel() for parameter in block.parameters()) == expected
    features = torch.rand(2, 32, 9, 13)
    result = block(features)
    assert result.shape == features.shape
    assert (result <= features).all()  # both gates are below 1 and the features not negative


def test_rows_and_columns_share_their_weights():
    """Turning the map over its diagonal turns the result over: one gate serves both directions."""
    torch.manual_seed(0)
    block = ELA(16, "b").eval()
    features = torch.rand(1, 16, 6, 10)
    with torch.no_grad():
        torch.testing.assert_close(block(features.transpose(2, 3)), block(features).transpose(2, 3))


@pytest.mark.parametrize("channels", [16, 20, 24, 32])
def test_dual_fits_every_starnet(channels):
    assert ELA(channels)(torch.rand(1, channels, 4, 4)).shape == (1, channels, 4, 4)


def test_published_variants_refuse_channels_that_do_not_divide():
    with pytest.raises(InputError, match="ela: t"):
        ELA(24, "t")


def test_adaptive_initialisation_scales_both_kernels_with_mean_one():
    block = ELA(16)
    before = [conv.weight.clone() for conv in block.convs]
    block.scale_branches([0.2, 0.8])
    for conv, weight, factor in zip(block.convs, before, (0.4, 1.6), strict=True):
        torch.testing.assert_close(conv.weight.detach(), factor * weight)
    assert (block.norm.weight == 1).all()


def test_one_kernel_takes_no_two_shares():
    with pytest.raises(InputError, match="ela_shares has 2 numbers, but there are 1 kernels"):
        ELA(16, "b").scale_branches([0.5, 0.5])
