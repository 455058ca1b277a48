"""Whether a score of 0.8 means a defect in 8 of 10 cases: calibration curve, its error, and the Brier score.

Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78, 1950; Guo et al., "On
Calibration of Modern Neural Networks", ICML 2017, section 2 (bins, expected calibration error). An image score ranks
parts and need not be a probability: these figures say how far it may be read as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from defectctl.metrics.table import ImageTable

BINS = 10


@dataclass(frozen=True, slots=True)
class Reliability:
    """B equal bins of a predicted probability; the first holds 0, each the upper of its two edges.

    Attributes:
        edges: `(B + 1,)` float64, 0..1.
        counts: `(B,)` int64, parts or pixels in each bin.
        predicted: `(B,)` float64, mean probability in the bin; NaN where it is empty.
        observed: `(B,)` float64, share of defective ones in the bin; NaN where it is empty.
        error: expected calibration error, sum over bins of counts / all × |observed - predicted|.
        brier: mean of (probability - truth)², truth 1 defective, 0 good.
    """

    edges: np.ndarray
    counts: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray
    error: float
    brier: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: `calibration_error`, `brier`, and `bins` of those that are not empty."""
        bins = [
            {
                "from": float(self.edges[i]),
                "to": float(self.edges[i + 1]),
                "count": int(self.counts[i]),
                "predicted": float(self.predicted[i]),
                "observed": float(self.observed[i]),
            }
            for i in np.flatnonzero(self.counts)
        ]
        return {"calibration_error": self.error, "brier": self.brier, "bins": bins}


def part_reliability(table: ImageTable, bins: int = BINS) -> Reliability | None:
    """Reliability of the image score over the parts of known state; None where there are none."""
    judged = table.defective >= 0
    bad = (table.defective[judged] == 1).astype(np.int64)
    return reliability(table.score[judged], bad, 1 - bad, bins)


def pixel_reliability(table: ImageTable, bins: int = BINS) -> Reliability | None:
    """Reliability of the defect probability, byte / 255, over the counted pixels of all images; None without any."""
    return reliability(np.arange(256) / 255, table.positives.sum(axis=0), table.negatives.sum(axis=0), bins)


def reliability(
    probability: np.ndarray, positives: np.ndarray, negatives: np.ndarray, bins: int = BINS
) -> Reliability | None:
    """Reliability of V probabilities, each given to so many defective and so many good things.

    Args:
        probability: `(V,)` float64, 0..1.
        positives, negatives: `(V,)` int64 counts.
    """
    weight = positives + negatives
    total = int(weight.sum())
    if not total:
        return None
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.searchsorted(edges[1:-1], probability, side="left")
    counts, hits = (np.bincount(place, w, bins).round().astype(np.int64) for w in (weight, positives))
    sums = np.bincount(place, weight * probability, bins)
    empty = np.full(bins, np.nan)
    predicted = np.divide(sums, counts, out=empty.copy(), where=counts > 0)
    observed = np.divide(hits, counts, out=empty.copy(), where=counts > 0)
    error = float(np.abs(hits - sums).sum() / total)
    brier = float((positives * (1 - probability) ** 2 + negatives * probability**2).sum() / total)
    return Reliability(edges, counts, predicted, observed, error, brier)
