"""Box arithmetic on `xyxy` float pixel edges: intersection over union, and non-maximum suppression."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


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


def nms(boxes: ArrayLike, scores: ArrayLike, threshold: float) -> NDArray[np.int64]:
    """Greedy non-maximum suppression: keep the best box, drop those that overlap it by more than `threshold`.

    Args:
        boxes: `(N, 4)` boxes of one class.
        scores: `(N,)`; among equal scores the earlier box goes first.
        threshold: intersection over union above which the lower-scored box is dropped.

    Returns:
        Indices of the kept boxes, best first, int64.
    """
    corners = _as_boxes(boxes)
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[box_iou(corners[best], corners[order])[0] <= threshold]
    return np.array(kept, dtype=np.int64)


def _as_boxes(boxes: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
