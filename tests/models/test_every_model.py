"""What every network of the registry must keep to, whatever its architecture."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
import torch
from small_models import SMALL, classes_of

from defectctl.models.catalogue import REGISTRY, TASKS
from defectctl.models.output import Boxes, Output
from defectctl.models.registry import build_model
from defectctl.training.stages import set_trained_parts

ODD = (75, 101)


def build(name: str, channels: int = 3):
    torch.manual_seed(0)
    config = SimpleNamespace(name=name, weights="none", options=SMALL.get(name, {}))
    return build_model(config, classes_of(name), channels)


@pytest.fixture(params=list(REGISTRY))
def name(request) -> str:
    return request.param


def tensors(output: Output) -> list[torch.Tensor]:
    found = [output.mask_logits, output.image_logit, *(output.detections or []), *output.auxiliary.values()]
    return [value for value in found if value is not None]


def targets(name: str, count: int, size: tuple[int, int]) -> SimpleNamespace:
    """One box of class 1 in every image, all classes known."""
    box = torch.tensor([[8.0, 8.0, 40.0, 40.0]])
    return SimpleNamespace(
        images=torch.rand(count, 3, *size),
        boxes=[box] * count,
        box_labels=[torch.tensor([1])] * count,
        known_boxes=torch.ones(count, 1 + classes_of(name), dtype=torch.bool),
    )


def whole_loss(name: str, model, count: int, size: tuple[int, int]) -> torch.Tensor:
    """A loss that uses everything the network returns, its own losses among it."""
    truth = targets(name, count, size)
    output = model(truth.images)
    loss = sum((value * torch.randn_like(value)).mean() for value in tensors(output))
    if REGISTRY[name].losses:
        loss = loss + sum(model.losses(output, truth).values())
    return loss


@pytest.mark.parametrize("channels", [1, 3])
def test_odd_sizes_give_what_the_tasks_promise(name, channels):
    model = build(name, channels).eval()
    tasks, classes = REGISTRY[name].tasks, classes_of(name)
    assert set(tasks) <= set(TASKS)
    with torch.no_grad():
        for size in (ODD, (32, 32), (64, 96)):
            output = model(torch.rand(2, channels, *size))
            assert isinstance(output, Output)
            assert all(value.shape[0] == 2 for value in tensors(output))
            assert (output.mask_logits is not None) == ("segmentation" in tasks)
            assert (output.detections is not None) == ("detection" in tasks)
            assert (output.image_logit is not None) == ("decision" in tasks)
            if output.mask_logits is not None:
                _, planes, height, width = output.mask_logits.shape
                assert planes == 1 + classes
                stride = round(size[0] / height)
                assert (height, width) == tuple(-(-side // stride) for side in size)
            if output.image_logit is not None:
                assert output.image_logit.shape == (2,)
            if output.detections is not None:
                found = model.decode(output)
                assert len(found) == 2 and all(isinstance(boxes, Boxes) for boxes in found)
                for boxes in found:
                    assert boxes.boxes.shape == (len(boxes.scores), 4) and len(boxes.labels) == len(boxes.scores)
                    assert ((boxes.labels >= 1) & (boxes.labels <= classes)).all()
                    assert ((boxes.scores >= 0) & (boxes.scores <= 1)).all()


def test_gradient_reaches_every_parameter(name):
    model = build(name).train()
    whole_loss(name, model, 2, (75, 101)).backward()
    without = [key for key, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_part_that_does_not_train_gets_no_gradient_and_keeps_its_statistics(name):
    model = build(name)
    if len(model.parts) < 2:
        pytest.skip("this network is one part")
    for chosen, part in model.parts.items():
        set_trained_parts(model, [chosen])
        frozen = {key: value.clone() for key, value in model.state_dict().items()}
        loss = whole_loss(name, model, 2, (64, 64))
        if loss.requires_grad:
            loss.backward()
        inside = {id(parameter) for parameter in part.parameters()}
        assert all(p.grad is None for p in model.parameters() if id(p) not in inside)
        own = {id(buffer) for buffer in part.buffers()}
        moved = [k for k, b in model.named_buffers() if id(b) not in own and not torch.equal(b, frozen[k])]
        assert moved == []
        model.zero_grad(set_to_none=True)


def test_own_losses_are_those_of_the_catalogue(name):
    model, names = build(name).train(), REGISTRY[name].losses
    assert hasattr(model, "losses") == bool(names) == hasattr(model, "decode")
    if names:
        truth = targets(name, 2, (64, 64))
        assert tuple(model.losses(model(truth.images), truth)) == names
        truth.known_boxes[:] = False
        nothing = model.losses(model(truth.images), truth)
        assert all(value.item() == 0 for value in nothing.values())


def test_a_batch_of_one_trains(name):
    loss = whole_loss(name, build(name).train(), 1, (64, 64))
    loss.backward()
    assert loss.isfinite()


def test_state_dict_round_trip_and_eval_determinism(name):
    first, second = build(name).eval(), build(name)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(0.1)
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    second.eval()
    images = torch.rand(2, 3, *ODD)
    with torch.no_grad():
        expected = tensors(first(images))
        for found in (tensors(first(images)), tensors(second(images))):
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_bf16_channels_last_is_finite_and_near(name):
    model = build(name).eval().to(memory_format=torch.channels_last)
    images = torch.rand(2, 3, 64, 96).to(memory_format=torch.channels_last)
    with torch.no_grad():
        exact = tensors(model(images))
        with torch.autocast("cpu", torch.bfloat16):
            rough = [value.float() for value in tensors(model(images))]
    for true, near in zip(exact, rough, strict=True):
        assert near.isfinite().all()
        scale = max(true.std(correction=0).item(), 1e-3)
        assert (near - true).abs().mean().item() < 0.1 * scale + 2e-3


def test_parts_cover_every_parameter_once(name):
    model = build(name)
    inside = [id(parameter) for part in model.parts.values() for parameter in part.parameters()]
    assert sorted(inside) == sorted(id(parameter) for parameter in model.parameters())


def test_the_registry_names_the_parts(name):
    assert REGISTRY[name].parts == tuple(build(name).parts)


def test_same_seed_same_weights(name):
    first, second = build(name).state_dict(), build(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
