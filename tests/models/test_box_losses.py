"""Assignment, complete IoU, decoding and the three losses, against numbers worked by hand and against torchvision."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from defectctl.models.multitask.assignment import assign
from defectctl.models.multitask.box_losses import box_losses, complete_iou
from defectctl.models.multitask.decoding import decode, to_corners

ANCHORS = torch.tensor([[10, 13], [16, 30], [33, 23]]).float()


def assigned(box: list[float], anchors: torch.Tensor = ANCHORS, stride: int = 8, grid=(8, 8)) -> set[tuple[int, ...]]:
    """(anchor, row, column) of everything that answers for one box."""
    found = assign(torch.tensor([box]).float(), anchors, stride, grid)
    assert (found.box == 0).all()
    result = list(zip(found.anchor.tolist(), found.row.tolist(), found.column.tolist(), strict=True))
    assert len(set(result)) == len(result)
    return set(result)


def test_assignment_worked_by_hand():
    """A box of 12 x 40 around (30, 21), stride 8.

    Ratios: anchor 10x13: 12/10 = 1.2 and 40/13 = 3.08, matches. 16x30: 16/12 = 1.33 and 40/30 = 1.33, matches.
    33x23: 33/12 = 2.75 and 40/23 = 1.74, matches. Centre in cells: 30/8 = 3.75 and 21/8 = 2.625: cell column 3, row
    2; the fractions .75 and .625 are nearer to the right and to the lower neighbour.
    """
    cells = {(2, 3), (2, 4), (3, 3)}
    assert assigned([24, 1, 36, 41]) == {(anchor, *cell) for anchor in range(3) for cell in cells}


def test_assignment_by_ratio():
    """48 x 12: 48/10 = 4.8, 30/12 = 2.5 with 48/16 = 3, and 48/33 = 1.45 with 23/12 = 1.9: not the first anchor."""
    assert {anchor for anchor, _, _ in assigned([0, 0, 48, 12])} == {1, 2}
    assert assigned([0, 0, 40, 20], ANCHORS[:1]) == set()  # 40 / 10 is exactly 4: not below it
    assert assigned([0, 0, 2.4, 13], ANCHORS[:1]) == set()  # the anchor may not be 4 times the box either
    assert assigned([10, 10, 10, 30]) == assigned([30, 10, 20, 30]) == set()


@pytest.mark.parametrize(
    ("centre", "cells"),
    [
        ((2, 2), {(0, 0)}),  # 0.25, 0.25: the nearer neighbours lie outside
        ((62, 62), {(7, 7)}),  # 7.75 of 8 cells: likewise
        ((10, 62), {(7, 1), (7, 0)}),  # column 1.25: left neighbour; row 7.75: none below
        ((12, 20), {(2, 1)}),  # exactly between: 1.5 and 2.5
        ((64, 32), {(4, 7), (3, 7)}),  # on the right edge: the last cell answers; row 4.0 is nearest to row 3
    ],
)
def test_assignment_at_borders_and_halves(centre, cells):
    x, y = centre
    found = assigned([x - 5, y - 6, x + 5, y + 6], ANCHORS[:1])
    assert {(row, column) for _, row, column in found} == cells


def test_complete_iou_by_hand():
    """(0,0,2,4) and (1,1,3,3): common 1 x 2 = 2, union 8 + 4 - 2 = 10, IoU 0.2. Centres (1,2) and (2,2): d² = 1;
    around both 3 x 4: c² = 25. Aspect: atan(1/2) = .463648, atan(1) = .785398, difference² = .103523, v = .041956;
    a = v / (.8 + v) = .049832. CIoU = .2 - .04 - .002091 = .157909.
    """
    value = complete_iou(torch.tensor([[0.0, 0, 2, 4]]), torch.tensor([[1.0, 1, 3, 3]]))
    assert value.item() == pytest.approx(0.157909, abs=2e-6)


def test_complete_iou_equals_torchvision():
    ops = pytest.importorskip("torchvision.ops")
    torch.manual_seed(0)
    corner = torch.rand(200, 2) * 40
    first = torch.cat([corner, corner + 1 + torch.rand(200, 2) * 30], dim=1).requires_grad_()
    second = torch.cat([corner + 8, corner + 10 + torch.rand(200, 2) * 30], dim=1)
    ours = (1 - complete_iou(first, second)).sum()
    theirs = ops.complete_box_iou_loss(first, second, reduction="sum")
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, first)[0] for loss in (ours, theirs)))


def test_places_by_hand():
    """Logits 0: the middle of the cell and the anchor itself. Logit of 0.75 (log 3): 1.5 - .5 = 1 cell to the right,
    and (2 * .75)² = 2.25 times the anchor's height."""
    cells, anchor = torch.tensor([3, 2]), torch.tensor([10.0, 20.0])
    assert to_corners(torch.zeros(4), cells, anchor, 8).tolist() == [23, 10, 33, 30]
    raw = torch.tensor([math.log(3), 0, 0, math.log(3)])
    found = to_corners(raw, cells, anchor, 8).tolist()
    assert found == pytest.approx([32 - 5, 20 - 22.5, 32 + 5, 20 + 22.5], abs=1e-4)


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def empty_levels(count: int, classes: int, size: int = 64) -> list[torch.Tensor]:
    """Raw levels that believe in nothing."""
    return [torch.full((count, 3 * (5 + classes), size // s, size // s), -12.0) for s in (8, 16, 32)]


THREE = torch.cat([ANCHORS, ANCHORS * 2, ANCHORS * 4]).view(3, 3, 2)


def test_decode_by_hand():
    levels = empty_levels(2, 2)
    # second image, stride 16, third anchor (66 x 46), row 1, column 2: objectness .8, classes .5 and .25
    plane = slice(2 * 7, 3 * 7)
    levels[1][1, plane, 1, 2] = torch.tensor([0, 0, 0, 0, logit(0.8), logit(0.5), logit(0.25)])
    nothing, found = decode(levels, THREE)
    assert len(nothing.scores) == 0 and nothing.boxes.shape == (0, 4)
    assert found.scores.tolist() == pytest.approx([0.4, 0.2])
    assert found.labels.tolist() == [1, 2]
    assert found.boxes.tolist() == [[40 - 33, 24 - 23, 40 + 33, 24 + 23]] * 2


def test_score_of_a_single_class_is_the_objectness():
    levels = empty_levels(1, 1)
    levels[0][0, 4, 0, 0] = logit(0.7)
    (found,) = decode(levels, THREE)
    assert found.scores.tolist() == pytest.approx([0.7])
    assert found.labels.tolist() == [1]


def test_decode_keeps_the_best():
    torch.manual_seed(0)
    levels = [torch.randn_like(level) + 4 for level in empty_levels(1, 3, size=192)]
    (found,) = decode(levels, THREE)
    assert len(found.scores) == 1000  # of (24² + 12² + 6²) * 3 * 3 = 6804
    assert (found.scores.diff() <= 0).all()


def truth(boxes: list[list[list[float]]], labels: list[list[int]], known: list[list[bool]], size=(64, 64)):
    return SimpleNamespace(
        images=torch.zeros(len(boxes), 3, *size),
        boxes=[torch.tensor(b).float().reshape(-1, 4) for b in boxes],
        box_labels=[torch.tensor(label, dtype=torch.int64) for label in labels],
        known_boxes=torch.tensor(known),
    )


def test_losses_by_hand():
    """One box of 10 x 13 around (12, 12), which at stride 8 lies exactly in the middle of cell (1, 1); only the first
    anchor of that level is shaped so that it matches (100 px elsewhere). All logits 0: the prediction is exactly the
    box, CIoU 1, objectness and class probabilities 1/2.

    box: 1 - 1 = 0. objectness: every cell costs log 2 whatever its target, so each level's mean is log 2, and the sum
    (4 + 1 + .4) log 2 times (64 / 640)² = .01. class: mean of log 2, times .5 * 2 / 80.
    """
    anchors = torch.full((3, 3, 2), 100.0)
    anchors[0, 0] = torch.tensor([10, 13])
    levels = [torch.zeros_like(level) for level in empty_levels(1, 2)]
    found = box_losses(levels, truth([[[7, 5.5, 17, 18.5]]], [[2]], [[True] * 3]), anchors)
    assert found["box"].item() == pytest.approx(0, abs=1e-6)
    assert found["objectness"].item() == pytest.approx(0.01 * 5.4 * math.log(2))
    assert found["class"].item() == pytest.approx(0.5 * 2 / 80 * math.log(2))


def test_box_loss_and_objectness_target_by_hand():
    """As above, but the box is 20 x 13: IoU 1/2, same centre, aspect v = 4/pi² (atan(10/13) - atan(20/13))² = .046500
    (.655696 and .994421), a = v / (.5 + v) = .085087, CIoU = .496043. Box loss .05 * .503957 = .0251978. With all
    logits 0, the gradient of the cell's objectness is (1/2 - CIoU) / (3 * 64 cells) * 4 * .01, and 1/2 instead of
    1/2 - CIoU in the others.
    """
    anchors = torch.full((3, 3, 2), 100.0)
    anchors[0, 0] = torch.tensor([10, 13])
    levels = [torch.zeros_like(level).requires_grad_() for level in empty_levels(1, 2)]
    found = box_losses(levels, truth([[[2, 5.5, 22, 18.5]]], [[2]], [[True] * 3]), anchors)
    assert found["box"].item() == pytest.approx(0.0251978, abs=2e-7)
    found["objectness"].backward()
    gradient = levels[0].grad[0, 4]
    assert gradient[1, 1].item() == pytest.approx((0.5 - 0.496043) / 192 * 0.04, rel=1e-3)
    assert gradient[0, 0].item() == pytest.approx(0.5 / 192 * 0.04)


def gradients(target, classes: int = 3) -> list[torch.Tensor]:
    """Gradient of the sum of the losses by level, `(N, 3, 5 + classes, h, w)`."""
    torch.manual_seed(0)
    count = len(target.boxes)
    levels = [torch.randn_like(level).requires_grad_() for level in empty_levels(count, classes)]
    sum(box_losses(levels, target, THREE).values()).backward()
    return [level.grad.view(count, 3, 5 + classes, *level.shape[2:]) for level in levels]


BOX = [20.0, 20, 40, 45]


def test_unknown_teaches_nothing():
    """Image 0: all known. 1: only classes 1 and 2. 2: nothing known, its box included. 3: a box of a class unknown."""
    every, some, none = [True] * 4, [True, True, True, False], [False] * 4
    grads = gradients(truth([[BOX]] * 4, [[1], [1], [1], [3]], [every, some, none, some]))
    for level in grads:
        assert level[0, :, 4].all(), "every cell of a fully known image is an example for objectness"
        assert not level[2].any() and not level[3].any()
        places = level[1, :, 0].bool()  # x is learned by the pairs alone
        assert torch.equal(level[1, :, 4].bool(), places), "cells without a box may hold an unlabelled one"
        classes = level[1, :, 5:].bool()
        assert torch.equal(classes[:, 0], places) and torch.equal(classes[:, 1], places)
        assert not classes[:, 2].any(), "nobody looked for class 3 here"
    assert grads[0][1, :, 0].any()


def test_images_of_which_nothing_is_known_change_no_number():
    torch.manual_seed(0)
    levels = [torch.randn_like(level) for level in empty_levels(3, 2)]
    every, none = [True] * 3, [False] * 3
    whole = box_losses(levels, truth([[BOX], [BOX], []], [[1], [2], []], [every, none, none]), THREE)
    alone = box_losses([level[:1] for level in levels], truth([[BOX]], [[1]], [every]), THREE)
    for name, value in whole.items():
        torch.testing.assert_close(value, alone[name])


def test_without_boxes_only_objectness_is_left_and_all_stay_attached():
    levels = [level.requires_grad_() for level in empty_levels(2, 2)]
    losses = box_losses(levels, truth([[], []], [[], []], [[True] * 3] * 2), THREE)
    assert losses["box"].item() == losses["class"].item() == 0 and losses["objectness"].item() > 0
    assert all(value.requires_grad and value.dtype == torch.float32 for value in losses.values())


def test_single_class_has_no_class_loss():
    assert box_losses(empty_levels(1, 1), truth([[BOX]], [[1]], [[True] * 2]), THREE)["class"].item() == 0
    assert not any(level[:, :, 5:].any() for level in gradients(truth([[BOX]], [[1]], [[True] * 2]), classes=1))


def test_of_two_boxes_in_one_place_the_better_sets_the_objectness():
    """Same cell and anchor, in either order: the target is the larger CIoU."""
    near, far = [7, 5.5, 17, 18.5], [7, 5.5, 17, 31.5]
    anchors = torch.full((3, 3, 2), 200.0)
    anchors[0, 0] = torch.tensor([10, 13])
    levels = [torch.zeros_like(level) for level in empty_levels(1, 2)]
    values = [
        box_losses(levels, truth([boxes], [[1] * len(boxes)], [[True] * 3]), anchors)["box"].item()
        for boxes in ([near, far], [far, near])
    ]
    assert values[0] == pytest.approx(values[1])
    goals = []
    for boxes in ([near], [near, far], [far, near]):
        raw = [level.clone().requires_grad_() for level in levels]
        box_losses(raw, truth([boxes], [[1] * len(boxes)], [[True] * 3]), anchors)["objectness"].backward()
        goals.append(raw[0].grad[0, 4, 1, 1].item())
    assert goals[1] == goals[2] == pytest.approx(goals[0])


def test_half_precision_logits_give_float32_losses():
    levels = [level.to(torch.bfloat16) for level in empty_levels(1, 2)]
    with torch.autocast("cpu", torch.bfloat16):
        losses = box_losses(levels, truth([[BOX]], [[1]], [[True] * 3]), THREE)
    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())


@pytest.mark.parametrize("value", [-80.0, 80.0])
def test_losses_of_extreme_logits_are_finite(value):
    levels = [torch.full_like(level, value).requires_grad_() for level in empty_levels(1, 2)]
    total = sum(box_losses(levels, truth([[BOX]], [[1]], [[True] * 3]), THREE).values())
    total.backward()
    assert total.isfinite() and all(level.grad.isfinite().all() for level in levels)
