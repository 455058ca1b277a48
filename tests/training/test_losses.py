"""Losses against numbers worked by hand and against torch; unknown pixels and classes are left out."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from defectctl.errors import InputError
from defectctl.imaging.geometry import Geometry
from defectctl.loading.batch import Batch
from defectctl.models.output import Output
from defectctl.training.loss_names import LOSS_OPTIONS
from defectctl.training.losses import LOSSES, Criterion, PixelTruth, cross_entropy, dice, focal, merge_unknown


def make_batch(masks: torch.Tensor, classes: int, known: torch.Tensor | None = None) -> Batch:
    count, height, width = masks.shape
    known = torch.ones(count, 1 + classes, dtype=torch.bool) if known is None else known
    return Batch(
        torch.zeros(count, 1, height, width),
        masks.to(torch.uint8),
        known,
        torch.zeros(count, dtype=torch.int64),
        [torch.zeros(0, 4)] * count,
        [torch.zeros(0, dtype=torch.int64)] * count,
        known,
        [str(i) for i in range(count)],
        [Geometry.fit(width, height, height, width)] * count,
    )


def logits_of(*rows: list[float]) -> torch.Tensor:
    """One image of 1 x len(rows) pixels whose softmax is `rows`."""
    return torch.tensor(rows).log().T[None, :, None, :].contiguous()


def truth_of(mask: list[int], classes: int, known: list[bool] | None = None) -> PixelTruth:
    spoken = None if known is None else torch.tensor([known])
    return PixelTruth.of(make_batch(torch.tensor([[mask]]), classes, spoken))


def test_cross_entropy_is_the_mean_over_known_pixels():
    logits = logits_of([0.8, 0.2], [0.4, 0.6], [0.5, 0.5])
    value = cross_entropy(logits, truth_of([0, 1, 255], 1), None)
    assert value.item() == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2, rel=1e-6)


def test_cross_entropy_equals_torch_with_weights():
    logits, masks = torch.randn(2, 4, 5, 6), torch.randint(0, 4, (2, 5, 6))
    masks[0, 0, :3] = 255
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0])
    expected = F.cross_entropy(logits, masks, weight=weights, ignore_index=255)
    found = cross_entropy(logits, PixelTruth.of(make_batch(masks, 3)), weights)
    torch.testing.assert_close(found, expected)


def test_focal_by_hand():
    value = focal(logits_of([0.8, 0.2], [0.4, 0.6], [0.1, 0.9]), truth_of([0, 1, 255], 1), None)
    by_hand = (-0.5 * 0.2**2 * math.log(0.8) - 0.5 * 0.4**2 * math.log(0.6)) / 2
    assert value.item() == pytest.approx(by_hand, rel=1e-5)


def test_focal_with_gamma_zero_is_scaled_cross_entropy():
    logits, truth = torch.randn(1, 3, 4, 4), truth_of([0, 1, 2, 2], 2)
    logits = logits[:, :, :1]
    torch.testing.assert_close(focal(logits, truth, None, 0.25, 0.0), 0.25 * cross_entropy(logits, truth, None))


def test_dice_by_hand():
    # Pixels: truth 0 1 1; P(1) = .2 .6 .9; the fourth is unknown.
    logits = logits_of([0.8, 0.2], [0.4, 0.6], [0.1, 0.9], [0.5, 0.5])
    truth = truth_of([0, 1, 1, 255], 1)
    background = (2 * 0.8 + 1e-5) / (1.3 + 1 + 1e-5)
    defect = (2 * 1.5 + 1e-5) / (1.7 + 2 + 1e-5)
    assert dice(logits, truth, None).item() == pytest.approx(1 - (background + defect) / 2, rel=1e-5)
    assert dice(logits, truth, None, background=False).item() == pytest.approx(1 - defect, rel=1e-5)


def test_unknown_class_is_merged_with_background():
    # Class 2 is not known here: "background" is background or class 2, 0.5 + 0.3.
    logits = logits_of([0.5, 0.2, 0.3])
    truth = truth_of([0], 2, [True, True, False])
    assert cross_entropy(logits, truth, None).item() == pytest.approx(-math.log(0.8), rel=1e-5)
    score_background, score_one = (2 * 0.8 + 1e-5) / (1.8 + 1e-5), 1e-5 / (0.2 + 1e-5)
    assert dice(logits, truth, None).item() == pytest.approx(1 - (score_background + score_one) / 2, rel=1e-4)


def test_unknown_class_gets_the_same_gradient_as_background():
    logits = torch.zeros(1, 3, 1, 1, requires_grad=True)
    cross_entropy(logits, truth_of([0], 2, [True, True, False]), None).backward()
    gradient = logits.grad.flatten()
    assert gradient.isfinite().all()
    assert gradient[0] == gradient[2] and gradient[0] < 0 < gradient[1]


def test_a_mark_of_a_class_that_the_mask_does_not_speak_of_is_unknown():
    truth = truth_of([0, 2, 1], 2, [True, True, False])
    assert truth.valid.tolist() == [[[True, False, True]]]


@pytest.mark.parametrize("name", LOSSES)
def test_an_image_without_any_truth_teaches_nothing(name):
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    masks = torch.full((1, 2, 2), 255)
    truth = PixelTruth.of(make_batch(masks, 2, torch.zeros(1, 3, dtype=torch.bool)))
    value = LOSSES[name](logits, truth, None)
    value.backward()
    assert value.item() == 0 and logits.grad.abs().sum() == 0


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_prediction_costs_nothing_and_gradients_are_finite(name):
    masks = torch.randint(0, 3, (2, 4, 4))
    logits = (F.one_hot(masks, 3).movedim(3, 1) * 60.0).requires_grad_()
    value = LOSSES[name](logits, PixelTruth.of(make_batch(masks, 2)), None)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-5) and logits.grad.isfinite().all()


def test_merging_changes_nothing_where_all_is_known():
    logits = torch.randn(2, 3, 2, 2)
    assert merge_unknown(logits, torch.ones(2, 3, dtype=torch.bool)) is logits


def test_criterion_sums_weighted_terms_at_the_masks_size():
    masks, logits = torch.randint(0, 2, (2, 8, 8)), torch.randn(2, 2, 4, 4, dtype=torch.bfloat16)
    criterion = Criterion({"dice": {"background": False}}, None, 1)
    batch = make_batch(masks, 1)
    total, terms = criterion(Output(mask_logits=logits), batch, {"ce": 2.0, "dice": 0.5, "focal": 0.0})
    large = F.interpolate(logits.float(), size=(8, 8), mode="bilinear", align_corners=False)
    truth = PixelTruth.of(batch)
    expected = 2 * cross_entropy(large, truth, None) + 0.5 * dice(large, truth, None, background=False)
    torch.testing.assert_close(total, expected)
    assert total.dtype == torch.float32 and set(terms) == {"ce", "dice"}


def test_auxiliary_logits_have_their_own_term():
    masks = torch.randint(0, 2, (1, 4, 4))
    levels = {"a": torch.randn(1, 2, 2, 2), "b": torch.randn(1, 2, 4, 4)}
    criterion = Criterion({}, None, 1)
    total, _ = criterion(Output(torch.randn(1, 2, 4, 4), auxiliary=levels), make_batch(masks, 1), {"auxiliary.ce": 1})
    single = [criterion(Output(v), make_batch(masks, 1), {"ce": 1})[0] for v in levels.values()]
    torch.testing.assert_close(total, (single[0] + single[1]) / 2)
    with pytest.raises(InputError, match="returns no logits"):
        criterion(Output(torch.randn(1, 2, 4, 4)), make_batch(masks, 1), {"auxiliary.ce": 1})


def test_names_checked_without_torch_are_those_of_the_registry():
    import inspect

    for name, function in LOSSES.items():
        assert set(list(inspect.signature(function).parameters)[3:]) == set(LOSS_OPTIONS[name])
    assert LOSSES.keys() == LOSS_OPTIONS.keys()


def test_class_weights_of_the_wrong_length_are_refused():
    with pytest.raises(InputError, match="3 numbers"):
        Criterion({}, [1, 2, 3], 1)
