"""Chooses the pixel threshold that keeps a promised recall of defect pixels or of single defects."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from defectctl.errors import InputError
from defectctl.evaluation.result import named_groups
from defectctl.evaluation.wanted import Wanted
from defectctl.metrics.instances import FOUND_AT
from defectctl.metrics.promise import (
    RiskPromise,
    carries,
    hoeffding_bentkus,
    instance_misses,
    parts_needed,
    percent,
    pixel_misses,
    risk_promise,
    rounded_up,
)
from defectctl.metrics.table import ImageTable

LEVELS = np.arange(1, 256)
"""Defect bytes that can be a threshold; from level 0 on every pixel would be a defect."""


@dataclass(slots=True)
class PixelPromise:
    """A pixel threshold with what is promised of it.

    Attributes:
        threshold: defect probability from which a pixel is a defect, level / 255.
        parts: images it was chosen on.
        promises: `pixels`, `defects`: {limit, confidence, groups, mean} of each that was asked for; `mean` is the share
            that the calibration groups miss at `threshold`.
        background: share of the true background of the calibration parts that the threshold calls a defect, or None.
        notes: a sentence each, for the user.
    """

    threshold: float
    parts: int
    promises: dict[str, dict[str, float]] = field(default_factory=dict)
    background: float | None = None
    notes: list[str] = field(default_factory=list)


def choose_level(
    table: ImageTable,
    wanted: Wanted,
    confidence: float,
    min_area: int = 0,
    background: np.ndarray | None = None,
) -> PixelPromise:
    """The highest threshold at which the promised shares of pixels and of defects are not missed.

    Both shares are means over parts (groups of them) that hold a defect, found by Learn-then-Test, see
    `metrics.promise`. A defect is found where at least half of its pixels reach the threshold. Of two promises the
    lower threshold is taken; each is kept with the confidence, both together with 2 x confidence - 1 at least.

    Args:
        table: calibration parts; the bytes of their defects do not depend on the threshold they were scored with.
        min_area: predicted defects with fewer pixels are dropped, which the promise does not cover.
        background: `(256,)` histogram of the defect byte over true background that tells what the threshold costs; it
            chooses nothing. None: that of the table.

    Raises:
        InputError: the parts do not carry a promise.
    """
    groups = named_groups(table)
    found: dict[str, tuple[np.ndarray, RiskPromise]] = {}
    if wanted.max_missed_pixels is not None:
        losses = pixel_misses(table.positives, groups)[:, 1:]
        found["pixels"] = losses, risk_promise(losses, LEVELS, wanted.max_missed_pixels, confidence)
    if wanted.max_missed_defects is not None:
        losses = _defect_misses(table, groups)
        found["defects"] = losses, risk_promise(losses, LEVELS, wanted.max_missed_defects, confidence)
    refusals = [_refusal(promise, _WHAT[name]) for name, (_, promise) in found.items() if not promise.kept]
    if refusals:
        raise InputError(f"no threshold is stored: {'; '.join(refusals)}")
    level = int(min(promise.threshold or 0.0 for _, promise in found.values()))
    told = {
        name: {
            "limit": promise.limit,
            "confidence": confidence,
            "groups": promise.groups,
            "mean": float(losses[:, level - 1].mean()),
        }
        for name, (losses, promise) in found.items()
    }
    share = _share_from(table.negatives.sum(axis=0) if background is None else background, level)
    return PixelPromise(level / 255, len(table), told, share, _notes(level, told, share, min_area))


_WHAT = {"pixels": "defect pixels", "defects": "defects"}


def check_number(groups: int, wanted: Wanted, confidence: float, hint: str = "") -> None:
    """Refuse a promise that takes more parts than there are, whatever a model misses in them.

    Args:
        groups: groups with a defective part, at most so many have a defect with a known mask.
        hint: what else is to be said of their number.

    Raises:
        InputError: with what they carry at best and what it takes.
    """
    limits = {"pixels": wanted.max_missed_pixels, "defects": wanted.max_missed_defects}
    told, sure = [], f"{percent(confidence)} confidence"
    for name, limit in limits.items():
        if limit is None or groups >= (needed := parts_needed(limit, confidence)):
            continue
        takes = f"{percent(limit)} takes {needed} at least, {needed - groups} more"
        carried = percent(rounded_up(carries(groups, confidence)))
        able = f"{groups} defective parts (or groups) carry {carried} at best at {sure}"
        if not groups:
            able = "there is no defective part among the calibration parts, so nothing can be promised"
        told.append(f"missed {_WHAT[name]}: {able}; {takes}")
    if told:
        raise InputError(f"no threshold is stored: {'; '.join(told)}{hint}")


def _notes(level: int, told: dict[str, dict[str, float]], background: float | None, min_area: int) -> list[str]:
    """What the threshold promises, what it costs, and what the promise does not cover."""
    notes = [
        f"pixels: from P(defect) {level / 255:.3f} on a pixel is a defect; on average at most {percent(row['limit'])} "
        f"of a part's {_WHAT[name]} are missed, at {percent(row['confidence'])} confidence ({row['groups']:.0f} "
        f"defective parts or groups, which miss {percent(row['mean'])})"
        for name, row in told.items()
    ]
    if background is not None:
        notes.append(
            f"pixels: {percent(background)} of the background of the calibration parts is called a defect then"
        )
    if len(told) == 2:
        joint = max(0.0, 2 * told["pixels"]["confidence"] - 1)
        notes.append(f"pixels: each promise has its own confidence; both are kept at {percent(joint)} at least")
    if min_area:
        notes.append(f"outlines below {min_area} pixels are dropped afterwards, which the promise does not cover")
    return notes


def _share_from(counts: np.ndarray, level: int) -> float | None:
    """Share of a histogram `(256,)` that lies at a level or above."""
    total = int(counts.sum())
    return float(counts[level:].sum() / total) if total else None


def _defect_misses(table: ImageTable, groups: list[str | None]) -> np.ndarray:
    """`(G, 255)` as `instance_misses`: a true region is found up to the level that `FOUND_AT` of its pixels reach."""
    regions = table.regions
    if regions is None or not len(regions):
        return np.zeros((0, len(LEVELS)))
    reaching = regions.levels[:, ::-1].cumsum(axis=1, dtype=np.int64)[:, ::-1]
    enough = (reaching >= FOUND_AT * reaching[:, :1]) & (reaching > 0)
    highest = 255 - enough[:, ::-1].argmax(axis=1)
    names = [groups[row] or f"\0{row}" for row in regions.row.tolist()]
    return instance_misses(highest.astype(np.float64), names, LEVELS)


def _refusal(promise: RiskPromise, what: str) -> str:
    """Why the parts do not carry a promise, what they carry, and what it takes."""
    limit, sure = percent(promise.limit), f"{percent(promise.confidence)} confidence"
    if not promise.groups:
        return (
            f"missed {what}: no calibration part has a defect with a known mask, so nothing can be promised; {limit} "
            f"at {sure} takes {promise.needed} such parts"
        )
    mean = float(promise.mean or 0.0)
    seen = f"missed {what}: {promise.groups} defective parts (or groups) miss {percent(mean)} at the lowest threshold"
    if mean >= promise.limit:
        return f"{seen}, so more parts would not help to promise {limit}: train the model further or allow more misses"
    needed = _groups_needed(mean, promise)
    return (
        f"{seen}, which carries {percent(rounded_up(promise.bound))} at {sure}; {limit} takes about {needed} that miss "
        f"no more, {needed - promise.groups} more"
    )


def _groups_needed(mean: float, promise: RiskPromise) -> int:
    """How many groups of this mean loss, below the limit, the promise takes."""
    many = promise.groups

    def carried(groups: int) -> bool:
        return bool(hoeffding_bentkus(mean, groups, promise.limit) <= 1 - promise.confidence)

    while not carried(many):
        many *= 2
    few = many // 2
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if carried(middle) else (middle, many)
    return max(many, promise.groups + 1)
