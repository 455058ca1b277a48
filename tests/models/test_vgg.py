"""VGG-16's convolutions against torchvision's."""

from __future__ import annotations

import pytest
import torch

from defectctl.models.backbones.vgg import vgg_features

models = pytest.importorskip("torchvision.models")


@pytest.mark.parametrize("norm", [False, True])
def test_equal_to_torchvision(norm):
    with torch.device("meta"):
        theirs = (models.vgg16_bn if norm else models.vgg16)(weights=None).features
        ours = vgg_features(3, norm=norm)
    assert [repr(layer) for layer in ours] == [repr(layer) for layer in theirs]
    shapes = {key: value.shape for key, value in theirs.state_dict().items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == shapes


def test_narrow_has_at_least_one_channel():
    layers = vgg_features(1, width=0.001)
    assert layers(torch.rand(1, 1, 32, 32)).shape == (1, 1, 1, 1)
