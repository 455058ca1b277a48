"""Average precision of detected boxes exactly as COCO counts it: matching within an image, ranking over all images.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and the evaluation of its toolkit (pycocotools,
`COCOeval`): boxes meet the truth one to one, best score first, at ten overlaps; a crowd region swallows any number of
boxes, which then count neither for nor against; precision is made monotone and read at 101 recalls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

OVERLAPS = np.linspace(0.5, 0.95, 10)
"""Intersections over union at which boxes are matched: 0.5, 0.55, … 0.95."""

RECALLS = np.linspace(0.0, 1.0, 101)
"""Recalls at which precision is read."""

MOST_BOXES = 300
"""Boxes of one class in one image that count at most, best first."""


@dataclass(slots=True)
class Detections:
    """The detected boxes of N images held against the truth, flat: D boxes, K classes.

    Attributes:
        row: `(D,)` int64, number of the image in the table; rising.
        label: `(D,)` int64, class index 1..K.
        score: `(D,)` float64, 0..1; falling within a class of an image.
        matched: `(D, 10)` bool, whether the box met a true one at each of `OVERLAPS`.
        ignored: `(D, 10)` bool, whether what it met was a crowd region.
        truths: `(N, 1+K)` int64, true boxes of each class that are not crowd regions; column 0 is 0.
    """

    row: np.ndarray
    label: np.ndarray
    score: np.ndarray
    matched: np.ndarray
    ignored: np.ndarray
    truths: np.ndarray

    def __post_init__(self) -> None:
        count, wide = len(np.asarray(self.row)), (len(np.asarray(self.row)), len(OVERLAPS))
        shapes = {"row": (count,), "label": (count,), "score": (count,), "matched": wide, "ignored": wide}
        for name, kind in DETECTION_COLUMNS.items():
            value = np.asarray(getattr(self, name), dtype=kind)
            if name in shapes and value.shape != shapes[name]:
                raise ValueError(f"box column '{name}' has shape {value.shape}, expected {shapes[name]}")
            setattr(self, name, value)

    def select(self, rows: np.ndarray) -> Detections:
        """The boxes of these rows `(R,)` int64, numbered anew in the order given."""
        order = np.argsort(self.row, kind="stable")
        first = np.searchsorted(self.row[order], rows, side="left")
        last = np.searchsorted(self.row[order], rows, side="right")
        picked = [order[a:b] for a, b in zip(first, last, strict=True)]
        boxes = np.concatenate([np.zeros(0, np.int64), *picked])
        numbers = np.repeat(np.arange(len(rows)), last - first)
        columns = (getattr(self, name)[boxes] for name in ("label", "score", "matched", "ignored"))
        return Detections(numbers, *columns, self.truths[rows])

    @classmethod
    def joined(cls, parts: list[Detections]) -> Detections:
        """The boxes of several tables one after the other, rows counted on."""
        starts = np.cumsum([0, *(len(part.truths) for part in parts[:-1])])
        rows = np.concatenate([part.row + start for part, start in zip(parts, starts, strict=True)])
        names = list(DETECTION_COLUMNS)[1:]
        return cls(rows, *(np.concatenate([getattr(part, name) for part in parts]) for name in names))


DETECTION_COLUMNS: dict[str, type] = {
    "row": np.int64,
    "label": np.int64,
    "score": np.float64,
    "matched": np.bool_,
    "ignored": np.bool_,
    "truths": np.int64,
}
"""Arrays of `Detections` in the order of its fields, with their types."""


def match_image(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    truth_boxes: np.ndarray,
    truth_labels: np.ndarray,
    crowd: np.ndarray,
    known: np.ndarray,
) -> Detections:
    """Hold one image's boxes against its truth.

    Args:
        boxes: `(D, 4)` `xyxy` in image pixels; `scores` `(D,)`, `labels` `(D,)` 1..K.
        truth_boxes: `(T, 4)`; `truth_labels` `(T,)`; `crowd` `(T,)` bool.
        known: `(1+K,)` bool, classes whose true boxes are complete; boxes of other classes are left out, detected
            ones and true ones.

    Returns:
        `Detections` of one row, by class, best score first.
    """
    boxes, truth_boxes = np.reshape(boxes, (-1, 4)).astype(np.float64), np.reshape(truth_boxes, (-1, 4))
    labels, truth_labels = np.asarray(labels, np.int64), np.asarray(truth_labels, np.int64)
    scores, crowd = np.asarray(scores, np.float64), np.asarray(crowd, bool)
    truths = np.zeros((1, len(known)), np.int64)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    for label in (np.flatnonzero(known[1:]) + 1).tolist():
        mine = np.flatnonzero(labels == label)
        mine = mine[np.argsort(-scores[mine], kind="stable")][:MOST_BOXES]
        true = np.flatnonzero(truth_labels == label)
        truths[0, label] = int((~crowd[true]).sum())
        matched, ignored = _match(boxes[mine], truth_boxes[true].astype(np.float64), crowd[true])
        found.append((np.full(len(mine), label), scores[mine], matched, ignored))
    if not found:
        wide = np.zeros((0, len(OVERLAPS)), bool)
        found = [(np.zeros(0, np.int64), np.zeros(0), wide, wide)]
    columns = [np.concatenate(parts) for parts in zip(*found, strict=True)]
    return Detections(np.zeros(len(columns[0]), np.int64), *columns, truths)


def _match(boxes: np.ndarray, truth: np.ndarray, crowd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`(matched, ignored)`, `(D, 10)` bool each, of boxes of one class sorted by falling score."""
    matched = np.zeros((len(boxes), len(OVERLAPS)), bool)
    ignored = np.zeros_like(matched)
    if not len(boxes) or not len(truth):
        return matched, ignored
    order = np.argsort(crowd, kind="stable")  # a box may only fall to a crowd region where no true box is left for it
    crowd = crowd[order]
    overlap = _overlap(boxes, truth[order], crowd)
    plain = int((~crowd).sum())
    for place, least in enumerate(OVERLAPS):
        free = np.ones(len(truth), bool)
        for number in np.flatnonzero((overlap >= least).any(axis=1)).tolist():
            share = np.where(free & (overlap[number] >= least), overlap[number], -1.0)
            group = share[:plain] if (share[:plain] >= 0).any() else share
            best = len(group) - 1 - int(group[::-1].argmax())  # among equals the last, as COCO's loop leaves it
            if group[best] < 0:
                continue
            matched[number, place], ignored[number, place] = True, crowd[best]
            free[best] = crowd[best]
    return matched, ignored


def _overlap(boxes: np.ndarray, truth: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """`(D, T)` intersection over union; over the box's own area where the truth is a crowd region."""
    sides = np.minimum(boxes[:, None, 2:], truth[None, :, 2:]) - np.maximum(boxes[:, None, :2], truth[None, :, :2])
    common = np.clip(sides, 0, None).prod(axis=2)
    area, true_area = ((b[:, 2:] - b[:, :2]).prod(axis=1) for b in (boxes, truth))
    whole = np.where(crowd[None], area[:, None], area[:, None] + true_area[None] - common)
    return np.divide(common, whole, out=np.zeros_like(common), where=whole > 0)


def average_precision(scores: np.ndarray, matched: np.ndarray, ignored: np.ndarray, truths: int) -> np.ndarray | None:
    """Average precision of one class over all images, `(10,)`, one value for each of `OVERLAPS`.

    Args:
        scores: `(D,)`; `matched` and `ignored` `(D, 10)` as in `Detections`.
        truths: true boxes; 0 gives None.
    """
    if not truths:
        return None
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum((matched & ~ignored)[order], axis=0, dtype=np.float64)
    misses = np.cumsum((~matched & ~ignored)[order], axis=0, dtype=np.float64)
    recall = hits / truths
    precision = hits / np.maximum(hits + misses, np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    values = np.zeros(len(OVERLAPS))
    for place in range(len(OVERLAPS)):
        reached = np.searchsorted(recall[:, place], RECALLS, side="left")
        reached = reached[reached < len(recall)]
        values[place] = envelope[reached, place].sum() / len(RECALLS)
    return values


def box_metrics(detections: Detections | None, classes: list[str]) -> dict[str, Any]:
    """`map50` (overlap 0.5), `map` (mean over 0.5 to 0.95) and `box_classes` {name: {ap50, ap, boxes}}.

    Means are over the classes that have true boxes; None where there are none, or where the model detects nothing
    (`detections` is None).
    """
    rows = {}
    for label, name in enumerate(classes, 1):
        values, truths = None, 0
        if detections is not None:
            mine = detections.label == label
            truths = int(detections.truths[:, label].sum())
            columns = (getattr(detections, column)[mine] for column in ("score", "matched", "ignored"))
            values = average_precision(*columns, truths)
        known = values is not None
        rows[name] = {
            "ap50": float(values[0]) if known else None,
            "ap": float(values.mean()) if known else None,
            "boxes": truths,
        }

    def mean(key: str) -> float | None:
        present = [row[key] for row in rows.values() if row[key] is not None]
        return float(np.mean(present)) if present else None

    return {"map50": mean("ap50"), "map": mean("ap"), "box_classes": rows}


def box_counts(detections: Detections, score: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per image, `(N,)` int64 each: boxes of at least `score` that are right at overlap 0.5, wrong ones, and misses."""
    images = len(detections.truths)
    said = (detections.score >= score) & ~detections.ignored[:, 0]
    right = np.bincount(detections.row[said & detections.matched[:, 0]], minlength=images)
    wrong = np.bincount(detections.row[said & ~detections.matched[:, 0]], minlength=images)
    return right, wrong, detections.truths.sum(axis=1) - right
