"""What networks of segmentation-models-pytorch share: padding, encoders that do not fit, ImageNet weights."""

from __future__ import annotations

import pytest
import torch

from defectctl.errors import InputError
from defectctl.models.blocks.edge_padding import crop_to_stride, pad_to_multiple
from defectctl.models.deeplabv3plus import DeepLabV3Plus
from defectctl.models.pspnet import PSPNet
from defectctl.models.unet_encoder import UNetEncoder
from defectctl.models.unetplusplus import UNetPlusPlus
from defectctl.models.upernet import UPerNet


def test_padding_repeats_the_lower_and_right_edge():
    image = torch.arange(6.0).view(1, 1, 2, 3)
    assert pad_to_multiple(image, 4)[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]


@pytest.mark.parametrize(
    ("count", "size", "padded"),
    [(1, (32, 32), (32, 64)), (1, (5, 32), (32, 64)), (1, (33, 32), (64, 32)), (2, (32, 32), (32, 32))],
)
def test_a_single_cell_is_padded_to_two_in_training(count, size, padded):
    images = torch.rand(count, 3, *size)
    assert pad_to_multiple(images, 32, training=True).shape[2:] == padded
    assert pad_to_multiple(images, 32).shape[2:] == tuple(-(-side // 32) * 32 for side in size)


def test_crop_keeps_cells_that_the_image_touches():
    assert crop_to_stride(torch.zeros(1, 2, 16, 16), 60, 33, 4).shape == (1, 2, 15, 9)


@pytest.mark.parametrize(
    ("build", "encoder", "words"),
    [
        (UNetEncoder, "resnet43", "has no encoder 'resnet43'; did you mean 'resnet"),
        (UNetEncoder, "convnext_tiny", "has no encoder 'convnext_tiny'"),
        (UNetEncoder, "tu-nosuchnet", "timm has no model 'nosuchnet'"),
        (UNetEncoder, "tu-vit_tiny_patch16_224", "UNetEncoder cannot use the encoder 'tu-vit_tiny_patch16_224'"),
        (UPerNet, "tu-swin_tiny_patch4_window7_224", "UPerNet cannot use .*Input height"),
        (UNetPlusPlus, "mit_b0", "UNetPlusPlus cannot use the encoder 'mit_b0'"),
        (PSPNet, "vgg11", "PSPNet cannot use the encoder 'vgg11' dilated to output stride 8"),
        (DeepLabV3Plus, "xception", "DeepLabV3Plus cannot use the encoder 'xception' dilated to output stride 16"),
        (DeepLabV3Plus, "tu-starnet_s4", "DeepLabV3Plus cannot use the encoder 'tu-starnet_s4' dilated"),
    ],
)
def test_encoders_that_do_not_fit_are_one_plain_sentence(build, encoder, words):
    with pytest.raises(InputError, match=rf"^model\.encoder: .*{words}") as caught:
        build(2, encoder=encoder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("build", [DeepLabV3Plus, PSPNet, UNetEncoder, UPerNet])
@pytest.mark.parametrize("channels", [1, 3])
def test_smallest_image_trains_alone(build, channels):
    model = build(1, channels, encoder="resnet18").train()
    loss = model(torch.rand(1, channels, 32, 32)).mask_logits.square().mean()
    loss.backward()
    assert loss.isfinite()


def test_a_timm_encoder_is_left_ready_to_train():
    model = UNetEncoder(1, 1, encoder="tu-starnet_s050")
    assert all(module.training for module in model.modules())
    assert model(torch.rand(2, 1, 40, 50)).mask_logits.shape == (2, 2, 40, 50)


@pytest.mark.parametrize(("encoder", "weights"), [("resnet18", "imagenet"), ("tu-starnet_s050", True)])
def test_imagenet_weights_are_asked_for_in_the_librarys_way(monkeypatch, encoder, weights):
    model = UNetEncoder(1, 1, encoder=encoder)
    import segmentation_models_pytorch as smp

    theirs, asked = smp.encoders.get_encoder(encoder), []

    def get_encoder(name, **settings):
        asked.append((name, settings["weights"]))
        return theirs

    monkeypatch.setattr(smp.encoders, "get_encoder", get_encoder)
    state = model.pretrained_encoder()
    assert asked == [(encoder, weights)]
    assert set(state) == set(model.encoder.state_dict())
