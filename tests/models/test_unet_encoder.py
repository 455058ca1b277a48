"""U-Net on encoders of the library: published sizes, equal to the library's, maps at the image's own size."""

from __future__ import annotations

import pytest
import segmentation_models_pytorch as smp
import torch

from defectctl.config.presets import load_preset
from defectctl.models.unet_encoder import UNetEncoder

SECOND_PLANE = 16 * 3 * 3 + 1
"""Weights of one more plane of logits: a 3x3 convolution on the decoder's 16 channels, and a bias."""


@pytest.mark.parametrize(
    ("encoder", "millions"),
    [("resnet152", 67.157), ("vgg16", 23.748), ("vgg16_bn", 23.757), ("inceptionv4", 48.792), ("mobilenet_v2", 6.629)],
)
def test_published_sizes_with_one_plane(encoder, millions):
    with torch.device("meta"):
        model = UNetEncoder(1, encoder=encoder)
    count = sum(parameter.numel() for parameter in model.parameters()) - SECOND_PLANE
    assert count / 1e6 == pytest.approx(millions, abs=0.0005)


@pytest.mark.parametrize(("encoder", "millions"), [("resnet34", 24.44), ("resnet50", 32.52)])
def test_res_unet_has_its_size(encoder, millions):
    with torch.device("meta"):
        model = UNetEncoder(3, encoder=encoder)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize("encoder", ["resnet152", "vgg16", "inceptionv4", "mobilenet_v2"])
def test_corrosion_presets_follow_the_paper(encoder):
    preset = load_preset(f"unet-{encoder.replace('_', '')}")
    (stage,) = preset.train.stages
    assert (preset.model.options, preset.input.size, stage.epochs) == ({"encoder": encoder}, (224, 224), 150)
    assert (stage.losses, preset.train.select) == ({"dice": 1.0}, "val/image_f1")
    assert preset.train.patience is None, "every run of the paper has its 150 epochs"


def test_equals_the_library_at_multiples_of_32():
    torch.manual_seed(0)
    ours, theirs = UNetEncoder(2).eval(), smp.Unet("mobilenet_v2", encoder_weights=None, classes=3).eval()
    theirs.encoder.load_state_dict(ours.encoder.state_dict())
    theirs.decoder.load_state_dict(ours.segmentation["decoder"].state_dict())
    theirs.segmentation_head.load_state_dict(ours.segmentation["head"].state_dict())
    images = torch.rand(1, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(ours(images).mask_logits, theirs(images))


@pytest.mark.parametrize("encoder", ["vgg11", "mit_b0", "resnet18"])
@pytest.mark.parametrize("channels", [1, 3])
def test_odd_sizes_on_unlike_encoders(encoder, channels):
    model = UNetEncoder(1, channels, encoder=encoder).eval()
    with torch.no_grad():
        assert model(torch.rand(1, channels, 33, 47)).mask_logits.shape == (1, 2, 33, 47)
