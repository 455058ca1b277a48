"""Rankings of parts and pixels against scikit-learn, and equal scores by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from defectctl.metrics.image_ranking import ranking_metrics
from defectctl.metrics.table import ImageTable


def table_of(scores, defective, positives=None, negatives=None) -> ImageTable:
    n = len(scores)
    nothing = np.zeros((n, 256))
    return ImageTable(
        [str(i) for i in range(n)],
        ["x"],
        np.zeros((n, 2, 2)),
        np.zeros(n),
        scores,
        defective,
        np.ones((n, 2)),
        nothing if positives is None else positives,
        nothing if negatives is None else negatives,
    )


@pytest.mark.parametrize("digits", [1, 2, 15])
def test_rankings_equal_scikit_learn(digits: int) -> None:
    rng = np.random.default_rng(digits)
    state = rng.integers(-1, 2, 200)
    scores = np.clip(0.3 * (state == 1) + rng.random(200) * 0.7, 0, 1).round(digits)
    found = ranking_metrics(table_of(scores, state))
    known = state >= 0
    truth, scores = state[known], scores[known]
    assert found["image_ap"] == pytest.approx(average_precision_score(truth, scores))
    assert found["image_auroc"] == pytest.approx(roc_auc_score(truth, scores))
    by_threshold = {t: f1_score(truth, scores >= t) for t in np.unique(scores)}
    best = found["best_f1"]
    assert best["f1"] == pytest.approx(max(by_threshold.values())) == by_threshold[best["threshold"]]
    called = scores >= best["threshold"]
    counts = {"tp": called & (truth == 1), "fp": called & (truth == 0), "fn": ~called & (truth == 1)}
    assert {key: best[key] for key in counts} == {key: int(value.sum()) for key, value in counts.items()}
    assert best["tn"] == len(truth) - best["tp"] - best["fp"] - best["fn"]
    assert found["fp_at_full_recall"] == int((scores[truth == 0] >= scores[truth == 1].min()).sum())


def test_equal_scores_are_never_told_apart() -> None:
    found = ranking_metrics(table_of([0.0, 0.0, 0.9, 0.0], [1, 0, 1, 0]))
    assert found["fp_at_full_recall"] == 2 and found["image_auroc"] == 0.75
    assert found["image_ap"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 4)
    # one of two without a false alarm, or both with two of them: F1 is 2/3 either way, so nothing may escape
    assert found["best_f1"] == {"f1": pytest.approx(2 / 3), "threshold": 0.0, "tp": 2, "fp": 2, "fn": 0, "tn": 0}


def test_one_kind_of_part_alone_cannot_be_ranked() -> None:
    for state in (1, 0, -1):
        assert set(ranking_metrics(table_of([0.2, 0.7], [state] * 2)).values()) == {None}


def test_pixel_ap_from_histograms_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((3, 400)) < 0.2
    levels = np.clip(rng.normal(90, 40, truth.shape) + 60 * truth, 0, 255).astype(int)
    histograms = [
        np.stack([np.bincount(level[mask], minlength=256) for level, mask in zip(levels, where, strict=True)])
        for where in (truth, ~truth)
    ]
    found = ranking_metrics(table_of([0.1] * 3, [1] * 3, *histograms))
    assert found["pixel_ap"] == pytest.approx(average_precision_score(truth.ravel(), levels.ravel()))
