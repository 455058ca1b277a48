"""SegNet: parameters worked out by hand, torchvision's weights, the mirrored decoder."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from defectctl.errors import InputError
from defectctl.models.segnet import SegNet

VGG_CONVOLUTIONS = 14_714_688
"""Weights and biases of VGG-16's convolutions."""
CHANNELS = 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512
"""Sum of their channels: as many biases, twice as many parameters of batch norm."""


@pytest.mark.parametrize("outputs", [2, 12])
def test_parameters_by_hand(outputs):
    encoder = VGG_CONVOLUTIONS + 2 * CHANNELS
    # the same kernels with in and out exchanged, but for the one that read the image and now gives the classes
    kernels = VGG_CONVOLUTIONS - CHANNELS - 9 * 3 * 64 + 9 * 64 * outputs
    channels = 3 * 512 + (2 * 512 + 256) + (2 * 256 + 128) + (128 + 64) + 64
    decoder = kernels + channels + outputs + 2 * channels
    with torch.device("meta"):
        model = SegNet(outputs - 1)
    assert [sum(p.numel() for p in part.parameters()) for part in model.parts.values()] == [encoder, decoder]
    assert encoder + decoder == {2: 29_444_162, 12: 29_449_932}[outputs]


def test_encoder_is_torchvisions_and_takes_its_weights(monkeypatch):
    models = pytest.importorskip("torchvision.models")
    real = models.vgg16_bn
    monkeypatch.setattr(models, "vgg16_bn", lambda weights: real(weights=None))
    with torch.device("meta"):
        model = SegNet(3)
        state = model.pretrained_encoder()
    own = model.encoder.state_dict()
    assert {key: value.shape for key, value in state.items()} == {key: value.shape for key, value in own.items()}


def test_a_narrow_encoder_has_no_imagenet_weights():
    with pytest.raises(InputError, match=r"'width: 1' only, not 0\.25"):
        SegNet(1, width=0.25).pretrained_encoder()


def test_decoder_mirrors_the_encoder():
    with torch.device("meta"):
        model = SegNet(4)
    forth = [(m.in_channels, m.out_channels) for m in model.encoder.modules() if isinstance(m, nn.Conv2d)]
    back = [(m.out_channels, m.in_channels) for m in model.segmentation.modules() if isinstance(m, nn.Conv2d)]
    assert back[::-1] == [(5, 64), *forth[1:]]
    assert isinstance(model.segmentation.stages[-1][-1], nn.Conv2d), "logits pass neither norm nor ReLU"


def test_values_return_to_the_places_of_the_maxima():
    model = SegNet(1, 1, width=0.0625).eval()
    seen = []
    model.segmentation.stages[-1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    before = []
    model.encoder.features[6].register_forward_pre_hook(lambda module, inputs: before.append(inputs[0]))
    torch.manual_seed(0)
    with torch.no_grad():
        model(torch.rand(1, 1, 64, 64))
    maps, largest = before[0][0], nn.functional.max_pool2d(before[0], 2)[0]
    repeated = largest.repeat_interleave(2, 1).repeat_interleave(2, 2)
    unique = nn.functional.avg_pool2d((maps == repeated)[None].float(), 2)[0] == 0.25
    full = (seen[0][0] != 0) & unique.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert full.any()
    assert (maps == repeated)[full].all()


def test_odd_sizes_and_grey():
    model = SegNet(2, 1, width=0.0625).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 1, 75, 101)).mask_logits.shape == (1, 3, 75, 101)
