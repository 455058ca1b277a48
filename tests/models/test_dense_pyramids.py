"""DDWASPP, DenseASPP and the ASPP and DWASPP beside them: sizes, dense connections, fields of view."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from defectctl.models.blocks.ddwaspp import DDWASPP
from defectctl.models.blocks.denseaspp import DenseASPP
from defectctl.models.blocks.parallel_aspp import ParallelASPP

DWASPP = partial(ParallelASPP, separable=True)


@pytest.mark.parametrize(
    ("kind", "millions", "operations"),
    [(DDWASPP, 0.212, 0.221), (DenseASPP, 0.650, 0.668), (ParallelASPP, 1.182, 1.213), (DWASPP, 0.400, 0.413)],
    ids=["ddwaspp", "denseaspp", "aspp", "dwaspp"],
)
def test_sizes_and_operations_at_128_channels(kind, millions, operations, giga_macs):
    block = kind(128).eval()
    count = sum(parameter.numel() for parameter in block.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.0005)
    assert block(torch.rand(1, 128, 9, 12)).shape == (1, 256, 9, 12)
    assert giga_macs(lambda: kind(128), 1, 128, 32, 32) == pytest.approx(operations, abs=0.0006)


@pytest.mark.parametrize("kind", [DDWASPP, DenseASPP])
def test_every_block_sees_the_input_and_all_blocks_before(kind):
    block = kind(8, 16, growth=4)
    assert [branch[0].conv.in_channels for branch in block.blocks] == [8, 12, 16, 20, 24]
    assert block.join.conv.in_channels == 8 + 5 * 4


def test_ddwaspp_is_depthwise_then_pointwise():
    """One third of the weights of the dense one, because its 3x3 look at one channel each."""
    for branch, rate in zip(DDWASPP(8, 16, growth=4).blocks, (3, 6, 12, 18, 24), strict=True):
        wide, point = branch[0].conv, branch[1].conv
        assert wide.groups == wide.in_channels == wide.out_channels and wide.dilation == (rate, rate)
        assert point.kernel_size == (1, 1) and len(branch) == 2


@pytest.mark.parametrize("kind", [DDWASPP, DenseASPP])
def test_field_of_view(kind):
    """Chained densely, the rates add up: 3 + 6 + 12 + 18 + 24 = 63 pixels to each side."""
    torch.manual_seed(0)
    block = kind(2, 2, growth=2).eval()
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 0.5)
    image = torch.zeros(1, 2, 1, 141, dtype=torch.float64)
    with torch.no_grad():
        silent = block.double()(image)
        image[..., 70] = 1
        reached = (block(image) != silent)[0, 0, 0].nonzero()[:, 0]
    assert (reached.min().item(), reached.max().item()) == (70 - 63, 70 + 63)


def test_a_batch_of_one_trains():
    for kind in (DDWASPP, DenseASPP, ParallelASPP, DWASPP):
        assert kind(8, 8).train()(torch.rand(1, 8, 4, 4)).isfinite().all()
