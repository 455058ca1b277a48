"""Residual depthwise atrous blocks: size, field of view, and the way past them."""

from __future__ import annotations

import torch
from torch import nn

from defectctl.models.blocks.resdwab import DWACB, ResDWAB


def test_size_at_64_channels():
    """Each of three: 64 to 128 (8192 + 256), depthwise 128 * 9 + 256, 128 to 64 (8192 + 128), fused 128 to 64 (8192 +
    128): 26,496. Together 0.0795 M."""
    block = ResDWAB(64)
    assert sum(parameter.numel() for parameter in block.parameters()) == 3 * 26_496 == 79_488
    assert block(torch.rand(2, 64, 7, 10)).shape == (2, 64, 7, 10)


def test_field_of_view():
    """Dilations 1, 2 and 3, the paper's 0, 1 and 2 pixels left out: 6 pixels to each side."""
    block = ResDWAB(2).eval()
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.ones_(module.weight)
    image = torch.zeros(1, 2, 1, 21)
    with torch.no_grad():
        silent = block(image)
        image[..., 10] = 1
        reached = (block(image) != silent)[0, 0, 0].nonzero()[:, 0].tolist()
    assert (min(reached), max(reached)) == (4, 16)


def test_the_residual_path_ends_linear_and_the_input_goes_past_it():
    block = DWACB(4, 2).eval()
    assert [type(layer) for layer in block.residual[2]] == [nn.Conv2d, nn.BatchNorm2d]
    nn.init.zeros_(block.residual[2].conv.weight)
    features = torch.rand(1, 4, 5, 5)
    with torch.no_grad():
        alone = torch.cat([torch.zeros_like(features), features], dim=1)
        assert torch.equal(block(features), block.fuse(alone))
