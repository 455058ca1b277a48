"""The weight gradient of a dilated depthwise convolution in bf16 agrees with float32's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from defectctl.models.blocks.dilated_depthwise import guard_dilated_depthwise


@pytest.mark.parametrize(("kernel", "dilation", "side"), [(3, 2, 48), (3, 3, 64), (5, 2, 48), (3, 1, 48)])
def test_the_gradient_in_bf16_is_that_of_float32(kernel, dilation, side):
    torch.manual_seed(0)
    padding = dilation * (kernel // 2)
    net = nn.Sequential(nn.Conv2d(32, 32, kernel, padding=padding, dilation=dilation, groups=32, bias=False))
    net = guard_dilated_depthwise(net.to(memory_format=torch.channels_last))
    images = torch.randn(4, 32, side, side).contiguous(memory_format=torch.channels_last)
    slope = torch.randn(4, 32, side, side)
    net(images).backward(slope)
    exact = net[0].weight.grad.clone()
    for _ in range(3):
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            found = net(images)
        found.backward(slope.to(found.dtype))
        assert (net[0].weight.grad - exact).abs().max() < 0.02 * exact.abs().max()


def test_only_dilated_depthwise_convolutions_are_touched_and_copies_keep_it():
    net = nn.Sequential(nn.Conv2d(4, 4, 3, dilation=2), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3, 1, 2, 2, 4))
    for each in (guard_dilated_depthwise(net), copy.deepcopy(net)):
        assert ["_conv_forward" in vars(conv) for conv in each] == [False, False, True]
        assert each[2]._conv_forward.__self__ is each[2]
    images = torch.rand(1, 4, 9, 9)
    with torch.no_grad():
        assert torch.equal(net(images), nn.Sequential.forward(copy.deepcopy(net), images))
