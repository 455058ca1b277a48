"""MobileNetV2 against torchvision's: outputs, weights, dilations."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from defectctl.models.backbones.mobilenetv2 import MobileNetV2

models = pytest.importorskip("torchvision.models")


def dilations(model: MobileNetV2) -> list[tuple[int, int]]:
    """Stride and dilation of each layer's 3x3 convolution."""
    found = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert all(m.padding == m.dilation for m in found)
    return [(m.stride[0], m.dilation[0]) for m in found]


def test_equal_to_torchvision():
    torch.manual_seed(0)
    theirs, ours = models.mobilenet_v2(weights=None).eval(), MobileNetV2().eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias.data.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    loaded = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert loaded.missing_keys == []
    assert all(key.startswith(("features.18.", "classifier.")) for key in loaded.unexpected_keys)
    images = torch.rand(1, 3, 75, 101)
    with torch.no_grad():
        shallow, deep = ours(images)
        torch.testing.assert_close(shallow, theirs.features[:4](images))
        torch.testing.assert_close(deep, theirs.features[:-1](images))
    assert deep.std() > 0


def test_parameters():
    # torchvision's 3,504,872 less the last 1x1 to 1280 with its norm and the classifier
    count = sum(parameter.numel() for parameter in MobileNetV2().parameters())
    assert count == 3_504_872 - (320 * 1280 + 2 * 1280) - (1280 * 1000 + 1000)


@pytest.mark.parametrize(("output_stride", "deep"), [(32, (3, 4)), (16, (5, 7)), (8, (10, 13))])
def test_strides(output_stride, deep):
    features = MobileNetV2(1, output_stride).eval()(torch.zeros(1, 1, 75, 101))
    assert [tuple(f.shape[1:]) for f in features] == [(24, 19, 26), (320, *deep)]


def test_strides_become_dilations():
    start = [(2, 1), (1, 1), (2, 1), (1, 1), (2, 1), (1, 1), (1, 1)]  # up to the last layer at stride 8
    assert dilations(MobileNetV2(3, 16)) == [*start, (2, 1), *[(1, 1)] * 6, (1, 1), *[(1, 2)] * 3]
    assert dilations(MobileNetV2(3, 8)) == [*start, (1, 1), *[(1, 2)] * 6, (1, 2), *[(1, 4)] * 3]
