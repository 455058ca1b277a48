"""Calibration curves and Brier scores against scikit-learn, and cases by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from defectctl.metrics.reliability import part_reliability, pixel_reliability, reliability
from defectctl.metrics.table import ImageTable


def table_of(scores, defective, positives=None, negatives=None) -> ImageTable:
    n = len(scores)
    nothing = np.zeros((n, 256))
    counts = (nothing if positives is None else positives, nothing if negatives is None else negatives)
    ids = [str(i) for i in range(n)]
    return ImageTable(ids, ["x"], np.zeros((n, 2, 2)), np.zeros(n), scores, defective, np.ones((n, 2)), *counts)


@pytest.mark.parametrize(("bins", "digits"), [(10, 15), (10, 1), (7, 2)])
def test_parts_equal_scikit_learn(bins: int, digits: int) -> None:
    rng = np.random.default_rng(bins)
    scores = rng.random(300).round(digits)
    state = np.where(rng.random(300) < 0.1, -1, rng.random(300) < scores**2).astype(int)
    found = part_reliability(table_of(scores, state), bins)
    truth, scores = state[state >= 0], scores[state >= 0]
    observed, predicted = calibration_curve(truth, scores, n_bins=bins)
    used = found.counts > 0
    assert found.observed[used] == pytest.approx(observed) and found.predicted[used] == pytest.approx(predicted)
    assert found.brier == pytest.approx(brier_score_loss(truth, scores))
    assert found.counts.sum() == len(truth)
    assert found.error == pytest.approx(np.abs(observed - predicted) @ found.counts[used] / len(truth))


def test_pixels_equal_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    levels = rng.integers(0, 256, (3, 500))
    truth = rng.random(levels.shape) < levels / 400
    counts = [
        [np.bincount(level[mask], minlength=256) for level, mask in zip(levels, where, strict=True)]
        for where in (truth, ~truth)
    ]
    found = pixel_reliability(table_of([0.5] * 3, [1] * 3, *map(np.array, counts)))
    observed, predicted = calibration_curve(truth.ravel(), levels.ravel() / 255, n_bins=10)
    assert found.observed == pytest.approx(observed) and found.predicted == pytest.approx(predicted)
    assert found.brier == pytest.approx(brier_score_loss(truth.ravel(), levels.ravel() / 255))


def test_by_hand() -> None:
    # 0.8 with 3 defective of 4, 0.1 with 0 of 2, 1 with 1 of 1
    found = reliability(np.array([0.1, 0.8, 1.0]), np.array([0, 3, 1]), np.array([2, 1, 0]), bins=5)
    assert found.counts.tolist() == [2, 0, 0, 4, 1]
    assert found.observed[[0, 3, 4]].tolist() == [0, 0.75, 1] and np.isnan(found.observed[1:3]).all()
    assert found.error == pytest.approx((2 * 0.1 + 4 * 0.05 + 0) / 7)
    assert found.brier == pytest.approx((2 * 0.01 + 3 * 0.04 + 0.64) / 7)
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [b["count"] for b in plain["bins"]] == [2, 4, 1]
    assert plain["bins"][1] == {
        "from": pytest.approx(0.6),
        "to": pytest.approx(0.8),
        "count": 4,
        "predicted": pytest.approx(0.8),
        "observed": 0.75,
    }


def test_sure_and_right_or_sure_and_wrong() -> None:
    right = part_reliability(table_of([0.0, 1.0], [0, 1]))
    wrong = part_reliability(table_of([1.0, 0.0], [0, 1]))
    assert (right.error, right.brier) == (0, 0) and (wrong.error, wrong.brier) == (1, 1)


def test_one_kind_alone_is_enough_and_nothing_is_none() -> None:
    only_good = part_reliability(table_of([0.25, 0.25], [0, 0]))
    assert only_good.brier == pytest.approx(0.0625) and only_good.error == pytest.approx(0.25)
    assert part_reliability(table_of([0.2, 0.7], [-1, -1])) is None
    assert pixel_reliability(table_of([0.2], [1])) is None
    assert part_reliability(table_of([], [], np.zeros((0, 256)), np.zeros((0, 256)))) is None
