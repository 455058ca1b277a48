"""Mirrored edges: numpy's own padding is the truth, and a convolution of it is torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from defectctl.models.blocks.mirror import MirrorConvNorm, MirrorPad


@pytest.mark.parametrize(
    ("shape", "reach", "mode"),
    [((8, 9), 7, "reflect"), ((3, 2), 1, "reflect"), ((7, 20), 7, "edge"), ((1, 5), 1, "edge"), ((4, 4), 0, "edge")],
)
def test_as_numpy_pads(shape, reach, mode):
    features = np.random.default_rng(0).random((2, 3, *shape), dtype=np.float32)
    expected = np.pad(features, ((0, 0), (0, 0), (reach, reach), (reach, reach)), mode=mode)
    assert np.array_equal(MirrorPad(reach)(torch.from_numpy(features)).numpy(), expected)


def test_equals_the_convolution_that_torch_mirrors():
    torch.manual_seed(0)
    block = MirrorConvNorm(2, 3, 5).eval()
    theirs = torch.nn.Conv2d(2, 3, 5, padding=2, padding_mode="reflect")
    theirs.load_state_dict(block.conv.state_dict())
    features = torch.randn(2, 2, 7, 9)
    with torch.no_grad():  # fresh batch norm in evaluation mode: mean 0, variance 1, eps 1e-5
        torch.testing.assert_close(block(features), theirs(features).relu(), rtol=1e-4, atol=1e-5)


def test_a_pooled_block_trains_on_a_single_value():
    features = torch.ones(1, 2, 1, 1)
    assert MirrorConvNorm(2, 3, 3, pooled=True).train()(features).shape == (1, 3, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value"):
        MirrorConvNorm(2, 3, 3).train()(features)
