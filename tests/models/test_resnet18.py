"""ResNet18: exact size, equal to torchvision's, single small images."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import resnet18

from defectctl.models.resnet18 import ResNet18

PUBLISHED = 11_689_512
"""torchvision's count with a classifier of 1000 classes on 512 features."""


@pytest.mark.parametrize(("channels", "first"), [(3, 0), (1, 2 * 49 * 64)])
def test_size(channels, first):
    model = ResNet18(4, channels)
    expected = PUBLISHED - 513_000 + 513 - first
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
    assert channels != 3 or expected == 11_177_025


def test_equals_torchvision():
    torch.manual_seed(0)
    model, theirs = ResNet18(1).eval(), resnet18(num_classes=1).eval()
    theirs.load_state_dict(model.encoder.state_dict(), strict=False)
    theirs.fc.load_state_dict(model.decision.state_dict())
    images = torch.rand(3, 3, 75, 41)
    with torch.no_grad():
        assert torch.equal(model(images).image_logit, theirs(images)[:, 0])


@pytest.mark.parametrize("channels", [1, 3])
def test_smallest_image_trains_alone(channels):
    loss = ResNet18(1, channels).train()(torch.rand(1, channels, 32, 32)).image_logit.square().sum()
    loss.backward()
    assert loss.isfinite()


def test_imagenet_weights_fit_by_name(monkeypatch):
    from torchvision.models import ResNet18_Weights

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", lambda self, **_: resnet18().state_dict())
    model = ResNet18(1)
    state = model.pretrained_encoder()
    own = model.encoder.state_dict()
    assert set(own) <= set(state) and all(state[key].shape == own[key].shape for key in own)
