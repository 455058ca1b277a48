"""Every figure of an `ImageTable` as a function of how often each of its images counts.

All figures come from sums over images: a set of weightings is one matrix, and a figure under all of them one product
with the images' counts. Rankings are sorted once and summed with the weights; average precision of boxes likewise,
class by class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from defectctl.metrics.boxes import OVERLAPS, RECALLS, Detections
from defectctl.metrics.image_level import verdicts
from defectctl.metrics.instances import FOUND_AT, SIZE_EDGES, Instances, is_false, is_found, reaches
from defectctl.metrics.region_overlap import LIMITS, image_overlaps, overlap_area
from defectctl.metrics.saliency import e_curves, image_saliency
from defectctl.metrics.segmentation import image_scores
from defectctl.metrics.table import ImageTable

CHUNK = 1 << 20
"""Numbers in one working matrix (rounds x images, rounds x boxes): 8 MiB, whatever the number of images."""

LESS_IS_BETTER = frozenset(
    {"mae", "boundary_error", "false_blobs_per_image", "escape_rate", "overkill_rate", "fp_at_full_recall"}
)
"""Keys of the figures that fall as a model improves; all others rise."""


class WeightedFigures:
    """Every figure of one table as a function of how often each of its images counts.

    Keys are those of `all_metrics` and `image_metrics`; figures of a class are `per_class.NAME.iou`,
    `instance_classes.NAME.recall` and so on, and those of the bins of size `instance_sizes.FROM.recall`, where bins
    without a defect are left out. A figure that the table cannot give, for it has no boxes or no instances, is NaN.
    With all weights 1 the values are those functions'; with whole weights those of a table that repeats the rows.
    (Boxes of equal score keep the order of the table, all copies of a box together.)

    Attributes:
        classes: K names.
        image_values: as `image_values` returns them.
    """

    def __init__(self, table: ImageTable, thresholds: Mapping[str, float]) -> None:
        self.classes = table.classes
        self.image_values = image_values(table)
        pairs = {**_part_ratios(table, thresholds), **_image_means(self.image_values), **_instance_ratios(table)}
        self._pairs = list(pairs)
        self._sums = np.stack([part for part, _ in pairs.values()] + [whole for _, whole in pairs.values()], axis=1)
        self._class_counts = _class_counts(table)
        self._histograms = (table.positives, table.negatives)
        self._curves = np.nan_to_num(e_curves(*self._histograms), copy=False)
        self._judged = table.positives.any(axis=1) | table.negatives.any(axis=1)
        self._overlaps = None if table.regions is None else image_overlaps(table.regions, len(table))
        judged = np.flatnonzero(table.defective >= 0)
        self._order = judged[np.argsort(-table.score[judged], kind="stable")]
        scores = table.score[self._order]
        self._ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else self._order
        self._defective = table.defective[self._order] == 1
        boxes = table.detections
        self._boxes = None if boxes is None else [_ClassBoxes(boxes, c) for c in range(1, 1 + len(table.classes))]

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Figures under R weightings: `(R,)` float64 each, NaN where undefined.

        Args:
            weights: `(R, N)` whole numbers, how often each image counts.
        """
        heavy = weights.astype(np.float64)
        part, whole = np.split(heavy @ self._sums, 2, axis=1)
        positives, negatives = np.split(self._levels(heavy), 2, axis=1)
        return {
            **dict(zip(self._pairs, _ratio(part, whole).T, strict=True)),
            **self._pixels(heavy),
            "pixel_ap": _average_precision(positives, negatives),
            **self._ranking(heavy),
            **self._detection(weights),
            "e_max": _ratio((heavy @ self._curves).max(axis=1), heavy @ self._judged),
            **self._regions(heavy, negatives[:, ::-1]),
        }

    def _pixels(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Figures of each class and their means over the classes."""
        tp, said, true = np.split(weights @ self._class_counts, 3, axis=1)
        union = said + true - tp
        # ignoring a class that is there must not raise the mean: its precision is 0 then, not undefined
        precision = np.where(union > 0, _ratio(tp, np.maximum(said, 1)), np.nan)
        per_class = {"iou": _ratio(tp, union), "precision": precision, "recall": _ratio(tp, true)}
        per_class["f1"] = _ratio(2 * tp, said + true)
        return {
            "miou_defects": _mean(per_class["iou"][:, 1:]),
            "miou": _mean(per_class["iou"]),
            "precision": _mean(precision),
            "mpa": _mean(per_class["recall"]),
            "dice": _mean(per_class["f1"][:, 1:]),
            **self._by_class(per_class, first=1),
        }

    def _levels(self, weights: np.ndarray) -> np.ndarray:
        """Pixel histograms, highest level first, defect then background: `(R, 512)`, blocks of images at a time."""
        total = np.zeros((len(weights), 512))
        step = max(1, CHUNK // 512)
        for start in range(0, weights.shape[1], step):
            block = slice(start, start + step)
            counts = np.concatenate([histogram[block, ::-1] for histogram in self._histograms], axis=1)
            total += weights[:, block] @ counts.astype(np.float64)
        return total

    def _ranking(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """As `ranking_metrics`: the parts sorted by score once, equal scores taken together."""
        sorted_weights = weights[:, self._order]
        hits = np.cumsum(sorted_weights * self._defective, axis=1)[:, self._ends]
        both = np.cumsum(sorted_weights, axis=1)[:, self._ends]
        positives = np.diff(hits, axis=1, prepend=0)
        negatives = np.diff(both, axis=1, prepend=0) - positives
        total, alarms = positives.sum(axis=1), both - hits
        others = negatives.sum(axis=1)
        defined = (total > 0) & (others > 0)
        higher = (positives * (others[:, None] - alarms + negatives / 2)).sum(axis=1)
        f1 = 2 * hits / np.maximum(total[:, None] + both, 1)  # at each score: called defective are `both`
        last = (hits < total[:, None]).sum(axis=1)  # the level at which the lowest defective part is reached
        reached = np.take_along_axis(np.pad(alarms, ((0, 0), (0, 1))), last[:, None], axis=1)[:, 0]
        return {
            "image_ap": _average_precision(positives, negatives),
            "image_auroc": _ratio(higher, total * others),
            "best_f1.f1": np.where(defined, f1.max(axis=1, initial=0), np.nan),
            "fp_at_full_recall": np.where(defined, reached, np.nan),
        }

    def _detection(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        values = np.full((len(weights), len(self.classes), len(OVERLAPS)), np.nan)
        for place, boxes in enumerate(self._boxes or ()):
            step = max(1, CHUNK // max(len(boxes.rows), 1))
            for start in range(0, len(weights), step):
                values[start : start + step, place] = boxes.average_precision(weights[start : start + step])
        per_class = {"ap50": values[:, :, 0], "ap": values.mean(axis=2)}
        means = {"map50": _mean(per_class["ap50"]), "map": _mean(per_class["ap"])}
        return {**means, **self._by_class(per_class, first=0)}

    def _regions(self, weights: np.ndarray, negatives: np.ndarray) -> dict[str, np.ndarray]:
        """As `region_metrics` of "any defect"; `negatives` `(R, 256)`, lowest level first."""
        values = {key: np.full(len(weights), np.nan) for key in LIMITS}
        if self._overlaps is not None:
            sums, counts = (weights @ column for column in self._overlaps)
            for row, count in enumerate(counts.astype(np.int64).tolist()):
                for key, limit in LIMITS.items():
                    area = overlap_area(sums[row], count, negatives[row], limit)
                    values[key][row] = np.nan if area is None else area
        return values

    def _by_class(self, columns: dict[str, np.ndarray], first: int) -> dict[str, np.ndarray]:
        names = enumerate(self.classes, first)
        return {f"per_class.{name}.{key}": values[:, at] for at, name in names for key, values in columns.items()}


class _ClassBoxes:
    """The boxes of one class over all images, best score first, and where among them the hits are."""

    def __init__(self, boxes: Detections, label: int) -> None:
        mine = np.flatnonzero(boxes.label == label)
        mine = mine[np.argsort(-boxes.score[mine], kind="stable")]
        hits, ignored = boxes.matched[mine] & ~boxes.ignored[mine], boxes.ignored[mine]
        end = 1 + int(np.flatnonzero(hits.any(axis=1)).max(initial=-1))  # what follows the last hit changes nothing
        self.rows = boxes.row[mine[:end]]
        self._hits = [np.flatnonzero(column) for column in hits[:end].T]
        self._ignored = [np.flatnonzero(column) for column in ignored[:end].T]
        self._truths = boxes.truths[:, label].astype(np.float64)

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """As `boxes.average_precision`, `(R, 10)`, NaN where no true box is drawn.

        Precision falls between hits and rises at none but them, so its envelope is read at the hits alone: the value
        at a hit counts once for each of the 101 recalls that this hit is the first to reach.
        """
        truths = weights.astype(np.float64) @ self._truths
        drawn = weights[:, self.rows]
        said = np.cumsum(drawn, axis=1)
        values = np.zeros((len(weights), len(OVERLAPS)))
        for place, (hits, ignored) in enumerate(zip(self._hits, self._ignored, strict=True)):
            right, counted = np.cumsum(drawn[:, hits], axis=1), said[:, hits]
            if len(ignored):
                skipped = np.cumsum(np.pad(drawn[:, ignored], ((0, 0), (1, 0))), axis=1)
                counted = counted - skipped[:, np.searchsorted(ignored, hits)]
            precision = right / np.maximum(counted, 1)
            envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            recall = right / np.maximum(truths, 1)[:, None]
            reached = np.searchsorted(RECALLS, recall, side="right")
            values[:, place] = (envelope * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(RECALLS)
        return np.where(truths[:, None] > 0, values, np.nan)


def image_values(table: ImageTable) -> dict[str, np.ndarray]:
    """Figures that are means over the images, before the mean: `(N,)` float64 each, NaN where an image has none."""
    scores = np.full((2, len(table)), np.nan)
    scores[:, table.confusion.sum(axis=(1, 2)) > 0] = image_scores(table)
    saliency = image_saliency(table)
    structure = np.full((len(table), 2), np.nan) if table.structure is None else table.structure
    return {
        "image_f1": scores[0],
        "image_iou": scores[1],
        **{key: saliency[key] for key in ("mae", "e_mean", "e_adaptive")},
        "weighted_f": structure[:, 0],
        "s_measure": structure[:, 1],
    }


Ratios = dict[str, tuple[np.ndarray, np.ndarray]]
"""Figures that are one sum over images divided by another: what each image adds to the two, `(N,)` each."""


def _part_ratios(table: ImageTable, thresholds: Mapping[str, float]) -> Ratios:
    confusion, called = table.confusion, verdicts(table, thresholds)
    pixels = confusion.sum(axis=(1, 2))
    defective, good = table.defective == 1, table.defective == 0
    return {
        "defect_iou": (confusion[:, 1:, 1:].sum(axis=(1, 2)), pixels - confusion[:, 0, 0]),
        "pixel_accuracy": (np.trace(confusion, axis1=1, axis2=2), pixels),
        "escape_rate": (defective & (called == 0), defective),
        "overkill_rate": (good & (called == 2), good),
    }


def _image_means(values: Mapping[str, np.ndarray]) -> Ratios:
    return {key: (np.nan_to_num(column), ~np.isnan(column)) for key, column in values.items()}


def _instance_ratios(table: ImageTable) -> Ratios:
    """As `instance_metrics`."""
    instances = table.instances
    if instances is None:
        instances = Instances.none(judged=False).select(np.zeros(len(table), np.int64))
    found, area = is_found(instances), instances.area
    own = is_found(replace(instances, hit=instances.hit_class))
    close = reaches(instances.pair_hit, instances.pair_area, FOUND_AT)

    def count(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.bincount(rows, weights=weights, minlength=len(table))

    def recall(hits: np.ndarray, among: np.ndarray | bool = True) -> tuple[np.ndarray, np.ndarray]:
        return count(instances.row, hits & among), count(instances.row, np.ones(len(hits), bool) & among)

    bins = zip(SIZE_EDGES, [*SIZE_EDGES[1:], np.inf], strict=True)
    sizes = {low: ~instances.cut & (area >= low) & (area < end) for low, end in bins}
    outline = instances.pair_histogram.sum(axis=1)
    return {
        "instance_recall": recall(found),
        "instance_recall_touched": recall(instances.hit > 0),
        "instance_recall_class": recall(own),
        "false_blobs_per_image": (count(instances.blob_row, is_false(instances)), instances.judged),
        "boundary_error": (
            count(instances.pair_row, close * instances.pair_distance),
            count(instances.pair_row, close * outline),
        ),
        **{
            f"instance_classes.{name}.recall": recall(found, instances.label == label)
            for label, name in enumerate(table.classes, 1)
        },
        **{f"instance_sizes.{low}.recall": recall(found, within) for low, within in sizes.items() if within.any()},
    }


def _class_counts(table: ImageTable) -> np.ndarray:
    """Per image, `(N, 3 (1 + K))` float64, its right, its predicted and its true pixels of each class.

    Background comes first; an image counts in the classes for which its mask speaks.
    """
    confusion = table.confusion
    columns = [np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=1), confusion.sum(axis=2)]
    return np.concatenate([column * table.known for column in columns], axis=1).astype(np.float64)


def _average_precision(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Step-wise average precision `(R,)` from weights `(R, L)` at each level, highest first."""
    hits, alarms = np.cumsum(positives, axis=1), np.cumsum(negatives, axis=1)
    summed = (positives * hits / np.maximum(hits + alarms, 1)).sum(axis=1)
    total = positives.sum(axis=1)
    return np.where(negatives.sum(axis=1) > 0, _ratio(summed, total), np.nan)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the classes `(R, K)` that have a value; NaN where none has."""
    return _ratio(np.nansum(values, axis=1), (~np.isnan(values)).sum(axis=1))
