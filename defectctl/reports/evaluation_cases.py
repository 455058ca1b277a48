"""Draws the worst images of an evaluation, each with id, score and verdict, small enough for one file."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from defectctl.reports.evaluation_data import Case, Picture
from defectctl.reports.html import Markup, figure, score_text, tag

ALL_BYTES = 1_200_000
"""Of all pictures together, before base64 makes them a third longer."""

_SIDE = 448
"""Longer side of a picture that is handed in as an array, pixels."""

_QUALITIES = (88, 78, 65, 50)


def picture_share(cases: Sequence[Case]) -> int:
    """Bytes that each picture of these cases may take."""
    return ALL_BYTES // max(sum(len(case.pictures) for case in cases), 1)


def draw_cases(cases: Sequence[Case], most_bytes: int) -> Markup:
    """The cases in a row that wraps; no picture takes more than `most_bytes`."""
    return tag("div", *(_case(case, most_bytes) for case in cases), class_="cases")


def _case(case: Case, most_bytes: int) -> Markup:
    told = [f"score {score_text(case.score)}", case.verdict, *([case.remark] if case.remark else [])]
    pictures = [
        figure(fitted_picture(picture, most_bytes), caption, f"{case.id}: {caption}")
        for caption, picture in case.pictures
    ]
    shown = [tag("div", *pictures, class_="pictures")] if pictures else []
    return tag("div", tag("p", tag("b", case.id), " · ", " · ".join(told)), *shown, class_="case")


def fitted_picture(picture: Picture, most_bytes: int) -> bytes:
    """The picture as a file of at most `most_bytes`: as it is where it fits, else a coarser, then a smaller JPEG.

    Args:
        picture: a JPEG or PNG file, or `(H, W, 3)` RGB or `(H, W)` grey, uint8.
        most_bytes: at least a few hundred; a picture of 16 pixels or fewer a side is not made smaller.
    """
    if isinstance(picture, bytes):
        if len(picture) <= most_bytes:
            return picture
        pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    else:
        pixels = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR if picture.ndim == 2 else cv2.COLOR_RGB2BGR)
    side = min(_SIDE, max(pixels.shape[:2]))
    while True:
        small = _shrunk(pixels, side)
        for quality in _QUALITIES:
            data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
            if len(data) <= most_bytes or (side <= 16 and quality == _QUALITIES[-1]):
                return data
        side = max(16, side * 3 // 4)


def _shrunk(pixels: np.ndarray, side: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
