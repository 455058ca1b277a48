"""LNet/DNet: published counts and field of view, shapes, and which loss reaches which part."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from defectctl.config.presets import load_preset
from defectctl.errors import InputError
from defectctl.inference.runner import fold_batch_norm
from defectctl.models.weak_lnet_dnet import WeakLNetDNet


def tiny(channels: int = 1, **options) -> WeakLNetDNet:
    torch.manual_seed(0)
    return WeakLNetDNet(1, channels, width=0.125, **options)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_counts():
    """8.599 M in all, 0.435 + 7.682 + 0.481, and 9.451 M with a kernel of 5 in DNet."""
    # weights of the convolutions (kernel², in, out), their biases and two numbers a channel for batch norm
    shared = 9 * (32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 2 * 128 * 128) + 3 * (2 * 32 + 2 * 64 + 3 * 128)
    lnet = 25 * (128 * 64 + 64 * 64) + 225 * 64 * 512 + 3 * (64 + 64 + 512) + 512 + 1
    pairs = 128 * 64 + 64 * 64 + 64 * 128 + 128 * 256
    dnet = 9 * pairs + 3 * (64 + 64 + 128 + 256) + 257 + 1
    with torch.device("meta"):
        parts = WeakLNetDNet(1, 1).parts
        assert {name: count(part) for name, part in parts.items()} == {
            "shared": shared,
            "localisation": lnet,
            "decision": dnet,
        }
        assert [f"{number / 1e6:.3f}" for number in (shared, lnet, dnet)] == ["0.435", "7.682", "0.481"]
        assert count(WeakLNetDNet(1, 1)) == 8_598_627
        assert count(WeakLNetDNet(1, 1, decision_kernel=5)) == 9_450_595
        assert count(WeakLNetDNet(1, 1, decision_hidden=True)) == 8_598_627 + 257 * 257 + 257


def test_published_operations(giga_macs):
    assert giga_macs(lambda: WeakLNetDNet(1, 1), 1, 1, 1408, 512) == pytest.approx(116.4, abs=0.05)


def test_a_cell_of_the_heat_map_sees_228_pixels():
    model = tiny().eval().double()
    parts = nn.Sequential(model.shared, model.localisation)
    for module in parts.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())  # nothing cancels, no ReLU is shut
        if isinstance(module, nn.Sequential):
            for name, child in module.named_children():
                if isinstance(child, nn.MaxPool2d):  # hands the gradient to one of four
                    setattr(module, name, nn.AvgPool2d(2))
    for height, width in ((480, 64), (64, 480)):
        image = torch.ones(1, 1, height, width, dtype=torch.float64, requires_grad=True)
        logits = parts(image)
        logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
        seen = image.grad[0, 0].abs().sum(0 if width > height else 1).nonzero().flatten()
        assert int(seen[-1] - seen[0]) + 1 == 228


@pytest.mark.parametrize("size", [(32, 32), (33, 64), (75, 101), (64, 40)])
@pytest.mark.parametrize("options", [{}, {"decision_kernel": 5, "decision_hidden": True}])
def test_any_size_trains_with_one_image(size, options):
    model = tiny(3, **options).train()
    output = model(torch.rand(1, 3, *size))
    assert output.mask_logits.shape == (1, 2, -(-size[0] // 8), -(-size[1] // 8))
    assert output.image_logit.shape == (1,)
    (output.mask_logits[:, 1].mean() + output.image_logit.sum()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_the_verdict_takes_the_mean_of_the_heat_map():
    model = tiny().eval()
    with torch.no_grad():
        model.decision.verdict.weight.zero_()
        model.decision.verdict.weight[0, -1] = 1.0
        model.decision.verdict.bias.zero_()
        output = model(torch.rand(2, 1, 64, 72))
    defect = output.mask_logits.softmax(1)[:, 1]
    torch.testing.assert_close(output.image_logit, defect.mean((1, 2)))
    assert not output.mask_logits[:, 0].any()


def test_which_loss_reaches_which_part():
    model = tiny().train()
    images = torch.rand(2, 1, 64, 64)

    def reached() -> set[str]:
        found = {name for name, part in model.parts.items() if any(p.grad is not None for p in part.parameters())}
        model.zero_grad()
        return found

    model(images).mask_logits.sum().backward()
    assert reached() == {"shared", "localisation"}
    model(images).image_logit.sum().backward()
    assert reached() == {
        "shared",
        "localisation",
        "decision",
    }  # the verdict's loss moves LNet too, through the heat map
    model.requires_grad_(False)
    model.decision.requires_grad_(True)
    model(images).image_logit.sum().backward()
    assert reached() == {"decision"}


def test_batch_norm_folds_away_where_most_time_goes():
    model = tiny().eval()
    images = torch.rand(1, 1, 64, 96)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.1, 0.1)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
        before = model(images)
        after = fold_batch_norm(model)(images)
    norms = [module for part in ("shared", "localisation") for module in model.parts[part].modules()]
    assert not any(isinstance(module, nn.BatchNorm2d) for module in norms)
    torch.testing.assert_close(after.mask_logits, before.mask_logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after.image_logit, before.image_logit, rtol=1e-4, atol=1e-5)


def test_more_than_one_class_is_refused():
    with pytest.raises(InputError, match="knows one class, not 3"):
        WeakLNetDNet(3, 1, width=0.125)


def test_preset_keeps_the_papers_schedule_for_pairs():
    """An iteration is one image of each kind, whose losses add up; a mean over the pair is half of their sum."""
    train = load_preset("weak-lnet-dnet").train
    assert (train.batch_size, {stage.sampler for stage in train.stages}) == (2, {"pairs"})
    assert [stage.updates for stage in train.stages] == [750, 600, 600, 300]
    assert [(stage.optimiser.name, stage.optimiser.lr) for stage in train.stages] == [
        ("sgd", 0.1),
        ("sgd", 0.01),
        ("sgd", 0.001),
        ("sgd", 0.001),
    ]
    assert all(stage.optimiser.momentum == stage.optimiser.weight_decay == 0 for stage in train.stages)
    assert [stage.train for stage in train.stages] == [["shared", "localisation"], ["decision"], ["decision"], None]
    first, *verdict, last = (stage.losses for stage in train.stages)
    assert first["weak_good"] == {"cosine": {"high": 8.0, "low": 4.0, "updates": 750, "hold": 30}}
    assert verdict == [{"image_bce": 2.0}] * 2
    assert last == {"image_bce": 2.0, "weak_good": 8.0, "weak_defective": 1.0}
