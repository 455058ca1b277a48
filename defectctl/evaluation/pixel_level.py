"""Chooses the pixel threshold that keeps a promised recall of defect pixels or of single defects."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from defectctl.errors import InputError
from defectctl.evaluation.result import named_groups
from defectctl.evaluation.wanted import Wanted
from defectctl.metrics.instances import FOUND_AT
from defectctl.metrics.promise import RiskPromise, instance_misses, percent, pixel_misses, risk_promise
from defectctl.metrics.table import ImageTable

LEVELS = np.arange(1, 256)
"""Defect bytes that can be a threshold; from level 0 on every pixel would be a defect."""


@dataclass(slots=True)
class PixelPromise:
    """A pixel threshold with what is promised of it.

    Attributes:
        threshold: defect probability from which a pixel is a defect, level / 255.
        parts: images it was chosen on.
        promises: `pixels`, `defects`: {limit, confidence, groups, mean, bound} of each that was asked for.
        notes: a sentence each, for the user.
    """

    threshold: float
    parts: int
    promises: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def choose_level(table: ImageTable, wanted: Wanted, confidence: float, min_area: int = 0) -> PixelPromise:
    """The highest threshold at which the promised shares of pixels and of defects are not missed.

    Both shares are means over parts (groups of them) that hold a defect, found by Learn-then-Test, see
    `metrics.promise`. A defect is found where at least half of its pixels reach the threshold.

    Args:
        table: calibration parts; their bytes do not depend on the threshold they were scored with.
        min_area: predicted defects with fewer pixels are dropped, which the promise does not cover.

    Raises:
        InputError: the parts do not carry a promise.
    """
    groups = named_groups(table)
    found: dict[str, tuple[RiskPromise, str]] = {}
    if wanted.max_missed_pixels is not None:
        losses = pixel_misses(table.positives, groups)[:, 1:]
        found["pixels"] = risk_promise(losses, LEVELS, wanted.max_missed_pixels, confidence), "defect pixels"
    if wanted.max_missed_defects is not None:
        losses = _defect_misses(table, groups)
        found["defects"] = risk_promise(losses, LEVELS, wanted.max_missed_defects, confidence), "defects"
    for promise, what in found.values():
        if not promise.kept:
            raise InputError(_refusal(promise, what))
    level = min(float(promise.threshold) for promise, _ in found.values() if promise.threshold is not None)
    told = {
        name: {
            "limit": promise.limit,
            "confidence": confidence,
            "groups": promise.groups,
            "mean": float(promise.mean or 0.0),
            "bound": promise.bound,
        }
        for name, (promise, _) in found.items()
    }
    notes = [
        f"pixels: from P(defect) {level / 255:.3f} on a pixel is a defect; at most {percent(promise.limit)} of a "
        f"part's {what} are missed on average, at {percent(confidence)} confidence ({promise.groups} defective groups)"
        for promise, what in found.values()
    ]
    if min_area:
        notes.append(f"outlines below {min_area} pixels are dropped afterwards, which the promise does not cover")
    return PixelPromise(level / 255, len(table), told, notes)


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
    if promise.groups < promise.needed:
        more = promise.needed - promise.groups
        return (
            f"missed {what}: {promise.groups} defective parts (or groups) do not carry {percent(promise.limit)}; it "
            f"takes {promise.needed}, {more} more, and a model that misses none of them"
        )
    return (
        f"missed {what}: even at the lowest threshold {percent(promise.mean or 0.0)} are missed on average, so "
        f"{percent(promise.limit)} cannot be promised; train the model further or ask for less"
    )
