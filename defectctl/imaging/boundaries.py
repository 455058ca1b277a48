"""Distances between the outlines of two regions, in pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def outline(region: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The pixels of a region that have one of their four neighbours outside it; beyond the picture is outside.

    Args:
        region: `(H, W)` uint8 of 0 and 1.

    Returns:
        `(H, W)` uint8 of 0 and 1; a region with any pixel has an outline.
    """
    inner = cv2.erode(region, _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return region - inner


def outline_distances(
    first: NDArray[np.uint8], second: NDArray[np.uint8], ignored: NDArray[np.uint8] | None = None
) -> NDArray[np.float64]:
    """How far each outline pixel of either region is from the nearest outline pixel of the other.

    Args:
        first, second: `(H, W)` uint8 of 0 and 1, regions in the same picture or window of one.
        ignored: `(H, W)` uint8, not 0 where an outline pixel is not measured; it can still be the nearest.

    Returns:
        `(D,)` Euclidean distances between pixel centres, those of `first` before those of `second`, 0 where the
        outlines coincide. Empty where either region is.
    """
    edges = outline(first), outline(second)
    if not edges[0].any() or not edges[1].any():
        return np.zeros(0)
    parts = []
    for edge, other in (edges, edges[::-1]):
        away = cv2.distanceTransform(1 - other, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        measured = edge > 0 if ignored is None else (edge > 0) & (ignored == 0)
        parts.append(away[measured])
    # The square of a distance between pixels is a whole number: rounding it undoes the transform's float32.
    return np.sqrt(np.rint(np.concatenate(parts).astype(np.float64) ** 2))
