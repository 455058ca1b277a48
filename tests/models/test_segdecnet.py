"""SegDecNet: counts, shapes, and how far the verdict's gradient reaches."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from defectctl.config.presets import load_preset
from defectctl.models.segdecnet import SegDecNet


def tiny(classes: int = 1, channels: int = 1, **options) -> SegDecNet:
    torch.manual_seed(0)
    return SegDecNet(classes, channels, width=0.0625, **options)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_counts_by_hand():
    # 5x5 and 15x15 convolutions without bias, scale and bias a channel; the 1x1 and its own norm
    small = 25 * (1 * 32 + 32 * 32 + 32 * 64 + 2 * 64 * 64 + 4 * 64 * 64)
    segmentation = small + 225 * 64 * 1024 + 2 * (2 * 32 + 7 * 64 + 1024) + 1024 + 2
    decision = 25 * (1025 * 8 + 8 * 16 + 16 * 32) + 2 * (8 + 16 + 32) + 66 + 1
    with torch.device("meta"):
        parts = SegDecNet(1, 1).parts
    assert {name: count(part) for name, part in parts.items()} == {"segmentation": segmentation, "decision": decision}
    assert f"{(segmentation + decision) / 1e6:.1f}" == "15.7"


@pytest.mark.parametrize("size", [(32, 32), (75, 101)])
@pytest.mark.parametrize("classes", [1, 3])
def test_any_size_trains_with_one_image(size, classes):
    model = tiny(classes, 3, stop_gradient=False).train()
    output = model(torch.rand(1, 3, *size))
    assert output.mask_logits.shape == (1, 1 + classes, -(-size[0] // 8), -(-size[1] // 8))
    assert output.image_logit.shape == (1,)
    assert not output.mask_logits[:, 0].any()
    (output.mask_logits.square().mean() + output.image_logit.sum()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_an_image_is_judged_alike_alone_in_company_and_in_training():
    model = tiny().eval()
    images = torch.rand(3, 1, 128, 136)
    with torch.no_grad():
        together, alone = model(images), model(images[1:2])
        training = model.train()(images)
    torch.testing.assert_close(together.mask_logits[1:2], alone.mask_logits)
    torch.testing.assert_close(together.image_logit[1:2], alone.image_logit)
    torch.testing.assert_close(together.image_logit, training.image_logit)


@pytest.mark.parametrize("stop", [True, False])
def test_stopped_gradient(stop):
    model = tiny(stop_gradient=stop).train()
    model(torch.rand(2, 1, 128, 128)).image_logit.sum().backward()
    reached = {name for name, part in model.parts.items() if any(p.grad is not None for p in part.parameters())}
    assert reached == ({"decision"} if stop else {"segmentation", "decision"})


def test_shortcut_of_mean_and_peak_of_the_logit():
    model = tiny().eval()
    with torch.no_grad():
        weight = model.decision.verdict.weight.zero_()
        # order: means of the last features and of the logit, then their largest values
        weight[0, 2], weight[0, 5] = 1.0, 10.0
        model.decision.verdict.bias.zero_()
        output = model(torch.rand(2, 1, 64, 64))
    logit = output.mask_logits[:, 1].flatten(1)
    torch.testing.assert_close(output.image_logit, logit.mean(1) + 10 * logit.max(1).values)


def test_preset_of_the_2021_training_and_its_form_without_masks():
    """Over 50 epochs the weight moves from the masks to the verdict (delta 0.01); image labels alone: rate 0.01."""
    preset = load_preset("segdecnet")
    (stage,) = preset.train.stages
    assert (preset.train.batch_size, stage.epochs, stage.sampler) == (1, 50, "alternate")
    assert stage.losses == {"ce": {"linear": [1.0, 0.0]}, "image_bce": {"linear": [0.0, 0.01]}}
    optimiser = stage.optimiser
    assert (optimiser.name, optimiser.lr, optimiser.momentum, optimiser.weight_decay) == ("sgd", 1.0, 0.0, 0.0)
    without = ["model.stop_gradient=false", "train.stages.0.losses={image_bce: 1}", "train.stages.0.optimiser.lr=0.01"]
    weak = load_preset("segdecnet", without)
    assert weak.train.stages[0].losses == {"image_bce": 1.0} and not weak.model.options["stop_gradient"]
