"""Compares two models on the same images: every figure's difference with a paired interval and a p-value.

All resampling is paired and by group: a round draws the same images for both models, and a permutation exchanges the
two models within whole groups. Three tests, each two-sided:

- `mcnemar` for escapes and overkill: McNemar, "Note on the sampling error of the difference between correlated
  proportions", Psychometrika 12, 1947, in its exact form, a binomial test on the parts that only one model mistakes.
  With groups of several parts each group counts once, for the model with fewer mistakes in it.
- `sign-flip` for the figures that are means over images (those of `image_values`): Fisher, "The Design of
  Experiments", 1935, section 21; each group's difference may as well have had the other sign.
- `bootstrap` for all others: the level at which the paired bootstrap's interval just reaches 0 (Efron &
  Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 15), so that the two never contradict each other.

A table of many rows will show small p-values by chance; they are not corrected for their number. Choose the figure
that matters before looking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from defectctl.errors import InputError
from defectctl.metrics.bootstrap import (
    FEWEST_GROUPS,
    MOST_UNDEFINED,
    Interval,
    check_settings,
    collect,
    draw_weights,
    number_groups,
    percentile_interval,
)
from defectctl.metrics.image_level import verdicts
from defectctl.metrics.table import ImageTable
from defectctl.metrics.weighted_figures import WeightedFigures

MOST_ENUMERATED = 12
"""Groups up to which all sign patterns are tried (4,096); beyond, as many random ones as there are rounds."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of two models on the same images.

    Attributes:
        key: as in `WeightedFigures`.
        first, second: the figure of each; None where undefined.
        difference: second - first; None where one is undefined. A fall is better for the keys of `LESS_IS_BETTER`.
        interval: paired bootstrap interval of the difference.
        p_value: two-sided, 0..1; None where nothing can be tested.
        test: `bootstrap`, `sign-flip` or `mcnemar`.
        only_first, only_second: parts that only this model mistakes (`mcnemar`), else None.
    """

    key: str
    first: float | None
    second: float | None
    difference: float | None
    interval: Interval
    p_value: float | None
    test: str
    only_first: int | None = None
    only_second: int | None = None


def compare(
    first: ImageTable,
    second: ImageTable,
    groups: Sequence[str | None] | None,
    thresholds: Mapping[str, float],
    second_thresholds: Mapping[str, float] | None = None,
    confidence: float = 0.95,
    rounds: int = 2000,
    seed: int = 0,
) -> list[Difference]:
    """Differences of all figures that at least one of the two models has; the same for the same seed.

    Args:
        first, second: tables of the same images, in any order.
        groups: one name for each image of `first` in its order, as in `intervals`.
        thresholds, second_thresholds: those in force for each model; None: the same for both.
        confidence, rounds: as in `intervals`.

    Raises:
        InputError: classes, images or truth of the tables differ, or a setting is out of range.
    """
    check_settings(confidence, rounds)
    second = paired(first, second)
    numbers = number_groups(groups, len(first))
    second_thresholds = thresholds if second_thresholds is None else second_thresholds
    both = (WeightedFigures(first, thresholds), WeightedFigures(second, second_thresholds))
    everyone = np.ones((1, len(first)), np.int32)
    points = [{key: _number(values[0]) for key, values in figures(everyone).items()} for figures in both]

    def differences(weights: np.ndarray) -> dict[str, np.ndarray]:
        left, right = (figures(weights) for figures in both)
        nothing = np.full(len(weights), np.nan)
        return {key: right.get(key, nothing) - left.get(key, nothing) for key in {**left, **right}}

    drawn = collect(differences(weights) for weights in draw_weights(numbers, rounds, seed))
    count = int(numbers.max(initial=-1)) + 1
    called = (verdicts(first, thresholds), verdicts(second, second_thresholds))
    rows = []
    for key, values in drawn.items():
        one, two = (point.get(key) for point in points)
        if one is None and two is None:
            continue
        change = None if one is None or two is None else two - one
        interval = percentile_interval(values, count, confidence)
        p_value, test, only = bootstrap_p_value(values, count), "bootstrap", (None, None)
        if key in ("escape_rate", "overkill_rate"):
            state, mistake = (1, 0) if key == "escape_rate" else (0, 2)
            mistakes = [(first.defective == state) & (verdict == mistake) for verdict in called]
            p_value, test = mcnemar(*mistakes, numbers), "mcnemar"
            only = (int((mistakes[0] & ~mistakes[1]).sum()), int((mistakes[1] & ~mistakes[0]).sum()))
        elif key in both[0].image_values:
            scores = [figures.image_values[key] for figures in both]
            p_value, test = sign_flip(scores[1] - scores[0], numbers, rounds, seed), "sign-flip"
        rows.append(Difference(key, one, two, change, interval, None if change is None else p_value, test, *only))
    return rows


def paired(first: ImageTable, second: ImageTable) -> ImageTable:
    """The second table in the first one's order.

    Raises:
        InputError: classes or images differ, or the truth of an image does: then the figures answer two questions.
    """
    if first.classes != second.classes:
        names = [", ".join(table.classes) for table in (first, second)]
        raise InputError(
            f"models with different classes cannot be compared: the first has {names[0]}, the second {names[1]}"
        )
    places = {name: row for row, name in enumerate(second.ids)}
    alone = [sorted(set(first.ids) - set(places)), sorted(set(places) - set(first.ids))]
    if alone[0] or alone[1] or len(first) != len(second):
        example = f", '{(alone[0] or alone[1])[0]}' for one" if alone[0] or alone[1] else ""
        raise InputError(
            f"the two evaluations do not hold the same images: {len(alone[0])} are only in the first and "
            f"{len(alone[1])} only in the second{example}; evaluate both models on the same part of the same dataset"
        )
    second = second.select([places[name] for name in first.ids])
    other = first.defective != second.defective
    masks = first.known[:, 0] & second.known[:, 0]
    other |= masks & (first.known != second.known).any(axis=1)
    true_pixels = [table.confusion[:, 1:].sum(axis=2) for table in (first, second)]
    other |= masks & (true_pixels[0] != true_pixels[1]).any(axis=1)
    if first.detections is not None and second.detections is not None:
        other |= (first.detections.truths != second.detections.truths).any(axis=1)
    if other.any():
        raise InputError(
            f"the truth of {int(other.sum())} images, '{first.ids[int(other.argmax())]}' for one, is not the same in "
            "the two evaluations: the dataset has changed between them, so evaluate both models again"
        )
    return second


def mcnemar(first: np.ndarray, second: np.ndarray, numbers: np.ndarray) -> float:
    """Exact two-sided p-value that two models make a mistake equally often; 1 where none is made by one alone.

    Args:
        first, second: `(N,)` bool, the part is mistaken by this model.
        numbers: `(N,)` int64, group of each part.
    """
    from scipy.special import bdtr

    net = np.bincount(numbers, weights=second.astype(np.float64) - first, minlength=1)
    fewer, more = int((net < 0).sum()), int((net > 0).sum())
    return min(1.0, 2 * float(bdtr(min(fewer, more), fewer + more, 0.5))) if fewer + more else 1.0


def sign_flip(change: np.ndarray, numbers: np.ndarray, rounds: int, seed: int) -> float | None:
    """Two-sided p-value that the mean change is 0: share of sign patterns with a sum at least as far from 0.

    Args:
        change: `(N,)` float64, NaN for images that are left out; None is returned where all are.
        numbers: `(N,)` int64, group of each image; a group's changes flip together.
        rounds: random patterns where there are too many to try all; the observed one is counted among them.
    """
    counted = ~np.isnan(change)
    if not counted.any():
        return None
    sums = np.bincount(numbers[counted], weights=change[counted])
    sums = sums[sums != 0]
    least = abs(sums.sum()) - 1e-9 * np.abs(sums).sum()  # sums that are equal but for rounding are equal
    if len(sums) <= MOST_ENUMERATED:
        signs = 1 - 2 * (np.arange(1 << len(sums))[:, None] >> np.arange(len(sums)) & 1)
        return float((np.abs(signs @ sums) >= least).mean())
    rng = np.random.default_rng(seed)
    further = sum(abs((1 - 2 * rng.integers(0, 2, len(sums))) @ sums) >= least for _ in range(rounds))
    return float((further + 1) / (rounds + 1))


def bootstrap_p_value(values: np.ndarray, groups: int) -> float | None:
    """Two-sided p-value of a difference from its resampled values `(R,)`: where its interval would just reach 0.

    1 where no round shows a difference; None where the groups are too few, or too many rounds have no value.
    """
    from scipy.special import ndtri, stdtr

    defined = values[~np.isnan(values)]
    if len(defined) and not defined.any():
        return 1.0
    if groups < FEWEST_GROUPS or len(defined) < (1 - MOST_UNDEFINED) * len(values):
        return None
    beyond = (min((defined <= 0).sum(), (defined >= 0).sum()) + 1) / (len(defined) + 1)
    return min(1.0, 2 * float(stdtr(groups - 1, np.sqrt((groups - 1) / groups) * ndtri(min(beyond, 0.5)))))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
