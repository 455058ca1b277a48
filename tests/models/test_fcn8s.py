"""FCN-8s: parameters worked out by hand, VGG's weights as convolutions, the fusion of three depths."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from defectctl.errors import InputError
from defectctl.models.fcn8s import FCN8s


def test_parameters_by_hand():
    trunk = 14_714_688 + (7 * 7 * 512 * 4096 + 4096) + (4096 * 4096 + 4096)
    scores = (4096 * 21 + 21) + (512 * 21 + 21) + (256 * 21 + 21)
    doublings = 2 * 4 * 4 * 21 * 21
    with torch.device("meta"):
        model = FCN8s(20)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total == trunk + scores + doublings == 134_376_863
    assert round(total / 1e6) == 134  # table 1 of the paper, in millions


def test_fully_connected_weights_become_convolutions(monkeypatch):
    models = pytest.importorskip("torchvision.models")
    real = models.vgg16
    monkeypatch.setattr(models, "vgg16", lambda weights: real(weights=None))
    with torch.device("meta"):
        model = FCN8s(3)
        state = model.pretrained_encoder()
    own = model.encoder.state_dict()
    assert {key: value.shape for key, value in state.items()} == {key: value.shape for key, value in own.items()}


def test_a_narrow_trunk_has_no_imagenet_weights():
    with pytest.raises(InputError, match=r"'width: 1' only, not 0\.5"):
        FCN8s(1, width=0.5).pretrained_encoder()


def test_doublings_start_bilinear_within_each_class():
    head = FCN8s(2, width=0.0625).segmentation
    scores = torch.rand(1, 3, 6, 7)
    with torch.no_grad():
        doubled = head.doubling[0](scores)
    expected = functional.interpolate(scores, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(doubled[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1])


def test_three_depths_are_added():
    head = FCN8s(1, width=0.0625).segmentation
    with torch.no_grad():
        for score, bias in zip(head.score, (1.0, 10.0, 100.0), strict=True):
            assert not score.weight.any()
            score.bias.fill_(bias)
        maps = (torch.zeros(1, 16, 17, 20), torch.zeros(1, 32, 9, 10), torch.zeros(1, 256, 5, 5))
        scores = head(maps)
    assert scores.shape == (1, 2, 17, 20)
    assert scores[0, 0, 8, 8].item() == pytest.approx(111)  # a bilinear doubling keeps a constant, away from the edge


def test_strides_and_odd_sizes():
    model = FCN8s(2, 1, width=0.0625).eval()
    with torch.no_grad():
        maps = model.encoder(torch.rand(1, 1, 75, 101))
        logits = model(torch.rand(1, 1, 75, 101)).mask_logits
    assert [tuple(m.shape[1:]) for m in maps] == [(16, 10, 13), (32, 5, 7), (256, 3, 4)]
    assert logits.shape == (1, 3, 10, 13)


def test_start_without_weights_keeps_the_size_of_the_signal():
    torch.manual_seed(0)
    model = FCN8s(1, width=0.25).eval()
    model.initialise()
    with torch.no_grad():
        maps = model.encoder(torch.randn(1, 3, 96, 96))
    sizes = [m.square().mean().sqrt().item() for m in maps]
    assert all(0.2 < size < 5 for size in sizes), sizes
