"""Single defects, found or missed: recall by class and size, false blobs, errors of the outline, prices of mistakes.

A true defect is an 8-connected patch of one class in the true mask. How much of it was predicted as any defect is
stored, so that every bar for "found" can be asked of a saved table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from defectctl.errors import InputError

FOUND_AT = 0.5
"""Share of a defect's pixels that must be predicted as any defect for it to be found, unless another is asked."""

SIZE_EDGES = tuple(4**power for power in range(9))
"""Pixels at which size bins begin: powers of four, so that the side doubles from bin to bin; the last is open."""

DISTANCE_EDGES = np.concatenate([np.arange(0, 8, 0.25), np.geomspace(8, 8192, 41)])
"""Upper edges in pixels of the bins that outline distances fall in; what is further counts in the last."""

FOUND_SHARE = 0.9
"""Nine times out of ten, for the smallest defect found."""

FEWEST = 10
"""True defects from a size up below which nothing is said of it: nine out of ten takes ten."""


@dataclass(slots=True)
class Instances:
    """True and predicted defects of N images, flat; what `match_instances` makes, image after image.

    Three groups of columns: T true defects, P predicted ones (`blob_`), Q pairs (`pair_`). A pair is what overlaps:
    true defects and predicted ones that share pixels, directly or through others.

    Attributes:
        row: `(T,)` int64, number of the image in the table.
        label: `(T,)` int64, class 1..K.
        area: `(T,)` int64 pixels.
        hit: `(T,)` int64, those of them predicted as any defect.
        hit_class: `(T,)` int64, those of them predicted as its own class.
        cut: `(T,)` bool, whether it adjoins pixels of which nobody knows, so that its size is a least size.
        blob_row, blob_label, blob_area: `(P,)` int64, the same of predicted defects.
        blob_true: `(P,)` int64, its pixels on true defects.
        blob_unknown: `(P,)` int64, its pixels of which nobody knows.
        pair_row: `(Q,)` int64.
        pair_area, pair_hit: `(Q,)` int64, `area` and `hit` of the pair's true defects, summed.
        pair_distance: `(Q,)` float64, sum of the distances between the outlines, in pixels.
        pair_histogram: `(Q, 73)` int64, outline pixels by distance, see `DISTANCE_EDGES`.
        judged: `(N,)` bool, whether any pixel of the image has a truth.
    """

    row: np.ndarray
    label: np.ndarray
    area: np.ndarray
    hit: np.ndarray
    hit_class: np.ndarray
    cut: np.ndarray
    blob_row: np.ndarray
    blob_label: np.ndarray
    blob_area: np.ndarray
    blob_true: np.ndarray
    blob_unknown: np.ndarray
    pair_row: np.ndarray
    pair_area: np.ndarray
    pair_hit: np.ndarray
    pair_distance: np.ndarray
    pair_histogram: np.ndarray
    judged: np.ndarray

    def __post_init__(self) -> None:
        for first, names in INSTANCE_GROUPS.items():
            count = len(np.asarray(getattr(self, first)))
            for name in names:
                value = np.asarray(getattr(self, name), dtype=INSTANCE_COLUMNS[name])
                shape = (count, len(DISTANCE_EDGES)) if name == "pair_histogram" else (count,)
                if value.shape != shape:
                    raise ValueError(f"instance column '{name}' has shape {value.shape}, expected {shape}")
                setattr(self, name, value)

    def select(self, rows: np.ndarray) -> Instances:
        """What lies in these rows `(R,)` int64, numbered anew in the order given; a row may be asked for twice."""
        rows = np.asarray(rows, dtype=np.int64)
        columns: dict[str, np.ndarray] = {"judged": self.judged[rows]}
        for first, names in INSTANCE_GROUPS.items():
            if first == "judged":
                continue
            numbers, picked = _in_rows(getattr(self, first), rows)
            columns |= {name: getattr(self, name)[picked] for name in names}
            columns[first] = numbers
        return Instances(**columns)

    @classmethod
    def joined(cls, parts: list[Instances]) -> Instances:
        """The images of several tables one after the other, rows counted on."""
        starts = np.cumsum([0, *(len(part.judged) for part in parts)])
        columns = {}
        for name in INSTANCE_COLUMNS:
            values = [getattr(part, name) for part in parts]
            if name in INSTANCE_GROUPS and name != "judged":
                values = [numbers + start for numbers, start in zip(values, starts, strict=False)]
            columns[name] = np.concatenate(values)
        return cls(**columns)

    @classmethod
    def none(cls, judged: bool) -> Instances:
        """One image without a true or a predicted defect."""
        empty = {name: np.zeros(0, kind) for name, kind in INSTANCE_COLUMNS.items()}
        histogram = np.zeros((0, len(DISTANCE_EDGES)), np.int64)
        return cls(**{**empty, "pair_histogram": histogram, "judged": np.array([judged])})


INSTANCE_COLUMNS: dict[str, type] = {
    "row": np.int64,
    "label": np.int64,
    "area": np.int64,
    "hit": np.int64,
    "hit_class": np.int64,
    "cut": np.bool_,
    "blob_row": np.int64,
    "blob_label": np.int64,
    "blob_area": np.int64,
    "blob_true": np.int64,
    "blob_unknown": np.int64,
    "pair_row": np.int64,
    "pair_area": np.int64,
    "pair_hit": np.int64,
    "pair_distance": np.float64,
    "pair_histogram": np.int64,
    "judged": np.bool_,
}
"""Arrays of `Instances` in the order of its fields, with their types."""

INSTANCE_GROUPS: dict[str, tuple[str, ...]] = {
    "row": ("row", "label", "area", "hit", "hit_class", "cut"),
    "blob_row": ("blob_row", "blob_label", "blob_area", "blob_true", "blob_unknown"),
    "pair_row": ("pair_row", "pair_area", "pair_hit", "pair_distance", "pair_histogram"),
    "judged": ("judged",),
}
"""Columns of equal length, each group under the column that tells the image (`judged` has one entry an image)."""


def _in_rows(numbers: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`(new, picked)`: indices of the entries of `numbers` that are in `rows`, row after row, and their new numbers."""
    order = np.argsort(numbers, kind="stable")
    first = np.searchsorted(numbers, rows, side="left", sorter=order)
    counts = np.searchsorted(numbers, rows, side="right", sorter=order) - first
    new = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(len(new)) - np.repeat(np.cumsum(counts) - counts, counts)
    return new, order[np.repeat(first, counts) + within]


def is_found(instances: Instances, found_at: float = FOUND_AT) -> np.ndarray:
    """`(T,)` bool: at least one pixel and at least this share (0..1) of a true defect's pixels are called a defect."""
    return reaches(instances.hit, instances.area, found_at)


def is_false(instances: Instances) -> np.ndarray:
    """`(P,)` bool: predicted defects that share no pixel with a true defect and none with an unknown area."""
    return (instances.blob_true == 0) & (instances.blob_unknown == 0)


def reaches(hit: np.ndarray, area: np.ndarray, share: float) -> np.ndarray:
    """Whether at least one and at least `share` (0..1) of `area` pixels are hit, element by element."""
    return (hit > 0) & (hit / np.maximum(area, 1) >= share)


def instance_counts(instances: Instances, found_at: float = FOUND_AT) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per image, `(N,)` int64 each: true defects, those found, and false blobs."""
    images = len(instances.judged)
    found = np.bincount(instances.row[is_found(instances, found_at)], minlength=images)
    false = np.bincount(instances.blob_row[is_false(instances)], minlength=images)
    return np.bincount(instances.row, minlength=images), found, false


def instance_metrics(
    instances: Instances | None, classes: list[str], min_area: int = 0, found_at: float = FOUND_AT
) -> dict[str, Any]:
    """What became of every single defect, under stable keys; shares are in 0..1, None where nothing is to be counted.

    A defect is found where at least `found_at` of its pixels, and one at least, are predicted as any defect. One huge
    prediction would find them all: read the recall beside false blobs, boundary error and pixel precision.

    Args:
        instances: None where the model delivers no mask: then all is None or empty.
        min_area: the model's least reported area. Smaller true defects count like any other, a miss is a miss, and
            are told apart as well.

    Returns:
        `instances`, `instances_found`, `instance_recall`; `instance_recall_touched` (one pixel is enough) and
        `instance_recall_class` (the share must be predicted as the defect's own class); `instances_below_min_area`
        {instances, found, recall}; `instances_cut` (those that adjoin unknown pixels: counted here, but in nothing
        that goes by size); `instance_sizes`, a list of {from, to, instances, found, recall}, sizes in pixels with both
        ends within, `to` None for the last; `instance_classes` {name: {instances, found, recall, recall_class,
        smallest_found, false_blobs, sizes}}; `smallest_found` as `smallest_found` returns it; `false_blobs` (predicted
        defects that share no pixel with a true one or an unknown area), `false_blobs_per_image` (over
        `images_judged`), `images_with_false_blobs`, `false_blob_sizes`, a list of {from, to, blobs};
        `boundary_error` and `boundary_error_p95` as `boundary_error` returns them, `boundary_pixels` behind them;
        `images_judged`, `found_at`.
    """
    if instances is None:
        instances = Instances.none(judged=False)
    found, false = is_found(instances, found_at), is_false(instances)
    everything = np.ones(len(found), bool)
    judged = int(instances.judged.sum())
    below = _recall(found, instances.area < min_area)
    mean, far, pixels = boundary_error(instances, found_at)
    return {
        **_totals(instances, everything, found, found_at),
        "instances_below_min_area": below,
        "instances_cut": int(instances.cut.sum()),
        "instance_sizes": _by_size(instances, everything, found),
        "instance_classes": {
            name: _class_row(instances, label, found, false, found_at) for label, name in enumerate(classes, 1)
        },
        "smallest_found": smallest_found(instances.area[~instances.cut], found[~instances.cut]),
        "false_blobs": int(false.sum()),
        "false_blobs_per_image": _ratio(int(false.sum()), judged),
        "images_with_false_blobs": len(np.unique(instances.blob_row[false])),
        "false_blob_sizes": [
            {"from": low, "to": high, "blobs": int((false & within).sum())}
            for low, high, within in _size_bins(instances.blob_area)
        ],
        "boundary_error": mean,
        "boundary_error_p95": far,
        "boundary_pixels": pixels,
        "images_judged": judged,
        "found_at": found_at,
    }


def smallest_found(area: np.ndarray, found: np.ndarray, share: float = FOUND_SHARE) -> dict[str, Any] | None:
    """The smallest defect found nine times out of ten.

    `pixels` is the smallest size s that occurs such that, however far one counts up from s, of the true defects of s
    to b pixels at least `share` were found, for every b >= s. It is where the monotone (isotonic) fit of "found" over
    size reaches `share` (Barlow et al., "Statistical Inference under Order Restrictions", 1972), so that many large
    defects cannot make up for small ones that are missed, and up from s no defect is missed before nine are found.
    None where no size does so, or where fewer than `FEWEST` true defects are that large.

    Returns:
        {pixels, instances, found, lower, larger}: `instances`, `found` and `lower` say how much stands behind it, of
        the defects from s to below 2 s pixels: how many, how many found, and the exact (Clopper-Pearson) lower bound
        of that share at 95 % confidence, which does not know that s was chosen by the same defects; `larger` counts
        all from s up.
    """
    sizes, place = np.unique(area, return_inverse=True)
    surplus = np.bincount(place, weights=found - share, minlength=len(sizes))
    level = np.concatenate([[0.0], np.cumsum(surplus)])
    lowest_ahead = np.minimum.accumulate(level[:0:-1])[::-1]
    holds = np.flatnonzero(lowest_ahead >= level[:-1] - 1e-9)
    if not len(holds) or (area >= sizes[holds[0]]).sum() < FEWEST:
        return None
    size = int(sizes[holds[0]])
    near = (area >= size) & (area < 2 * size)
    count, hits = int(near.sum()), int(found[near].sum())
    return {
        "pixels": size,
        "instances": count,
        "found": hits,
        "lower": _lower_bound(hits, count),
        "larger": int((area >= size).sum()),
    }


def _lower_bound(hits: int, count: int, confidence: float = 0.95) -> float:
    from scipy.special import betaincinv

    return float(betaincinv(hits, count - hits + 1, 1 - confidence)) if hits else 0.0


def boundary_error(instances: Instances, found_at: float = FOUND_AT) -> tuple[float | None, float | None, int]:
    """How far true and predicted outlines of found defects are apart, in pixels, and of how many outline pixels.

    Over the pairs of which at least `found_at` of the true pixels are hit, all outline pixels of both sides pooled:
    the mean distance to the other outline (the average symmetric surface distance of Heimann et al., "Comparison and
    evaluation of methods for liver segmentation from CT datasets", IEEE TMI 28, 2009), and the distance within which
    95 % of the pixels lie, rounded up to the next of `DISTANCE_EDGES` (a quarter pixel up to 8 pixels, a fifth of
    itself beyond). Missed defects and false blobs have no distance and are no part of it. None where no pair is.
    """
    close = reaches(instances.pair_hit, instances.pair_area, found_at)
    histogram = instances.pair_histogram[close].sum(axis=0)
    pixels = int(histogram.sum())
    if not pixels:
        return None, None, 0
    reached = int(np.searchsorted(np.cumsum(histogram) * 20, pixels * 19))
    return float(instances.pair_distance[close].sum() / pixels), float(DISTANCE_EDGES[reached]), pixels


def cost(parts: dict[str, Any], cost_escape: float, cost_overkill: float) -> dict[str, Any]:
    """What the verdicts cost: every escape and every part of overkill at its price.

    Args:
        parts: what `image_metrics` returns. Parts of unknown state cost nothing and are no parts here; UNSURE ones are
            parts, and what the person costs who looks at them is not in it.
        cost_escape, cost_overkill: prices in any one currency.

    Returns:
        {cost_escape, cost_overkill, parts, escapes_total, overkill_total, total, per_part, per_1000_parts}: the prices
        asked, the parts of known state, and what came of them. The last two are None without parts, and hold where as
        large a share of the parts is defective as here.

    Raises:
        InputError: a price is below 0 or no number.
    """
    for option, price in (("--cost-escape", cost_escape), ("--cost-overkill", cost_overkill)):
        if not (math.isfinite(price) and price >= 0):
            raise InputError(f"{option} must be a price of 0 or more, not {price}")
    escapes, overkill = parts["escapes"] * cost_escape, parts["overkill"] * cost_overkill
    count = parts["defective_parts"] + parts["good_parts"]
    per_part = _ratio(escapes + overkill, count)
    return {
        "cost_escape": cost_escape,
        "cost_overkill": cost_overkill,
        "parts": count,
        "escapes_total": escapes,
        "overkill_total": overkill,
        "total": escapes + overkill,
        "per_part": per_part,
        "per_1000_parts": None if per_part is None else 1000 * per_part,
    }


def _totals(instances: Instances, mine: np.ndarray, found: np.ndarray, found_at: float) -> dict[str, Any]:
    row = _recall(found, mine)
    own = reaches(instances.hit_class, instances.area, found_at)
    return {
        "instances": row["instances"],
        "instances_found": row["found"],
        "instance_recall": row["recall"],
        "instance_recall_touched": _recall(instances.hit > 0, mine)["recall"],
        "instance_recall_class": _recall(own, mine)["recall"],
    }


def _class_row(
    instances: Instances, label: int, found: np.ndarray, false: np.ndarray, found_at: float
) -> dict[str, Any]:
    mine = instances.label == label
    own = reaches(instances.hit_class, instances.area, found_at)
    sized = mine & ~instances.cut
    return {
        **_recall(found, mine),
        "recall_class": _recall(own, mine)["recall"],
        "smallest_found": smallest_found(instances.area[sized], found[sized]),
        "false_blobs": int((false & (instances.blob_label == label)).sum()),
        "sizes": _by_size(instances, mine, found),
    }


def _recall(found: np.ndarray, among: np.ndarray) -> dict[str, Any]:
    count, hits = int(among.sum()), int((found & among).sum())
    return {"instances": count, "found": hits, "recall": _ratio(hits, count)}


def _by_size(instances: Instances, mine: np.ndarray, found: np.ndarray) -> list[dict[str, Any]]:
    sized = mine & ~instances.cut
    bins = _size_bins(instances.area)
    return [{"from": low, "to": high, **_recall(found, sized & within)} for low, high, within in bins]


def _size_bins(area: np.ndarray) -> list[tuple[int, int | None, np.ndarray]]:
    """Least and largest size of each bin, and which of the defects are in it."""
    ends = [*SIZE_EDGES[1:], None]
    return [
        (low, None if end is None else end - 1, (area >= low) & (True if end is None else area < end))
        for low, end in zip(SIZE_EDGES, ends, strict=True)
    ]


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None
