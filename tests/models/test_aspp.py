"""Atrous spatial pyramid pooling: published size, fields of view, single images."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from defectctl.models.blocks.aspp import ASPP
from defectctl.models.blocks.conv import PooledBatchNorm, forgive_single_image


def test_published_size():
    """The count that models of the base code show for it: 2.232832 M."""
    block = ASPP(256, 256)
    assert sum(parameter.numel() for parameter in block.parameters()) == 2_232_832
    assert block.eval()(torch.rand(1, 256, 6, 9)).shape == (1, 256, 6, 9)


def test_pooled_branch_equals_bilinear_interpolation():
    value = torch.rand(2, 3, 1, 1)
    expected = functional.interpolate(value, size=(4, 5), mode="bilinear", align_corners=True)
    assert torch.equal(value.expand(-1, -1, 4, 5), expected)


def test_dilated_branches_look_exactly_their_rate_away():
    block = ASPP(1, 1, rates=(2, 3, 5)).eval()
    for branch, rate in zip(block.dilated, (2, 3, 5), strict=True):
        nn.init.ones_(branch.conv.weight)
        nn.init.zeros_(branch.conv.bias)
        image = torch.zeros(1, 1, 15, 15)
        image[..., 7, 7] = 1
        rows = branch(image)[0, 0].nonzero()[:, 0].unique().tolist()
        assert rows == [7 - rate, 7, 7 + rate]


def test_single_training_image_uses_running_statistics():
    norm = PooledBatchNorm(3)
    features = torch.rand(1, 3, 1, 1)
    torch.testing.assert_close(norm(features), features / (1 + norm.eps) ** 0.5)
    assert norm.num_batches_tracked == 0
    plain = nn.BatchNorm2d(3)
    batch = torch.rand(4, 3, 1, 1)
    torch.testing.assert_close(norm(batch), plain(batch))


def test_exchange_keeps_names_and_values():
    pooling = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.ReLU())
    nn.init.uniform_(pooling[2].weight)
    before = {key: value.clone() for key, value in pooling.state_dict().items()}
    forgive_single_image(pooling)
    after = pooling.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    pooling.train()(torch.rand(1, 2, 3, 3))
