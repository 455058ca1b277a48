"""Draws class outlines, boxes and labels over an image, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from defectctl.dataset.types import UNKNOWN, Box

FONT = cv2.FONT_HERSHEY_SIMPLEX
MIDDLE_GREY = 3 * 110
"""Sum of red, green and blue above which black text is easier to read than white."""


def to_rgb8(picture: np.ndarray) -> np.ndarray:
    """A picture `(H, W)` or `(H, W, 3)`, uint8 or full-scale uint16, as a new `(H, W, 3)` uint8 RGB array."""
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    return np.repeat(picture[:, :, None], 3, axis=2) if picture.ndim == 2 else picture.copy()


def draw_overlay(
    picture: np.ndarray,
    class_map: np.ndarray,
    defects: Sequence[tuple[int, Box, float]],
    names: Sequence[str],
    colours: Sequence[tuple[int, int, int]],
) -> np.ndarray:
    """Draw the outlines of a class map, and a box with name and score around each defect.

    Args:
        picture: `(H, W)` or `(H, W, 3)` RGB, uint8 or full-scale uint16; left as it is.
        class_map: `(H, W)` uint8; 0 and 255 are not drawn.
        defects: (class index, `xyxy` box in pixels, score 0..1) of each defect, or of each box of a model that detects.
        names, colours: of the classes, index 1 first; RGB 0..255.

    Returns:
        `(H, W, 3)` uint8 RGB.
    """
    canvas = np.ascontiguousarray(to_rgb8(picture))
    width = line_width(canvas.shape)
    for label in np.unique(class_map):
        if label not in (0, UNKNOWN):
            mask = (class_map == label).astype(np.uint8)
            outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(canvas, outlines, -1, colours[label - 1], width)
    for label, box, score in defects:
        draw_box(canvas, box, colours[label - 1], f"{_plain(names[label - 1], label)} {score:.2f}", width)
    return canvas


def line_width(shape: tuple[int, ...]) -> int:
    """Pixels of a line that can be seen when the image is shown whole: 1 for small images, more for large ones."""
    return max(1, round(min(shape[:2]) / 500))


def draw_box(
    canvas: np.ndarray, box: Box, colour: tuple[int, int, int], text: str, width: int, letters: float | None = None
) -> None:
    """Draw a box and its text just outside the defect, in place, so that it does not cover a thin scratch.

    Args:
        canvas: `(H, W, 3)` uint8.
        box: `xyxy` in the canvas's pixels.
        text: on a plate above the box; empty: none.
        width: of the line, pixels.
        letters: scale of the font; None fits the line.
    """
    height, right = canvas.shape[0] - 1, canvas.shape[1] - 1
    x1, y1 = max(0, int(box[0]) - width - 1), max(0, int(box[1]) - width - 1)
    x2, y2 = min(right, int(box[2]) + width), min(height, int(box[3]) + width)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, width)
    if not text:
        return
    scale, strokes = (0.35 * width, width) if letters is None else (letters, 1)
    (text_width, text_height), base = cv2.getTextSize(text, FONT, scale, strokes)
    left = min(x1, max(0, right - text_width))
    bottom = y1 - base if y1 - base - text_height >= 0 else min(height, y2 + text_height + base)
    # One line of text on a plate: a second, thicker line as its outline has other letter widths in OpenCV 5.
    cv2.rectangle(canvas, (left, bottom - text_height - 1), (left + text_width, bottom + base - 2), colour, cv2.FILLED)
    ink = (0, 0, 0) if sum(colour) > MIDDLE_GREY else (255, 255, 255)
    cv2.putText(canvas, text, (left, bottom), FONT, scale, ink, strokes, cv2.LINE_AA)


def _plain(name: str, label: int) -> str:
    """OpenCV's fonts hold ASCII only: other names are drawn as the class's number."""
    return name if name.isascii() else f"class {label}"
