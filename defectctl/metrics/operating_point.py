"""Chooses the thresholds that decide about whole parts: by promise, by lowest cost or by best F1."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from defectctl.errors import InputError
from defectctl.metrics.image_ranking import best_f1
from defectctl.metrics.promise import (
    GroupScores,
    Promise,
    check_scores,
    escape_promise,
    group_scores,
    overkill_promise,
    percent,
    shown,
)

Groups = Sequence[Hashable] | np.ndarray | None


@dataclass(slots=True)
class OperatingPoint:
    """Thresholds on the image score, how they were chosen and what that rests on.

    Attributes:
        method: `promise`, `cost` or `f1`.
        thresholds: `ng` and, where there is an UNSURE band, `ok`, as `metrics.image_level.verdicts` takes them. Empty
            where none could be chosen; the notes say why.
        asked: the request: `max_escape`, `max_overkill`, `confidence`, or the prices and the prevalence.
        parts: calibration parts by truth: `defective`, `good`, `unknown` (left out).
        groups: independent groups with a defective part (`defective`), with a good one (`good`).
        promises: `escape`, `overkill`: what was promised for each, kept or not.
        figures: what the thresholds do on the calibration parts: `escapes`, `overkill`, `unsure` (numbers of parts of
            known state), and the method's own figure (`f1`, or `cost_per_part` and its kin). Empty without thresholds.
        notes: one sentence each, for the user.
    """

    method: str
    thresholds: dict[str, float] = field(default_factory=dict)
    asked: dict[str, float] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    promises: dict[str, Promise] = field(default_factory=dict)
    figures: dict[str, float | int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def chosen(self) -> bool:
        """Whether there are thresholds."""
        return bool(self.thresholds)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON carries without loss, keys as the attributes."""
        return asdict(self)


def by_promise(
    score: np.ndarray,
    defective: np.ndarray,
    group: Groups = None,
    max_escape: float | None = None,
    max_overkill: float | None = None,
    confidence: float = 0.95,
) -> OperatingPoint:
    """Thresholds that keep a rate of escapes, of overkill, or both, each with the stated confidence.

    One promise gives one threshold: the highest that keeps the escapes, or the lowest that keeps the overkill. Of two
    promises, where the lowest for overkill lies at or below the highest for escapes, every threshold between them
    keeps both and the middle is taken, which leaves the same room for drift on either side; otherwise scores between
    them are UNSURE, neither escape nor overkill. Where one of the promises asked for cannot be kept there are no
    thresholds at all, since half of what was asked would pass for the whole; the notes say what can be kept alone.
    What the promise is about is told in `metrics.promise`.

    Args:
        score: `(N,)` image scores, higher is more defective.
        defective: `(N,)` 1 defective, 0 good, -1 unknown (left out).
        group: N names of what is not independent; None or "" stands alone.

    Raises:
        InputError: nothing to promise, a rate or confidence outside 0..1, or a score that is no number.
    """
    if max_escape is None and max_overkill is None:
        raise InputError("a promise needs a rate: the highest escape rate, the highest overkill rate, or both")
    point, scores = _started("promise", score, defective, group)
    point.asked = _given(max_escape=max_escape, max_overkill=max_overkill, confidence=confidence)
    if max_escape is not None:
        point.promises["escape"] = escape_promise(scores, max_escape, confidence)
    if max_overkill is not None:
        point.promises["overkill"] = overkill_promise(scores, max_overkill, confidence)
    promises = list(point.promises.values())
    point.notes += [promise.sentence() for promise in promises]
    if all(promise.kept for promise in promises):
        point.thresholds = _meeting(point.promises)
        _settle(point, score, defective)
        point.notes += _promise_notes(point)
    else:
        alone = [p for p in promises if p.kept]
        point.notes += [f"no thresholds are set: the promise of {p.kind} can be kept, but only alone" for p in alone]
    return point


def _meeting(promises: dict[str, Promise]) -> dict[str, float]:
    """The thresholds of kept promises, see `by_promise`."""
    edges = {kind: float(promise.threshold) for kind, promise in promises.items()}
    if len(edges) == 1:
        return {"ng": next(iter(edges.values()))}
    ok, ng = edges["escape"], edges["overkill"]
    return {"ng": min(ng + (ok - ng) / 2, ok)} if ng <= ok else {"ok": ok, "ng": ng}


def _promise_notes(point: OperatingPoint) -> list[str]:
    """What the user should know of promises that are kept."""
    figures, parts, promises, thresholds = point.figures, point.parts, point.promises, point.thresholds
    notes = ["the promise is about parts like the calibration parts: same kind, camera, light and flaws"]
    if sum(point.groups.values()) < parts["defective"] + parts["good"]:
        notes.append("a group counts once, by its worst part, so the rates are shares of groups that make a mistake")
    if "ok" in thresholds:
        share = percent(figures["unsure"] / (parts["defective"] + parts["good"]))
        notes.append(
            f"one threshold cannot keep both promises: scores from {shown(thresholds['ok'])} to below "
            f"{shown(thresholds['ng'])} are UNSURE and go to a person ({share} of the calibration parts)"
        )
    elif len(promises) == 2:
        low, high = shown(promises["overkill"].threshold), shown(promises["escape"].threshold)
        notes.append(f"every threshold from {low} to {high} keeps both promises; the middle is taken")
    if len(promises) == 2:
        joint = max(0.0, 2 * point.asked["confidence"] - 1)
        notes.append(f"each promise has its own confidence; that both are kept is sure to {percent(joint)} at least")
    return notes + _unpromised_notes(point) + _idle_notes(point)


def _unpromised_notes(point: OperatingPoint) -> list[str]:
    """What the one threshold of a single promise does to the other kind of parts."""
    figures, parts = point.figures, point.parts
    if "escape" not in point.promises:
        if not parts["defective"]:
            return ["there is no defective part among the calibration parts: nothing is said about escapes"]
        return [
            f"nothing is promised about escapes: {figures['escapes']} of {parts['defective']} defective parts are OK"
        ]
    if "overkill" not in point.promises:
        if not parts["good"]:
            return ["there is no good part among the calibration parts: nothing is said about overkill"]
        return [f"nothing is promised about overkill: {figures['overkill']} of {parts['good']} good parts are NG"]
    return []


def _idle_notes(point: OperatingPoint) -> list[str]:
    """Promises that are kept only because nothing is ever called OK, or nothing NG."""
    ok = point.thresholds.get("ok", point.thresholds["ng"])
    notes = []
    if "escape" in point.promises and ok <= 0:
        notes.append("no part can be OK: too many defective parts score 0, so only that keeps the escapes promised")
    if "overkill" in point.promises and point.thresholds["ng"] > 1:
        notes.append("no part can be NG: too many good parts score 1, so only that keeps the overkill promised")
    return notes


@dataclass(frozen=True, slots=True)
class LowestCost:
    """The cheapest threshold; costs in the unit of the prices, per part inspected.

    Attributes:
        threshold: a part is NG from it on.
        cost_per_part: mean cost at it.
        cost_all_ng: mean cost of stopping every part.
        cost_all_ok: mean cost of passing every part.
        prevalence: share of defective parts that the costs are weighed with.
        tp, fp, fn, tn: calibration parts; fn are the escapes, fp the overkill.
    """

    threshold: float
    cost_per_part: float
    cost_all_ng: float
    cost_all_ok: float
    prevalence: float
    tp: int
    fp: int
    fn: int
    tn: int


def lowest_cost(
    score: np.ndarray,
    defective: np.ndarray,
    cost_escape: float,
    cost_overkill: float,
    prevalence: float | None = None,
) -> LowestCost | None:
    """The threshold at which mistakes cost least.

    cost = share of defective parts x miss rate x `cost_escape` + share of good parts x alarm rate x `cost_overkill`.
    Equally cheap decisions: that with the fewest escapes. The threshold lies in the middle between the highest score
    called OK and the lowest called NG (or the ends 0 and 1 of the scale). None unless there are both defective and
    good parts: with one kind alone the cheapest threshold stops all or none.

    Args:
        score: `(N,)` image scores, higher is more defective.
        defective: `(N,)` 1 defective, 0 good, -1 unknown (left out).
        cost_escape, cost_overkill: price of one defective part called OK, of one good part called NG; not negative.
        prevalence: share of defective parts in production, 0..1; without it their share among these parts.

    Raises:
        InputError: a price that is negative or no number, both 0, a prevalence outside 0..1, a score that is no number.
    """
    score, state = check_scores(score, defective), np.asarray(defective)
    _check_prices(cost_escape, cost_overkill, prevalence)
    values, bad, good = _levels(score, state)
    total_bad, total_good = int(bad.sum()), int(good.sum())
    if not total_bad or not total_good:
        return None
    share = total_bad / (total_bad + total_good) if prevalence is None else prevalence
    # Entry i is the decision "NG from the i-th lowest distinct score on", the last one "never NG".
    missed = np.concatenate([[0], np.cumsum(bad)])
    stopped = total_good - np.concatenate([[0], np.cumsum(good)])
    cost = share * cost_escape * missed / total_bad + (1 - share) * cost_overkill * stopped / total_good
    # Equal costs differ in their last digits; the first of them misses least.
    at = int(np.argmax(cost <= cost.min() + 1e-12 * cost.max()))
    fn, fp = int(missed[at]), int(stopped[at])
    costs = float(cost[at]), float(cost[0]), float(cost[-1])
    return LowestCost(_between(values, at), *costs, share, total_bad - fn, fp, fn, total_good - fp)


def _check_prices(cost_escape: float, cost_overkill: float, prevalence: float | None) -> None:
    for name, price in (("an escape", cost_escape), ("overkill", cost_overkill)):
        if not (math.isfinite(price) and price >= 0):
            raise InputError(f"the price of {name} must be 0 or a positive number, not {price:g}")
    if cost_escape == cost_overkill == 0:
        raise InputError("one of the prices of an escape and of overkill must be above 0")
    if prevalence is not None and not 0 < prevalence < 1:
        raise InputError(f"the share of defective parts must lie between 0 and 1, both left out, not {prevalence:g}")


def _levels(score: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct scores, lowest first, with the numbers of defective and of good parts at each."""
    known = state >= 0
    values, place = np.unique(score[known], return_inverse=True)
    bad = state[known] == 1
    return values, np.bincount(place[bad], minlength=len(values)), np.bincount(place[~bad], minlength=len(values))


def _between(values: np.ndarray, at: int) -> float:
    """The middle between the score before `at` and the score there: above the one, not above the other."""
    if at == 0 and values[0] <= 0:
        return float(values[0])
    below = values[at - 1] if at else 0.0
    above = values[at] if at < len(values) else max(1.0, np.nextafter(below, np.inf))
    return float(max(below + (above - below) / 2, np.nextafter(below, np.inf)))


def by_cost(
    score: np.ndarray,
    defective: np.ndarray,
    cost_escape: float,
    cost_overkill: float,
    prevalence: float | None = None,
    group: Groups = None,
) -> OperatingPoint:
    """The operating point of `lowest_cost`; without thresholds, and a note that says so, where it finds none."""
    point, _ = _started("cost", score, defective, group)
    point.asked = _given(cost_escape=cost_escape, cost_overkill=cost_overkill, prevalence=prevalence)
    found = lowest_cost(score, defective, cost_escape, cost_overkill, prevalence)
    if found is None:
        point.notes += [_missing_kind(point, "the cheapest threshold would call them all the same")]
        return point
    point.thresholds = {"ng": found.threshold}
    costs = {key: getattr(found, key) for key in ("cost_per_part", "cost_all_ng", "cost_all_ok", "prevalence")}
    _settle(point, score, defective, costs)
    if found.tn + found.fn == 0 or found.tp + found.fp == 0:
        what = "NG" if found.tn + found.fn == 0 else "OK"
        point.notes.append(f"at these prices nothing is cheaper than to call every one of these parts {what}")
    if prevalence is None:
        share = percent(found.prevalence)
        point.notes.append(f"the cost takes {share} of all parts to be defective, as among these; state production's")
    point.notes.append(_OPTIMISTIC)
    return point


def by_best_f1(score: np.ndarray, defective: np.ndarray, group: Groups = None) -> OperatingPoint:
    """The operating point of `best_f1`; without thresholds, and a note that says so, where it finds none."""
    point, _ = _started("f1", score, defective, group)
    values, bad, good = _levels(check_scores(score, defective), np.asarray(defective))
    found = best_f1(values[::-1], bad[::-1], good[::-1])
    if found is None:
        point.notes += [_missing_kind(point, "F1 would be the same, or 0, at every threshold that matters")]
        return point
    point.thresholds = {"ng": found["threshold"]}
    _settle(point, score, defective, {"f1": found["f1"]})
    point.notes.append(_OPTIMISTIC)
    return point


_OPTIMISTIC = "the threshold was fitted to the parts it is counted on, so expect more mistakes on new ones; no promise"


def _started(
    method: str, score: np.ndarray, defective: np.ndarray, group: Groups
) -> tuple[OperatingPoint, GroupScores]:
    """A point that says what it rests on, without thresholds yet."""
    scores = group_scores(score, defective, group)
    parts = {"defective": scores.defective, "good": scores.good, "unknown": scores.unknown}
    groups = {"defective": len(scores.lowest), "good": len(scores.highest)}
    point = OperatingPoint(method, parts=parts, groups=groups)
    if scores.unknown:
        point.notes.append(f"{scores.unknown} parts of which nobody knows whether they are good are left out")
    return point, scores


def _given(**asked: float | None) -> dict[str, float]:
    return {name: float(value) for name, value in asked.items() if value is not None}


def _settle(
    point: OperatingPoint, score: np.ndarray, defective: np.ndarray, figures: dict[str, float] | None = None
) -> None:
    """Count what the chosen thresholds do on the parts they were chosen from."""
    score, state = np.asarray(score, np.float64), np.asarray(defective)
    ng = point.thresholds["ng"]
    ok = point.thresholds.get("ok", ng)
    point.figures = {
        "escapes": int(((state == 1) & (score < ok)).sum()),
        "overkill": int(((state == 0) & (score >= ng)).sum()),
        "unsure": int(((state >= 0) & (score >= ok) & (score < ng)).sum()),
    } | (figures or {})


def _missing_kind(point: OperatingPoint, why: str) -> str:
    missing = [name for name in ("defective", "good") if not point.parts[name]]
    return f"there is no {' and no '.join(missing)} part among the calibration parts, so no threshold is chosen: {why}"
