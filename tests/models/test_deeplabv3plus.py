"""DeepLabV3+ of the library: same network inside, padding that does not move anything."""

from __future__ import annotations

import pytest
import torch

from defectctl.models.deeplabv3plus import DeepLabV3Plus

smp = pytest.importorskip("segmentation_models_pytorch")


def test_equals_the_library_at_multiples_of_32():
    torch.manual_seed(0)
    ours = DeepLabV3Plus(3).eval()
    theirs = smp.DeepLabV3Plus("mobilenet_v2", encoder_weights=None, classes=4).eval()
    renamed = {}
    for key, value in ours.state_dict().items():
        key = key.removeprefix("segmentation.")
        renamed["segmentation_head" + key.removeprefix("head") if key.startswith("head") else key] = value
    theirs.load_state_dict(renamed)
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        logits = ours(images).mask_logits
        full = torch.nn.functional.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=True)
        torch.testing.assert_close(full, theirs(images), rtol=1e-4, atol=1e-5)
    assert sum(parameter.numel() for parameter in ours.parameters()) == 4_379_284


def test_padding_is_the_edge_repeated_and_cropped_again():
    torch.manual_seed(0)
    model = DeepLabV3Plus(1).eval()
    images = torch.rand(1, 3, 60, 50)
    padded = torch.nn.functional.pad(images, (0, 14, 0, 4), mode="replicate")
    with torch.no_grad():
        assert torch.equal(model(images).mask_logits, model(padded).mask_logits[:, :, :15, :13])


@pytest.mark.parametrize(
    ("encoder", "millions"), [("mobilenet_v2", 4.379), ("tu-xception65", 41.04), ("tu-xception41", 28.09)]
)
def test_published_sizes(encoder, millions):
    with torch.device("meta"):  # shapes only, so that the large ones cost nothing
        model = DeepLabV3Plus(3, encoder=encoder)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize("output_stride", [8, 16])
def test_output_stride_of_the_encoder(output_stride):
    model = DeepLabV3Plus(1, encoder="resnet18", output_stride=output_stride).eval()
    deepest = model.encoder(torch.rand(1, 3, 64, 96))[-1]
    assert deepest.shape[2:] == (64 // output_stride, 96 // output_stride)
    assert model(torch.rand(1, 3, 64, 96)).mask_logits.shape == (1, 2, 16, 24)
