"""Draws small pictures for reports: an image with the outlines of its defects, a map of positions, a grey stand-in."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from defectctl.dataset.types import Box
from defectctl.reports.overlay import FONT, draw_box, draw_overlay, to_rgb8

SIDE = 224
"""Longer side of a thumbnail, in pixels; small pictures are left smaller."""

_SMALLEST = 112
"""Pictures with a shorter longer side are enlarged by a whole factor."""

_DARKEST = 32
"""A picture that nowhere exceeds this level is a mask of indices: it is brightened, else it would look black."""

_RAMP = np.array([(255, 255, 255), (158, 190, 214), (60, 110, 160), (8, 20, 50)], np.float64)
"""White for never to nearly black for most often: the same order in colour and in a black-and-white print."""


def thumbnail(
    picture: NDArray,
    class_map: NDArray[np.uint8] | None = None,
    boxes: Sequence[tuple[int, Box]] = (),
    colours: Sequence[tuple[int, int, int]] = (),
) -> bytes:
    """A small JPEG of an image with the outlines of its defects.

    Args:
        picture: `(H, W)` or `(H, W, 3)` RGB, uint8 or full-scale uint16.
        class_map: `(H, W)` uint8; 0 and 255 are not outlined.
        boxes: class index and box in the picture's pixels.
        colours: of the classes, index 1 first, RGB 0..255.
    """
    height, width = picture.shape[:2]
    size = _fitted(height, width)
    small = np.ascontiguousarray(to_rgb8(_resized(picture, size)))
    if class_map is not None:
        small = draw_overlay(small, _around(class_map, size), [], [], colours)
    across, down = size[1] / width, size[0] / height
    for label, (x1, y1, x2, y2) in boxes:
        draw_box(small, (x1 * across, y1 * down, x2 * across, y2 * down), colours[label - 1], "", 1)
    return _encoded(small, ".jpg")


def brightened(stored: NDArray) -> NDArray[np.uint8]:
    """Stored pixels so that a person sees something: 16-bit pictures and index masks reach up to white."""
    brightest = int(stored.max(initial=0))
    if stored.dtype != np.uint16 and not 0 < brightest <= _DARKEST:
        return stored
    return (stored * (255 / max(brightest, 1))).astype(np.uint8)


def stand_in(text: str) -> bytes:
    """A grey tile with a word in ASCII, where there is no picture to show."""
    tile = np.full((120, 180, 3), 200, np.uint8)
    (width, height), _ = cv2.getTextSize(text, FONT, 0.6, 1)
    cv2.putText(tile, text, ((180 - width) // 2, (120 + height) // 2), FONT, 0.6, (60, 60, 60), 1, cv2.LINE_AA)
    return _encoded(tile, ".png")


def position_map(cells: NDArray[np.float64]) -> bytes:
    """A PNG, one pixel a cell: white for 0, nearly black for the largest of `cells` `(h, w)`, none below 0."""
    steps = len(_RAMP) - 1
    places = cells / (cells.max() or 1) * steps
    pixels = np.stack([np.interp(places, range(steps + 1), _RAMP[:, channel]) for channel in range(3)], axis=-1)
    return _encoded(np.rint(pixels).astype(np.uint8), ".png")


def _fitted(height: int, width: int) -> tuple[int, int]:
    """Height and width of the thumbnail."""
    longer = max(height, width)
    scale = SIDE / longer if longer > SIDE else -(-_SMALLEST // longer)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _resized(picture: NDArray, size: tuple[int, int]) -> NDArray:
    shrinks = size[0] < picture.shape[0] or size[1] < picture.shape[1]
    return cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST)


def _around(class_map: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The class map at a thumbnail's size, each defect one pixel wider, so that its outline does not cover it.

    However thin a defect is, it does not fall between the pixels of the smaller picture.
    """
    result = np.zeros(size, np.uint8)
    for label in np.flatnonzero(np.bincount(class_map.ravel(), minlength=256)[1:255]) + 1:
        region = _resized((class_map == label).astype(np.float32), size) > 0
        result[cv2.dilate(region.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0] = label
    return result


def _encoded(rgb: NDArray[np.uint8], ending: str) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, 80] if ending == ".jpg" else []
    return cv2.imencode(ending, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)[1].tobytes()
