"""StarNet against timm's: outputs, weights both ways, and the published sizes."""

from __future__ import annotations

import pytest
import torch

from defectctl.models.backbones.starnet import VARIANTS, StarBlock, StarNet

timm = pytest.importorskip("timm")

CLASSIFIER = ("norm.", "head.")
PUBLISHED = {  # parameters of the 1000-class classifier, features only (M, rounded)
    "starnet_s1": (2_869_168, 2.676),
    "starnet_s2": (3_682_024, 3.425),
    "starnet_s3": (5_750_792, 5.493),
    "starnet_s4": (7_482_728, 7.225),
}
SMALL = {"starnet_s050": 0.54, "starnet_s100": 1.04, "starnet_s150": 1.56}
"""The same of the small variants, in millions with the classifier."""


def shake(model: torch.nn.Module) -> None:
    """Give batch norm, its statistics and all weights values that a wrong order of layers could not hide behind."""
    torch.manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
                module.bias.normal_(0, 0.1)
            elif isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.3, 0.6)
                module.bias.normal_(0, 0.1)
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(1, 2)


@pytest.mark.parametrize("variant", ["starnet_s4", "starnet_s1"])
@pytest.mark.parametrize("channels", [3, 1])
def test_equal_to_timm_weights_both_ways(variant, channels):
    images = torch.rand(2, channels, 75, 101)
    theirs = timm.create_model(variant, in_chans=channels).eval()
    shake(theirs)
    features = timm.create_model(variant, features_only=True, in_chans=channels).eval()
    state = theirs.state_dict()
    features.load_state_dict(
        {key.replace("stages.", "stages_").replace("stem.", "stem_"): value for key, value in state.items()
         if not key.startswith(CLASSIFIER)}
    )  # fmt: skip

    ours = StarNet(variant, channels).eval()
    missing = ours.load_state_dict(state, strict=False)
    assert missing.missing_keys == []
    assert all(key.startswith(CLASSIFIER) for key in missing.unexpected_keys)
    with torch.no_grad():
        for mine, expected in zip(ours(images), features(images), strict=True):
            assert 0 < mine.std() < 1e3
            torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)

    back = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert back.unexpected_keys == []
    assert all(key.startswith(CLASSIFIER) for key in back.missing_keys)


@pytest.mark.parametrize("variant", VARIANTS)
def test_sizes_and_names_equal_timms(variant):
    ours = StarNet(variant)
    theirs = timm.create_model(variant)
    shapes = {key: value.shape for key, value in theirs.state_dict().items() if not key.startswith(CLASSIFIER)}
    assert {key: value.shape for key, value in ours.state_dict().items()} == shapes


@pytest.mark.parametrize("variant", PUBLISHED)
def test_published_parameter_counts(variant):
    ours = StarNet(variant)
    count = sum(parameter.numel() for parameter in ours.parameters())
    tail = 2 * ours.widths[-1] + 1000 * ours.widths[-1] + 1000  # batch norm, linear layer
    total, features = PUBLISHED[variant]
    assert count + tail == total
    assert count / 1e6 == pytest.approx(features, abs=0.0006)


@pytest.mark.parametrize("variant", SMALL)
def test_published_sizes_of_the_small_variants(variant):
    ours = StarNet(variant)
    tail = 2 * ours.widths[-1] + 1000 * ours.widths[-1] + 1000
    count = sum(parameter.numel() for parameter in ours.parameters()) + tail
    assert count / 1e6 == pytest.approx(SMALL[variant], abs=0.005)


def test_strides_and_widths():
    features = StarNet("starnet_s4").eval()(torch.zeros(1, 3, 64, 96))
    assert [tuple(f.shape[1:]) for f in features] == [(32, 16, 24), (64, 8, 12), (128, 4, 6), (256, 2, 3)]


def test_stochastic_depth_keeps_the_mean_and_is_off_in_evaluation():
    torch.manual_seed(0)
    block = StarBlock(4, 2, drop_path=0.5)
    features = torch.rand(1, 4, 8, 8).expand(4000, -1, -1, -1)
    block.eval()
    with torch.no_grad():
        whole = block(features[:1]) - features[:1]
        block.training = True  # the switch of the block alone: batch norm stays in evaluation mode
        change = block(features) - features
    kept = change.flatten(1).abs().sum(1) > 0
    assert kept.float().mean().item() == pytest.approx(0.5, abs=0.03)
    torch.testing.assert_close(change[kept][:1], 2 * whole, rtol=1e-3, atol=1e-5)
