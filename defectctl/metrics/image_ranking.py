"""How well scores rank defective before good: parts by their image score, pixels by their defect probability.

Step-wise average precision, sum of (R_n - R_(n-1)) P_n over the distinct scores (as scikit-learn's
`average_precision_score`; no interpolation), is what the papers on mixed and weak supervision report: Božič et al.,
"Mixed supervision for surface-defect detection", Computers in Industry 129, 2021, section 4.1. The area under the ROC
curve is the chance that a defective part scores above a good one, equals counted half (Fawcett, "An introduction to
ROC analysis", Pattern Recognition Letters 27, 2006). Parts with equal scores are never told apart: they fall on the
same side of every threshold. All figures are None unless there are both defective and good parts (or pixels).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from defectctl.metrics.table import ImageTable


def ranking_metrics(table: ImageTable) -> dict[str, Any]:
    """`image_ap`, `image_auroc`, `best_f1`, `fp_at_full_recall` over parts of known state, `pixel_ap` over pixels.

    `best_f1` is {f1, threshold, tp, fp, fn, tn} or None, `fp_at_full_recall` the number of good parts that score at
    least as high as the lowest-scoring defective part: the overkill that no escape costs. `pixel_ap` takes 256 levels
    of the defect probability, pooled over the images.
    """
    judged = table.defective >= 0
    levels = _by_score(table.score[judged], table.defective[judged] == 1)
    pixels = (table.positives.sum(axis=0)[::-1], table.negatives.sum(axis=0)[::-1])
    return {
        "image_ap": average_precision(levels[1], levels[2]),
        "image_auroc": auroc(levels[1], levels[2]),
        "best_f1": best_f1(*levels),
        "fp_at_full_recall": fp_at_full_recall(levels[1], levels[2]),
        "pixel_ap": average_precision(*pixels),
    }


def average_precision(positives: np.ndarray, negatives: np.ndarray) -> float | None:
    """Step-wise average precision from the counts at each distinct score, highest score first."""
    if not positives.sum() or not negatives.sum():
        return None
    hits, alarms = np.cumsum(positives), np.cumsum(negatives)
    precision = hits / np.maximum(hits + alarms, 1)
    return float((positives * precision).sum() / hits[-1])


def auroc(positives: np.ndarray, negatives: np.ndarray) -> float | None:
    """Area under the ROC curve from the counts at each distinct score, highest score first."""
    if not positives.sum() or not negatives.sum():
        return None
    lower = negatives.sum() - np.cumsum(negatives)
    return float((positives * (lower + negatives / 2)).sum() / (positives.sum() * negatives.sum()))


def best_f1(scores: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> dict[str, float | int] | None:
    """The threshold on the score with the highest F1, 2 TP / (2 TP + FP + FN), and what it decides.

    A part is called defective from the threshold on. Of equally good thresholds the lowest is taken: it lets fewest
    defective parts escape.

    Args:
        scores: the distinct scores, highest first; `positives`, `negatives`: defective and good parts at each.
    """
    if not positives.sum() or not negatives.sum():
        return None
    hits, alarms = np.cumsum(positives), np.cumsum(negatives)
    f1 = 2 * hits / (hits + alarms + hits[-1])
    at = len(f1) - 1 - int(f1[::-1].argmax())
    tp, fp = int(hits[at]), int(alarms[at])
    counts = {"tp": tp, "fp": fp, "fn": int(hits[-1]) - tp, "tn": int(alarms[-1]) - fp}
    return {"f1": float(f1[at]), "threshold": float(scores[at]), **counts}


def fp_at_full_recall(positives: np.ndarray, negatives: np.ndarray) -> int | None:
    """Good parts at or above the score of the lowest-scoring defective part."""
    if not positives.sum() or not negatives.sum():
        return None
    return int(negatives[: np.flatnonzero(positives)[-1] + 1].sum())


def _by_score(scores: np.ndarray, defective: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct scores, highest first, with the number of defective and of good parts at each."""
    values, place = np.unique(-scores, return_inverse=True)
    count = len(values)
    return -values, np.bincount(place[defective], minlength=count), np.bincount(place[~defective], minlength=count)
