"""Connected components of a class map: each 8-connected patch of one class is an instance."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

UNKNOWN = 255
"""Mask value of pixels whose class nobody knows; they belong to no component."""


@dataclass(frozen=True, slots=True)
class Component:
    """One patch of a class.

    Attributes:
        label: class index, 1..254.
        area: pixels.
        box: `(x1, y1, x2, y2)` in pixel edges, half-open, the tightest around the patch.
        index: the value of its pixels in the id map, 1-based over all classes.
    """

    label: int
    area: int
    box: tuple[float, float, float, float]
    index: int


def find_components(class_map: NDArray[np.uint8]) -> tuple[NDArray[np.int32], list[Component]]:
    """Find the 8-connected components of every class; 0 (background) and 255 (unknown) are none.

    Args:
        class_map: `(H, W)` uint8.

    Returns:
        `(ids, components)`: ids `(H, W)` int32, 0 outside every component, else `Component.index`; components in
        order of class, then of their first pixel in rows.
    """
    ids = np.zeros(class_map.shape, dtype=np.int32)
    components: list[Component] = []
    present = np.flatnonzero(np.bincount(class_map.ravel(), minlength=256)[1:UNKNOWN]) + 1
    for label in present.tolist():
        _, marks, stats, _ = cv2.connectedComponentsWithStats(
            (class_map == label).view(np.uint8), connectivity=8, ltype=cv2.CV_32S
        )
        order = _by_first_pixel(marks, len(stats))
        position = np.zeros(len(stats), dtype=np.int32)
        position[order] = np.arange(len(components) + 1, len(components) + 1 + len(order), dtype=np.int32)
        ids += position[marks]
        for mark, (x, y, width, height, area) in zip(order.tolist(), stats[order].tolist(), strict=True):
            box = (float(x), float(y), float(x + width), float(y + height))
            components.append(Component(label, int(area), box, int(position[mark])))
    return ids, components


def _by_first_pixel(marks: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Marks 1..count-1 in order of their first pixel: OpenCV's own numbering differs between its algorithms."""
    first = np.full(count, marks.size, dtype=np.int64)
    found, where = np.unique(marks, return_index=True)
    first[found] = where
    return np.argsort(first[1:], kind="stable") + 1
