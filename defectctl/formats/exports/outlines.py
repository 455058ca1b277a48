"""The outer outlines of a patch of pixels as polygons that rasterisers turn back into the same pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from defectctl.formats.base import Region
from defectctl.formats.regions import rasterise

Polygon = list[float]
"""`[x1, y1, x2, y2, …]` in pixels."""


def outer_outlines(pixels: NDArray[np.bool_], left: int = 0, top: int = 0) -> tuple[list[Polygon], int]:
    """Outline every 8-connected piece of a patch, a quarter of a pixel inside its border.

    On that line every corner lies in a pixel of the patch itself: sampling at pixel centres, and filling after the
    corners were cut down to whole numbers, both give the patch, where its very edge would gain a row and a column
    from the second. Steps of one pixel at a slant stay joined, and a single pixel has an outline like any other.

    Args:
        pixels: `(h, w)` bool.
        left, top: place of the patch in its image.

    Returns:
        The polygons in image coordinates, and the number of holes, which they leave filled.
    """
    doubled = np.repeat(np.repeat(pixels.astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, tree = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    polygons: list[Polygon] = []
    for contour, (_, _, _, parent) in zip(contours, tree[0] if len(contours) else (), strict=True):
        if parent < 0:
            points = contour[:, 0, :] / 2.0 + (0.25 + left, 0.25 + top)
            polygons.append(points.ravel().tolist())
    return polygons, len(contours) - len(polygons)


def exact_polygons(pixels: NDArray[np.bool_], left: int = 0, top: int = 0) -> list[Polygon] | None:
    """The outlines of a patch where they give back just its pixels; None where a polygon would lose something."""
    polygons, holes = outer_outlines(pixels)
    if holes or not polygons:
        return None
    height, width = pixels.shape
    if not np.array_equal(rasterise(Region(polygons=tuple(map(tuple, polygons))), height, width), pixels):
        return None
    shift = np.array((left, top))
    return [(np.reshape(polygon, (-1, 2)) + shift).ravel().tolist() for polygon in polygons]
