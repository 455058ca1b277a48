"""What every threshold would decide, as arrays to draw: precision-recall, ROC, and escapes against overkill."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from defectctl.metrics.table import ImageTable


@dataclass(frozen=True, slots=True)
class ThresholdCurve:
    """T operating points of parts or of pixels; what scores at least the threshold is called defective.

    Attributes:
        threshold: `(T,)` float64, falling; the first is infinity, from which on nothing is called defective, the last
            is the lowest score, from which on everything is. Equal scores share a point.
        tp: `(T,)` int64, defective ones called so; rising to `defective`.
        fp: `(T,)` int64, good ones called defective; rising to `good`.
        defective, good: how many there are, at least 1 each.
    """

    threshold: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    defective: int
    good: int

    @property
    def recall(self) -> np.ndarray:
        """TP / (TP + FN), rising from 0 to 1; the ROC curve's true positive rate."""
        return self.tp / self.defective

    @property
    def precision(self) -> np.ndarray:
        """TP / (TP + FP), and 1 where nothing is called defective."""
        called = self.tp + self.fp
        return np.where(called > 0, self.tp / np.maximum(called, 1), 1.0)

    @property
    def escape_rate(self) -> np.ndarray:
        """Share of the defective ones that pass, FN / (TP + FN), falling from 1 to 0."""
        return (self.defective - self.tp) / self.defective

    @property
    def overkill_rate(self) -> np.ndarray:
        """Share of the good ones that are stopped, FP / (FP + TN), rising from 0 to 1; the false positive rate."""
        return self.fp / self.good

    def thinned(self, most: int = 1000) -> ThresholdCurve:
        """At most `most` (2 or more) of the points, both ends among them, evenly spaced along recall plus overkill.

        Where more points are there, no recall and no overkill rate on the way changes by more than about 4 / `most`
        between two kept points, unless it does so between neighbours.
        """
        if len(self.threshold) <= most:
            return self
        way = self.recall + self.overkill_rate
        near = np.searchsorted(way, np.linspace(0.0, way[-1], most))
        kept = np.unique(np.clip(near, 0, len(way) - 1))
        return ThresholdCurve(self.threshold[kept], self.tp[kept], self.fp[kept], self.defective, self.good)


def part_curve(table: ImageTable) -> ThresholdCurve | None:
    """The curve of the image score over the parts of known state; None unless there are defective and good ones."""
    judged = table.defective >= 0
    scores, place = np.unique(table.score[judged], return_inverse=True)
    bad = table.defective[judged] == 1
    positives, negatives = (np.bincount(place[state], minlength=len(scores)) for state in (bad, ~bad))
    return _curve(scores, positives, negatives)


def pixel_curve(table: ImageTable) -> ThresholdCurve | None:
    """The curve of the defect probability, byte / 255, over the counted pixels of all images.

    None unless there are defective and good ones. Levels that no pixel has are left out.
    """
    positives, negatives = table.positives.sum(axis=0), table.negatives.sum(axis=0)
    used = np.flatnonzero(positives + negatives)
    return _curve(used / 255, positives[used], negatives[used])


def _curve(scores: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> ThresholdCurve | None:
    """From the distinct scores, rising, and the counts at each."""
    if not positives.sum() or not negatives.sum():
        return None
    tp, fp = (np.concatenate([[0], np.cumsum(counts[::-1])]) for counts in (positives, negatives))
    return ThresholdCurve(np.concatenate([[np.inf], scores[::-1]]), tp, fp, int(tp[-1]), int(fp[-1]))
