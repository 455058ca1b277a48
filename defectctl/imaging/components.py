"""Connected components of a class map: each 8-connected patch of one class is an instance."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

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

    Only the rectangle around what is not background is looked at.

    Args:
        class_map: `(H, W)` uint8.

    Returns:
        `(ids, components)`: ids `(H, W)` int32, 0 outside every component, else `Component.index`; components in
        order of class, then of their first pixel in rows.
    """
    ids = np.zeros(class_map.shape, dtype=np.int32)
    left, top, width, height = cv2.boundingRect(np.ascontiguousarray(class_map)) if class_map.size else (0, 0, 0, 0)
    if not width:
        return ids, []
    window = slice(top, top + height), slice(left, left + width)
    # A column of background before the first keeps runs of equal pixels from going on in the next row.
    rows = np.zeros((height, width + 1), np.uint8)
    rows[:, 1:] = class_map[window]
    flat = rows.ravel()
    cuts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    values, lengths = flat[cuts], np.diff(cuts, append=flat.size)
    held = np.flatnonzero((values != 0) & (values != UNKNOWN))
    held = held[np.argsort(values[held], kind="stable")]
    runs = _Runs(values[held], *np.divmod(cuts[held], width + 1), lengths[held])
    owners, firsts = _owners(rows, runs)
    numbers = np.zeros(len(cuts) + 1, np.int32)
    numbers[held + 1] = owners + 1
    ids[window] = np.repeat(numbers, np.concatenate([cuts[:1], lengths])).reshape(rows.shape)[:, 1:]
    return ids, _described(runs, owners, firsts, left - 1, top)


class _Runs(NamedTuple):
    """Rows of equal pixels, class after class, within a class in order of their first pixels; all `(R,)`."""

    label: NDArray[np.uint8]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    length: NDArray[np.int64]


def _owners(rows: NDArray[np.uint8], runs: _Runs) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`(R,)` the component of each run, from 0 in order of their first runs, and `(C,)` those first runs."""
    marks = np.empty(len(runs.label), np.int64)
    ends = np.cumsum(np.bincount(runs.label, minlength=UNKNOWN)).tolist()
    count = 0
    for label, (start, end) in enumerate(pairwise(ends), 1):
        if start == end:
            continue
        row, column = runs.row[start:end], runs.column[start:end]
        top, left, right = int(row[0]), int(column.min()), int((column + runs.length[start:end]).max())
        own = (rows[top : row[-1] + 1, left:right] == label).view(np.uint8)
        found, own_marks = cv2.connectedComponents(own, connectivity=8, ltype=cv2.CV_32S)
        marks[start:end] = own_marks[row - top, column - left] + (count - 1)
        count += found - 1
    # OpenCV's own numbering differs between its algorithms.
    firsts = np.full(count, len(marks))
    np.minimum.at(firsts, marks, np.arange(len(marks)))
    order = np.argsort(firsts)
    ranks = np.empty(count, np.int64)
    ranks[order] = np.arange(count)
    return ranks[marks], firsts[order]


def _described(
    runs: _Runs, owners: NDArray[np.int64], firsts: NDArray[np.int64], left: int, top: int
) -> list[Component]:
    """The components; `left` and `top` is where row and column 0 of the runs lie in the class map."""
    x1, x2, y2 = runs.column[firsts], (runs.column + runs.length)[firsts], runs.row[firsts]
    np.minimum.at(x1, owners, runs.column)
    np.maximum.at(x2, owners, runs.column + runs.length)
    np.maximum.at(y2, owners, runs.row)
    areas = np.bincount(owners, weights=runs.length).astype(np.int64)
    edges = (x1 + left, runs.row[firsts] + top, x2 + left, y2 + (top + 1))
    boxes = zip(*(edge.astype(np.float64).tolist() for edge in edges), strict=True)
    return list(map(Component, runs.label[firsts].tolist(), areas.tolist(), boxes, range(1, len(firsts) + 1)))
