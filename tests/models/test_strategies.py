"""The four orders of training the multi-task network are YAML alone, and train just the parts that they name."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from defectctl.config.presets import load_preset
from defectctl.models.multitask.network import Multitask
from defectctl.models.registry import check_model
from defectctl.training.loss_names import check_losses
from defectctl.training.stages import check_parts, set_trained_parts, stage_epochs, task_at

BOX_LOSSES = ("box", "objectness", "class")
STRATEGIES = {
    "multitask": [("encoder", "segmentation"), ("detection",), None],
    "multitask-neu-det": [("encoder", "segmentation"), ("detection",), None],
    "multitask-detection-first": [("encoder", "detection"), ("segmentation",), None],
    "multitask-end-to-end": [None],
    "multitask-rotation": [("encoder", "segmentation"), ("encoder", "detection")],
}
"""The parts that train one after the other (Sensors 22:9845, section on training strategies)."""


def tasks(name: str) -> list[tuple[tuple[str, ...] | None, dict[str, float]]]:
    """Parts and losses of every stage and turn, found as a training of one update an epoch finds them."""
    found = []
    for stage in load_preset(name).train.stages:
        found += [task_at(stage, update, 1) for update in range(len(stage.turns or [None]))]
    return found


def loss_of(model: Multitask, losses: dict[str, float]) -> torch.Tensor:
    """The weighted sum on a made-up batch; the pixel losses are stood for by the mean of the squared logits."""
    truth = SimpleNamespace(
        images=torch.rand(2, 3, 64, 64),
        boxes=[torch.tensor([[8.0, 8.0, 40.0, 40.0]])] * 2,
        box_labels=[torch.tensor([1])] * 2,
        known_boxes=torch.ones(2, 3, dtype=torch.bool),
    )
    output = model(truth.images)
    own = model.losses(output, truth)
    own["ce"] = own["bce"] = output.mask_logits.square().mean()
    own["auxiliary.ce"] = own["auxiliary.bce"] = torch.stack(
        [logits.square().mean() for logits in output.auxiliary.values()]
    ).mean()
    return sum(weight * own[name] for name, weight in losses.items())


@pytest.mark.parametrize("name", STRATEGIES)
def test_each_stage_trains_the_parts_of_the_paper_and_no_other(name):
    torch.manual_seed(0)
    model = Multitask(2, width=0.125, depth=0.1)
    stages = tasks(name)
    assert [parts for parts, _ in stages] == STRATEGIES[name]
    for parts, losses in stages:
        set_trained_parts(model, parts)
        model.zero_grad(set_to_none=True)
        loss_of(model, losses).backward()
        for part, module in model.parts.items():
            trained = [parameter.grad is not None for parameter in module.parameters()]
            assert all(trained) if parts is None or part in parts else not any(trained), f"{part} in {parts}"


@pytest.mark.parametrize("name", STRATEGIES)
def test_losses_weigh_six_to_four(name):
    """w = 0.6; YOLOv5's losses times the batch size; three auxiliary heads at 0.4 each, of which the loss is the mean;
    every task is learned somewhere."""
    preset = load_preset(name)
    pixel = "ce" if name == "multitask-neu-det" else "bce"
    learned = set()
    for _, losses in tasks(name):
        learned |= set(losses)
        if "box" in losses:
            assert all(losses[key] == pytest.approx(0.6 * preset.train.batch_size) for key in BOX_LOSSES)
        if pixel in losses:
            assert losses[pixel] == 0.4 and losses[f"auxiliary.{pixel}"] == pytest.approx(0.4 * (0.4 + 0.4 + 0.4))
    assert learned == {*BOX_LOSSES, pixel, f"auxiliary.{pixel}"}
    assert preset.predict.activation == ("softmax" if pixel == "ce" else "sigmoid")


def test_all_orders_train_for_as_long():
    assert {sum(stage_epochs(s, 10) for s in load_preset(name).train.stages) for name in STRATEGIES} == {250}


@pytest.mark.parametrize("name", [*STRATEGIES, "yolov5s"])
def test_presets_are_accepted(name):
    preset = load_preset(name)
    check_model(preset.model)
    check_losses(preset.train, BOX_LOSSES)


@pytest.mark.parametrize("name", STRATEGIES)
def test_presets_name_parts_that_exist_and_differ_in_the_training_alone(name):
    preset, usual = load_preset(name), load_preset("multitask")
    with torch.device("meta"):
        check_parts(Multitask(2), preset.train.stages)
    assert (preset.model, preset.input, preset.augment) == (usual.model, usual.input, usual.augment)


def test_rotation_changes_every_epoch():
    (stage,) = load_preset("multitask-rotation").train.stages
    parts = [task_at(stage, update, 5)[0] for update in range(20)]
    segment, detect = STRATEGIES["multitask-rotation"]
    assert parts == [segment] * 5 + [detect] * 5 + [segment] * 5 + [detect] * 5


def test_yolov5s_weighs_its_losses_by_the_batch_size():
    preset = load_preset("yolov5s")
    (stage,) = preset.train.stages
    assert stage.losses == dict.fromkeys(BOX_LOSSES, preset.train.batch_size)
    assert stage.schedule.warmup_epochs == 3 and stage.optimiser.weight_decay == 5e-4
