"""Per-region overlap of a defect map: how much of each true region is found, so that small ones count as much as large.

Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 129, 2021, section 5.2: at a threshold t the per-region
overlap is the mean over the true regions of the share of their pixels at or above t; AUPRO is the area under that
overlap against the false positive rate of the pixels, up to a limit of the rate, divided by the limit. Both come from
counts of the 256 levels of the defect byte, so that no network is needed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LIMITS = {"aupro_30": 0.3, "aupro_05": 0.05}
"""False positive rates up to which AUPRO is taken: the paper's, and that of its successors for finer maps."""


@dataclass(slots=True)
class Regions:
    """The true regions of N images, flat: R 8-connected components of one class each.

    Attributes:
        row: `(R,)` int64, number of the image in the table.
        whole: `(R,)` int64, number within the image, from 1, of the component of "any defect" that holds the region:
            touching regions of several classes are one there.
        label: `(R,)` int64, class index 1..K.
        levels: `(R, 256)` uint32, pixels of the region at each level of the defect byte.
    """

    row: np.ndarray
    whole: np.ndarray
    label: np.ndarray
    levels: np.ndarray

    def __post_init__(self) -> None:
        count = len(np.asarray(self.row))
        for name, kind in REGION_COLUMNS.items():
            value = np.asarray(getattr(self, name), dtype=kind)
            shape = (count, 256) if name == "levels" else (count,)
            if value.shape != shape:
                raise ValueError(f"region column '{name}' has shape {value.shape}, expected {shape}")
            setattr(self, name, value)

    def __len__(self) -> int:
        return len(self.row)

    def select(self, rows: np.ndarray) -> Regions:
        """The regions of these rows `(S,)` int64, numbered anew in the order given; a row may come more than once."""
        order = np.argsort(self.row, kind="stable")
        first = np.searchsorted(self.row[order], rows, side="left")
        last = np.searchsorted(self.row[order], rows, side="right")
        picked = np.concatenate([np.zeros(0, np.int64), *(order[a:b] for a, b in zip(first, last, strict=True))])
        numbers = np.repeat(np.arange(len(rows)), last - first)
        return Regions(numbers, self.whole[picked], self.label[picked], self.levels[picked])

    @classmethod
    def joined(cls, parts: Sequence[Regions], images: Sequence[int]) -> Regions:
        """The regions of several tables, of `images` rows each, one after the other, rows counted on."""
        starts = np.cumsum([0, *images])[: len(parts)]
        rows = [part.row + start for part, start in zip(parts, starts, strict=True)]
        first = cls.none()
        columns = ([getattr(p, name) for p in (first, *parts)] for name in ("whole", "label", "levels"))
        return cls(np.concatenate([first.row, *rows]), *(np.concatenate(column) for column in columns))

    @classmethod
    def none(cls) -> Regions:
        """No region at all, as of a good part or one without a mask."""
        return cls(*(np.zeros((0, 256) if name == "levels" else 0, kind) for name, kind in REGION_COLUMNS.items()))


REGION_COLUMNS: dict[str, type] = {"row": np.int64, "whole": np.int64, "label": np.int64, "levels": np.uint32}
"""Arrays of `Regions` in the order of its fields, with their types."""


def regions_of(truth: np.ndarray | None, defect: np.ndarray, known: np.ndarray) -> Regions:
    """The true regions of one image, row 0, in order of class.

    Only pixels of a class for which the mask speaks belong to a region; unknown ones (255) do not, so that what an
    unknown seam parts is two regions.

    Args:
        truth: `(H, W)` uint8 class index, 255 unknown; None where there is no mask.
        defect: `(H, W)` uint8 defect byte.
        known: `(1 + K,)` bool, classes for which the mask speaks; column 0 where it speaks of any.
    """
    if truth is None or not known[0] or not truth.any():
        return Regions.none()
    import cv2

    from defectctl.imaging.components import find_components

    window = window_around(truth)
    speaks = np.zeros(256, np.uint8)
    speaks[1 : len(known)] = known[1:]
    truth = cv2.LUT(truth[window], np.arange(256, dtype=np.uint8) * speaks)
    ids, regions = find_components(truth)
    if not regions:
        return Regions.none()
    one_class = regions[0].label == regions[-1].label
    holders = ids if one_class else find_components((truth > 0).view(np.uint8))[0]
    inside = truth > 0
    number = ids[inside] - 1
    whole = np.zeros(len(regions), np.int64)
    whole[number] = holders[inside]
    levels = np.bincount(number.astype(np.int64) * 256 + defect[window][inside], minlength=256 * len(regions))
    label = np.array([region.label for region in regions])
    return Regions(np.zeros(len(regions)), whole, label, levels.reshape(-1, 256))


def window_around(used: np.ndarray, margin: int = 0) -> tuple[slice, slice]:
    """The smallest window of a `(H, W)` bool or uint8 mask that holds all its pixels but 0, of which there must be one.

    Args:
        margin: rows and columns added on every side, as far as the image goes.
    """
    import cv2

    left, top, width, height = cv2.boundingRect(np.ascontiguousarray(used).view(np.uint8))
    rows = slice(max(top - margin, 0), min(top + height + margin, used.shape[0]))
    return rows, slice(max(left - margin, 0), min(left + width + margin, used.shape[1]))


def image_overlaps(regions: Regions, images: int, label: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What each image adds to the per-region overlap, so that resampled images need sums only.

    Args:
        label: regions of this class; None: of "any defect".

    Returns:
        `(images, 256)` float64, the sum over the image's regions of their share at or above each level, and
        `(images,)` int64, its regions.
    """
    if label is None:
        keys = np.stack([regions.row, regions.whole], axis=1)
        pairs, place = np.unique(keys, axis=0, return_inverse=True)
        row, levels = pairs[:, 0], np.zeros((len(pairs), 256), np.int64)
        np.add.at(levels, place.ravel(), regions.levels)
    else:
        mine = regions.label == label
        row, levels = regions.row[mine], regions.levels[mine].astype(np.int64)
    found = levels[:, ::-1].cumsum(axis=1)[:, ::-1]
    sums = np.zeros((images, 256))
    np.add.at(sums, row, found / found[:, :1])
    return sums, np.bincount(row, minlength=images)


def aupro(regions: Regions, negatives: np.ndarray, limit: float = 0.3, label: int | None = None) -> float | None:
    """Area under the per-region overlap up to a false positive rate of `limit`, divided by it; 0..1.

    None without a region or without true background. Levels are thresholds; between them, and from (0, 0) to the
    highest level, the curve is straight (the trapezoid rule, cut at the limit). Where a model gives more than `limit`
    of the background the highest level, the figure rests on that first straight line.

    Args:
        negatives: `(N, 256)` int64, as in `ImageTable`; the background of all images, of good parts too.
        limit: above 0, at most 1.
        label: regions of this class; None: of "any defect". The background is the same.
    """
    sums, counts = image_overlaps(regions, len(negatives), label)
    return overlap_area(sums.sum(axis=0), int(counts.sum()), negatives.sum(axis=0), limit)


def overlap_area(sums: np.ndarray, regions: int, negatives: np.ndarray, limit: float) -> float | None:
    """`aupro` from sums over images: `sums` `(256,)` and `regions` of `image_overlaps`, `negatives` `(256,)`."""
    if not 0 < limit <= 1:
        raise ValueError(f"the limit must be above 0 and at most 1, not {limit}")
    background = negatives.sum()
    if not regions or not background:
        return None
    rate = np.concatenate([[0.0], np.cumsum(negatives[::-1]) / background])
    overlap = np.concatenate([[0.0], sums[::-1] / regions])
    within = int(np.searchsorted(rate, limit, side="right"))
    x, y = rate[:within], overlap[:within]
    if x[-1] < limit:
        share = (limit - x[-1]) / (rate[within] - x[-1])
        x, y = np.append(x, limit), np.append(y, y[-1] + share * (overlap[within] - y[-1]))
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum() / limit)


def region_metrics(regions: Regions | None, negatives: np.ndarray, classes: Sequence[str]) -> dict[str, object]:
    """`aupro_30`, `aupro_05` of "any defect", `region_classes` {name: {aupro_30, aupro_05, regions}} and `regions`.

    All None, and no classes, where the table holds no regions (`regions` is None).
    """
    if regions is None:
        return {**dict.fromkeys(LIMITS), "regions": None, "region_classes": {}}
    total = negatives.sum(axis=0)

    def figures(label: int | None) -> dict[str, object]:
        sums, counts = image_overlaps(regions, len(negatives), label)
        curve, count = sums.sum(axis=0), int(counts.sum())
        return {key: overlap_area(curve, count, total, limit) for key, limit in LIMITS.items()} | {"regions": count}

    return {**figures(None), "region_classes": {name: figures(label) for label, name in enumerate(classes, 1)}}
