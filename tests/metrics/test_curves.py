"""Curves over all thresholds against scikit-learn, and equal scores by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import det_curve, precision_recall_curve, roc_curve

from defectctl.metrics.curves import ThresholdCurve, part_curve, pixel_curve
from defectctl.metrics.table import ImageTable


def table_of(scores, defective, positives=None, negatives=None) -> ImageTable:
    n = len(scores)
    nothing = np.zeros((n, 256))
    counts = (nothing if positives is None else positives, nothing if negatives is None else negatives)
    ids = [str(i) for i in range(n)]
    return ImageTable(ids, ["x"], np.zeros((n, 2, 2)), np.zeros(n), scores, defective, np.ones((n, 2)), *counts)


def check_curve(curve: ThresholdCurve, truth: np.ndarray, scores: np.ndarray) -> None:
    precision, recall, threshold = precision_recall_curve(truth, scores)
    assert curve.precision == pytest.approx(precision[::-1]) and curve.recall == pytest.approx(recall[::-1])
    assert curve.threshold[1:] == pytest.approx(threshold[::-1]) and curve.threshold[0] == np.inf
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert curve.overkill_rate == pytest.approx(false) and curve.recall == pytest.approx(true)
    overkill, escape, at = det_curve(truth, scores)  # scikit-learn leaves out some of the ends
    place = len(curve.threshold) - np.searchsorted(curve.threshold[::-1], at, side="left") - 1
    finite = np.isfinite(at)
    assert curve.overkill_rate[place][finite] == pytest.approx(overkill[finite])
    assert curve.escape_rate[place][finite] == pytest.approx(escape[finite])


@pytest.mark.parametrize("digits", [1, 2, 15])
def test_parts_equal_scikit_learn(digits: int) -> None:
    rng = np.random.default_rng(digits)
    state = rng.integers(-1, 2, 200)
    scores = np.clip(0.3 * (state == 1) + rng.random(200) * 0.7, 0, 1).round(digits)
    check_curve(part_curve(table_of(scores, state)), state[state >= 0], scores[state >= 0])


def test_pixels_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((3, 400)) < 0.2
    levels = np.clip(rng.normal(90, 40, truth.shape) + 60 * truth, 0, 255).astype(int)
    counts = [
        np.stack([np.bincount(level[mask], minlength=256) for level, mask in zip(levels, where, strict=True)])
        for where in (truth, ~truth)
    ]
    check_curve(pixel_curve(table_of([0.1] * 3, [1] * 3, *counts)), truth.ravel(), levels.ravel() / 255)


def test_equal_scores_share_a_point() -> None:
    curve = part_curve(table_of([0.0, 0.0, 0.9, 0.0], [1, 0, 1, 0]))
    assert curve.threshold.tolist() == [np.inf, 0.9, 0.0]
    assert curve.escape_rate.tolist() == [1, 0.5, 0] and curve.overkill_rate.tolist() == [0, 0, 1]
    assert curve.precision.tolist() == [1, 1, 0.5]


def test_one_kind_alone_has_no_curve() -> None:
    for state in (1, 0, -1):
        assert part_curve(table_of([0.2, 0.7], [state] * 2)) is None
    assert pixel_curve(table_of([0.2], [1], np.ones((1, 256)))) is None
    assert part_curve(table_of([], [], np.zeros((0, 256)), np.zeros((0, 256)))) is None


def test_thinned_keeps_ends_and_shape() -> None:
    rng = np.random.default_rng(5)
    state = (rng.random(2_000) < 0.1).astype(int)
    curve = part_curve(table_of(rng.random(2_000) ** (1 + 3 * (1 - state)), state))
    thin = curve.thinned(100)
    assert len(thin.threshold) <= 100 and (thin.defective, thin.good) == (curve.defective, curve.good)
    for at in (0, -1):
        assert thin.threshold[at] == curve.threshold[at] and thin.tp[at] == curve.tp[at]
    # every point is one of the full curve, and the area under it hardly changes
    assert set(zip(thin.threshold, thin.tp, thin.fp, strict=True)) <= set(
        zip(curve.threshold, curve.tp, curve.fp, strict=True)
    )

    def area(c: ThresholdCurve) -> float:
        return float((np.diff(c.overkill_rate) * (c.recall[1:] + c.recall[:-1]) / 2).sum())

    assert area(thin) == pytest.approx(area(curve), abs=0.005)
    assert np.abs(np.diff(thin.recall)).max() <= 4 / 100 and np.diff(thin.overkill_rate).max() <= 4 / 100
    assert curve.thinned(10**6) is curve
