"""U-Net and U-Net with CBAM: the known parameter counts, the places of the attention, the presets."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from defectctl.config.presets import load_preset
from defectctl.models.blocks.cbam import CBAM
from defectctl.models.unet_cbam import UNetCbam


def build(cbam: str, width: int = 64) -> UNetCbam:
    """With one class, so two planes of logits; without memory for the weights."""
    with torch.device("meta"):
        return UNetCbam(1, 3, cbam, width)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def cbams(*channels: int) -> int:
    """Parameters by hand: the MLP C - C/16 - C with biases, the 7x7 kernel on two planes, the norm's two."""
    return sum(c * (c // 16) + c // 16 + (c // 16) * c + c + 98 + 2 for c in channels)


def in_millions(parameters: int) -> str:
    return f"{parameters / 1e6:.3f}"


def test_published_parameter_counts():
    plain, both = count(build("none")), count(build("both"))
    assert in_millions(plain) == "31.038"
    assert in_millions(both) == "31.391"
    assert in_millions(both - cbams(1024)) == "31.259"  # no attention in the bottleneck
    joined, alone = cbams(1024, 512, 256, 128), cbams(512, 256, 128, 64)
    assert in_millions(both - joined + alone) == "31.260"  # decoder: attention before the maps are joined
    assert in_millions(count(build("both", width=32))) == "7.853"


def test_attention_in_one_half():
    plain = count(build("none"))
    assert count(build("encoder")) == plain + cbams(64, 128, 256, 512, 1024)
    assert count(build("decoder")) == plain + cbams(1024, 512, 256, 128)


def test_operations():
    """thop's, which counts a transposed 2x2 convolution four times; what is really multiplied is 48.2 G."""
    model = build("both").eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 256, 256, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(48.2, abs=0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        thop = pytest.importorskip("thop", exc_type=ImportError)
        operations, _ = thop.profile(model, (torch.zeros(1, 3, 256, 256, device="meta"),), verbose=False)
    assert f"{float(operations) / 1e9:.1f}" == "54.8"


def test_attention_stands_after_the_encoders_convolutions_and_before_the_decoders():
    model = build("both", width=4)
    assert [isinstance(level[-1], CBAM) for level in model.encoder.levels] == [True] * 5
    assert [isinstance(level[0], CBAM) for level in model.segmentation.levels] == [True] * 4
    assert not any(isinstance(module, CBAM) for module in build("none", width=4).modules())


def test_logits_have_the_images_size_and_edges_are_continued():
    torch.manual_seed(0)
    model = UNetCbam(2, 1, "both", 4).eval()
    image = torch.rand(1, 1, 47, 61)
    continued = torch.nn.functional.pad(image, (0, 3, 0, 1), mode="replicate")
    with torch.no_grad():
        found, whole = model(image).mask_logits, model(continued).mask_logits
    assert found.shape == (1, 3, 47, 61)
    torch.testing.assert_close(found, whole[:, :, :47, :61])


def test_start_without_weights_keeps_the_size_of_the_signal():
    torch.manual_seed(0)
    model = UNetCbam(1, 3, "none", 64)
    model.initialise()
    kernel = model.encoder.levels[2][3].weight
    assert kernel.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("name", ["unet-cbam", "unet", "segnet", "fcn-8s"])
def test_presets_differ_in_the_network_alone(name):
    preset, first = load_preset(name), load_preset("unet-cbam")
    (stage,), (expected,) = preset.train.stages, first.train.stages
    assert (preset.model.name, preset.input, preset.augment) == (name, first.input, first.augment)
    assert (stage.losses, stage.epochs, stage.schedule) == ({"ce": 0.7, "dice": 0.3}, 100, expected.schedule)
    assert stage.optimiser == expected.optimiser
    assert (stage.optimiser.name, stage.optimiser.lr) == ("adam", 1e-3)
    assert (preset.train.batch_size, preset.train.patience, preset.train.select) == (32, 15, "val/miou")
    assert preset.train.loss_options == {"dice": {"eps": 1.0}}
