"""Draws a contact sheet: image, truth and prediction side by side, defects outlined in their class colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from defectctl.imaging.palette import UNKNOWN_COLOUR
from defectctl.reports.figures import png_figure

TILE = 480
"""Longer side of a drawn picture, in pixels; smaller pictures are enlarged to it."""


MOST_NAMED = 24
"""Classes beyond this many are drawn but not named in the legend."""


@dataclass(slots=True)
class SheetRow:
    """One line of the sheet.

    Attributes:
        caption: id and score of the image.
        image: `(H, W, 3)` RGB or `(H, W)` grey, uint8 or uint16.
        truth: `(H, W)` uint8 class index, 255 unknown; None where there is none.
        prediction: `(H, W)` uint8 class index.
    """

    caption: str
    image: np.ndarray
    truth: np.ndarray | None
    prediction: np.ndarray


def draw_sheet(
    rows: Sequence[SheetRow], classes: list[str], colours: Sequence[tuple[int, int, int]], path: Path, title: str = ""
) -> None:
    """Write the sheet as PNG.

    Args:
        rows: what to draw, top to bottom.
        classes: K names, index 1 first.
        colours: K RGB colours, 0..255.
        path: PNG file to write.
        title: a line above all.
    """
    sizes = [fitted_size(*row.image.shape[:2]) for row in rows]
    heights = [min(1.3, height / width) * 3.4 + 0.35 for height, width in sizes] or [1.0]
    with png_figure(path, 10.6, sum(heights) + 0.9) as figure:
        grid = figure.add_gridspec(max(1, len(rows)), 3, height_ratios=heights)
        for place, row in enumerate(rows):
            _draw_row([figure.add_subplot(grid[place, column]) for column in range(3)], row, colours)
        patches = [Patch(color=np.divide(c, 255), label=n) for n, c in zip(classes, colours, strict=False)]
        if any(row.truth is not None and (row.truth == 255).any() for row in rows):
            patches.append(Patch(color=np.divide(UNKNOWN_COLOUR, 255), label="unknown"))
        figure.legend(handles=patches[:MOST_NAMED], loc="outside lower center", ncols=6, fontsize=9)
        if title:
            figure.suptitle(title, fontsize=11)


def _draw_row(places: list[Axes], row: SheetRow, colours: Sequence[tuple[int, int, int]]) -> None:
    headings = (_ending(row.caption), "truth" if row.truth is not None else "truth (unknown)", "prediction")
    for axes, mask, heading in zip(places, (None, row.truth, row.prediction), headings, strict=True):
        axes.imshow(outline(row.image, mask, colours))
        axes.set_axis_off()
        axes.set_title(heading, fontsize=8, loc="left")


def outline(image: np.ndarray, mask: np.ndarray | None, colours: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """The image as `(h, w, 3)` RGB uint8, its longer side `TILE`, with the outlines of the mask's classes.

    Outlines are drawn after enlarging, so that a defect one pixel wide stays visible and is not covered.
    """
    picture = (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image
    height, width = fitted_size(*picture.shape[:2])
    shrinks = height < picture.shape[0]
    picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    picture = np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture.copy()
    if mask is None:
        return picture
    for index in np.unique(mask[mask > 0]).tolist():
        region = (mask == index).astype(np.uint8)
        # INTER_AREA and a threshold above nothing: a thin defect must not fall between the pixels of a smaller picture
        area = cv2.resize(region * 255, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST)
        contours, _ = cv2.findContours((area > 0).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        known = 0 < index <= len(colours)
        cv2.drawContours(picture, contours, -1, tuple(colours[index - 1]) if known else UNKNOWN_COLOUR, 2)
    return picture


def fitted_size(height: int, width: int) -> tuple[int, int]:
    """Height and width with the longer side `TILE` and the same proportions."""
    scale = TILE / max(height, width, 1)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _ending(text: str, length: int = 64) -> str:
    """The end of a long caption: file names differ there."""
    return text if len(text) <= length else "…" + text[-length + 1 :]
