"""Box arithmetic on `xyxy` float pixel edges: intersection over union, and non-maximum suppression."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

NMS_BLOCK = 128
"""Boxes that `nms` compares all with all at once; the best ones decide, so that late blocks are seldom looked at."""


def box_area(boxes: ArrayLike) -> NDArray[np.float64]:
    """Area of each box `(N, 4)` in square pixels; a box turned inside out has area 0."""
    corners = _as_boxes(boxes)
    return np.clip(corners[:, 2:] - corners[:, :2], 0, None).prod(axis=1)


def box_iou(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of every box of `first` `(N, 4)` with every box of `second` `(M, 4)`.

    Returns:
        `(N, M)` float64 in 0..1; 0 where both boxes are empty.
    """
    a, b = _as_boxes(first), _as_boxes(second)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    union = box_area(a)[:, None] + box_area(b)[None, :] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def nms(
    boxes: ArrayLike, scores: ArrayLike, threshold: float, labels: ArrayLike | None = None, most: int | None = None
) -> NDArray[np.int64]:
    """Greedy non-maximum suppression: keep the best box, drop those that overlap it by more than `threshold`.

    Args:
        boxes: `(N, 4)`.
        scores: `(N,)`; among equal scores the earlier box goes first.
        threshold: intersection over union above which the lower-scored box is dropped.
        labels: `(N,)` whole numbers; boxes of different labels never drop each other. None: all of one class.
        most: boxes kept at most, the best of all labels.

    Returns:
        Indices of the kept boxes, best first, int64.
    """
    corners = _as_boxes(boxes)
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    corners = corners[order]
    if labels is not None and len(corners):
        # moved apart by class, boxes of different classes do not meet
        width = np.ptp(corners) + 1.0
        corners = corners + (np.asarray(labels, dtype=np.float64)[order] * width)[:, None]
    kept: list[int] = []
    for start in range(0, len(order), NMS_BLOCK):
        block = corners[start : start + NMS_BLOCK]
        alive = ~(box_iou(block, corners[kept]) > threshold).any(axis=1)
        survivors = np.flatnonzero(alive)
        overlaps = box_iou(block[alive], block[alive]) > threshold
        alive = np.ones(len(survivors), bool)
        for number, place in enumerate((survivors + start).tolist()):
            if alive[number]:
                kept.append(place)
                alive &= ~overlaps[number]
        if most is not None and len(kept) >= most:
            break
    return order[np.array(kept[:most], dtype=np.int64)]


def _as_boxes(boxes: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
