"""HRNetV2: the backbone's published size, the head by hand, all four resolutions reaching the result."""

from __future__ import annotations

import pytest
import torch

from defectctl.models.hrnet import HRNet, HRNetHead


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_sizes_of_backbone_and_head():
    model = HRNet(3)
    assert count(model.encoder) / 1e6 == pytest.approx(9.56, abs=0.005)
    joined = 18 + 36 + 72 + 144
    assert count(model.segmentation) == joined * joined + joined + 2 * joined + joined * 4 + 4


@pytest.mark.parametrize("channels", [1, 3])
def test_small_backbone_odd_sizes_and_a_single_small_image(channels):
    model = HRNet(2, channels, backbone="hrnet_w18_small").train()
    model(torch.rand(1, channels, 32, 32)).mask_logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    with torch.no_grad():
        assert model.eval()(torch.rand(1, channels, 61, 35)).mask_logits.shape == (1, 3, 16, 9)


def test_head_enlarges_each_map_and_mixes_them_by_hand():
    head = HRNetHead([1, 1, 1, 1], 1).eval()
    with torch.no_grad():
        head[0].weight.copy_(torch.eye(4).view(4, 4, 1, 1))
        head[0].bias.zero_()
        head[1].eps = 0.0
        head[3].weight.copy_(torch.tensor([1.0, 10.0, 100.0, 1000.0]).view(1, 4, 1, 1))
        head[3].bias.zero_()
        maps = [torch.full((1, 1, 8 // s, 8 // s), float(v)) for s, v in ((1, 1), (2, 2), (4, -3), (8, 4))]
        logits = head(maps)
    assert logits.shape == (1, 1, 8, 8)
    torch.testing.assert_close(logits, torch.full((1, 1, 8, 8), 1.0 + 20.0 + 0.0 + 4000.0))
