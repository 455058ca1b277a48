"""The dynamic threshold: worked steps, its limits, and that small defects raise the recall."""

from __future__ import annotations

import math

import pytest
import torch
from test_losses import make_batch

from defectctl.models.output import Output
from defectctl.training.dynamic_threshold import DynamicThreshold
from defectctl.training.losses import Criterion


def squares(side: int, count: int, size: int = 32) -> torch.Tensor:
    """A mask `(1, size, size)` with `count` squares of class 1 in a grid."""
    mask = torch.zeros(1, size, size, dtype=torch.uint8)
    columns = size // (side + 1)
    for i in range(count):
        y, x = i // columns * (side + 1), i % columns * (side + 1)
        mask[0, y : y + side, x : x + side] = 1
    return mask


def test_steps_by_hand():
    threshold = DynamicThreshold(reference=4 / 1024)
    assert threshold.value == 0.5 and threshold.defect_weight == 1
    threshold.observe(squares(2, 3))  # just the usual size
    assert threshold.numbers() == {"threshold": 0.5, "defects": 3, "log_area": pytest.approx(math.log(4 / 1024))}
    threshold.observe(squares(4, 2))  # four times as large: tanh(log 4) = (16 - 1) / (16 + 1)
    first = 0.5 * 0.5 + 0.5 * (0.5 + 0.2 * 15 / 17)
    assert threshold.value == pytest.approx(first)
    mixed = torch.cat([squares(1, 1), squares(4, 1)])  # areas 1 and 16: geometric mean 4
    threshold.observe(mixed)
    assert threshold.value == pytest.approx(0.5 * first + 0.25)
    assert threshold.defect_weight == pytest.approx((1 - threshold.value) / threshold.value)


def test_a_batch_without_defects_leaves_it():
    threshold = DynamicThreshold(0.5)
    threshold.observe(squares(2, 1))
    before = threshold.value
    empty = torch.zeros(2, 8, 8, dtype=torch.uint8)
    empty[:, 0] = 255
    threshold.observe(empty)
    assert threshold.numbers() == {"threshold": before, "defects": 0, "log_area": None}


@pytest.mark.parametrize(("side", "limit"), [(1, 0.3), (30, 0.7)])
def test_it_stays_within_its_limits(side, limit):
    threshold = DynamicThreshold(5 / 1024)
    for _ in range(60):
        threshold.observe(squares(side, 1))
    assert threshold.value == pytest.approx(limit, abs=0.02) and 0.3 <= threshold.value <= 0.7


def test_its_defects_are_the_instances_of_predict():
    from defectctl.imaging.components import find_components

    generator = torch.Generator().manual_seed(4)
    masks = torch.tensor([0, 0, 0, 1, 2, 255], dtype=torch.uint8)[torch.randint(0, 6, (3, 12, 20), generator=generator)]
    threshold = DynamicThreshold(0.01)
    threshold.observe(masks)
    logs = [math.log(c.area / 240) for mask in masks.numpy() for c in find_components(mask)[1]]
    assert threshold.defects == len(logs) and threshold.log_area == pytest.approx(sum(logs) / len(logs))


def test_state_survives_a_resume():
    one, two = DynamicThreshold(0.01), DynamicThreshold(0.01)
    one.observe(squares(3, 2))
    two.load(one.state())
    assert two.numbers() == one.numbers()
    for threshold in (one, two):
        threshold.observe(squares(1, 2))
    assert two.value == one.value


def recall_after_training(masks: torch.Tensor, reference: float | None) -> float:
    """Recall of a logistic pixel classifier on overlapping grey levels, after 60 updates with the same pixels."""
    generator = torch.Generator().manual_seed(0)
    threshold = DynamicThreshold(reference) if reference is not None else None
    criterion = Criterion({}, None, 1, threshold=threshold)
    defect = masks[0] == 1
    noise = torch.randn(int(defect.sum()), generator=generator), torch.randn(int((~defect).sum()), generator=generator)
    image = torch.zeros(1, 1, *defect.shape)
    image[0, 0, defect], image[0, 0, ~defect] = 2.0 + noise[0], noise[1]
    net = torch.nn.Conv2d(1, 2, 1)
    torch.nn.init.zeros_(net.weight)
    torch.nn.init.zeros_(net.bias)
    optimiser = torch.optim.SGD(net.parameters(), lr=2.0)
    batch = make_batch(masks, 1)
    for _ in range(60):
        if threshold is not None:
            threshold.observe(batch.masks)
        loss, _ = criterion(Output(net(image)), batch, {"ce": 1})
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return (net(image).argmax(1)[0] == 1)[defect].float().mean().item()


def test_smaller_defects_raise_the_recall():
    reference = 16 / 1024  # between the two, both of 64 defect pixels in all
    small, large = squares(2, 16), squares(8, 1)
    plain = recall_after_training(small, None)
    assert plain == recall_after_training(large, None)
    assert recall_after_training(small, reference) > plain + 0.1
    assert recall_after_training(large, reference) < plain - 0.1
