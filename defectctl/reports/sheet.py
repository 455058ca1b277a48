"""Draws a contact sheet: image, truth, prediction and defect map side by side, defects in their class colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Patch

from defectctl.dataset.types import Box
from defectctl.imaging.palette import UNKNOWN_COLOUR
from defectctl.reports.figures import png_figure
from defectctl.reports.overlay import draw_box

TILE = 480
"""Longer side of a drawn picture, in pixels; smaller pictures are enlarged to it."""

ABREAST = 4
"""Pictures in a line where each image has only one."""

MOST_NAMED = 24
"""Classes beyond this many are drawn but not named in the legend."""

HEAT = "inferno"
"""Colours of the defect map, black for 0: the same for grey and for colour-blind eyes."""


@dataclass(slots=True)
class SheetRow:
    """One line of the sheet; what a model does not deliver is None, and a column that no row fills is left out.

    Attributes:
        caption: id of the image.
        image: `(H, W, 3)` RGB or `(H, W)` grey, uint8 or uint16.
        truth: `(H, W)` uint8 class index, 255 unknown; None where there is none.
        prediction: `(H, W)` uint8 class index.
        defect: `(H, W)` uint8, 255 * (1 - P(background)).
        truth_boxes: class index and `xyxy` box, image pixels, of each true box; None where nobody knows.
        boxes: class index, box and score of each predicted box.
        remark: what is wrong with it, on a line of its own.
    """

    caption: str
    image: np.ndarray
    truth: np.ndarray | None
    prediction: np.ndarray | None
    defect: np.ndarray | None = None
    truth_boxes: Sequence[tuple[int, Box]] | None = None
    boxes: Sequence[tuple[int, Box, float]] | None = None
    remark: str = ""


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
    columns = _columns(rows)
    cells = [[_cell(row, column, colours) for column in columns] for row in rows]
    sizes = [fitted_size(*row.image.shape[:2]) for row in rows]
    heights = [min(1.3, height / width) * 3.4 + 0.45 for height, width in sizes] or [1.0]
    if len(columns) == 1:  # single pictures: side by side as well as below each other
        flat = [line[0] for line in cells]
        cells = [flat[start : start + ABREAST] for start in range(0, len(flat), ABREAST)]
        heights = [max(heights[start : start + ABREAST]) for start in range(0, len(heights), ABREAST)]
    across = max(len(columns), ABREAST if len(columns) == 1 else 1)
    with png_figure(path, 3.5 * across, sum(heights) + 0.9) as figure:
        grid = figure.add_gridspec(max(1, len(cells)), across, height_ratios=heights)
        places: list[Axes] = []
        for line, pictures in enumerate(cells):
            for place, (picture, heading) in enumerate(pictures):
                axes = figure.add_subplot(grid[line, place])
                axes.imshow(picture)
                axes.set_axis_off()
                axes.set_title(heading, fontsize=8, loc="left")
                places.append(axes)
        if "defect map" in columns:
            scale = ScalarMappable(Normalize(0, 1), HEAT)
            bar: dict[str, Any] = {"location": "right", "shrink": min(1.0, 3.0 / sum(heights)), "aspect": 25}
            figure.colorbar(scale, ax=places, label="P(defect)", pad=0.01, anchor=(0, 1), **bar)
        patches = [Patch(color=np.divide(c, 255), label=n) for n, c in zip(classes, colours, strict=False)]
        if any(row.truth is not None and (row.truth == 255).any() for row in rows):
            patches.append(Patch(color=np.divide(UNKNOWN_COLOUR, 255), label="unknown"))
        if len(columns) > 1:
            figure.legend(handles=patches[:MOST_NAMED], loc="outside lower center", ncols=6, fontsize=9)
        if title:
            figure.suptitle(title, fontsize=11)


def _columns(rows: Sequence[SheetRow]) -> list[str]:
    """The pictures of each line: what no row has is left out."""
    found = any(row.prediction is not None or row.boxes is not None for row in rows)
    heat = any(row.defect is not None for row in rows)
    return ["image", *(["truth", "prediction"] if found else []), *(["defect map"] if heat else [])]


def _cell(row: SheetRow, column: str, colours: Sequence[tuple[int, int, int]]) -> tuple[np.ndarray, str]:
    """One picture `(h, w, 3)` with its heading."""
    if column == "image":
        return outline(row.image, None, colours), "\n".join(filter(None, (_ending(row.caption), row.remark)))
    if column == "truth":
        known = row.truth is not None or row.truth_boxes is not None
        picture = outline(row.image, row.truth, colours)
        draw_boxes(picture, [(label, box, None) for label, box in row.truth_boxes or ()], row.image.shape, colours)
        return picture, "truth" if known else "truth (unknown)"
    if column == "prediction":
        picture = outline(row.image, row.prediction, colours)
        draw_boxes(picture, row.boxes or (), row.image.shape, colours)
        return picture, "prediction"
    if row.defect is None:
        return np.full((*fitted_size(*row.image.shape[:2]), 3), 255, np.uint8), "no defect map"
    return heat_map(row.defect), f"defect map, highest {row.defect.max() / 255:.2f}"


def heat_map(defect: np.ndarray) -> np.ndarray:
    """A defect map `(H, W)` uint8 in colours, `(h, w, 3)` RGB uint8, its longer side `TILE`; the scale is 0 to 1.

    It is not stretched to its own highest value: a weak map must look weak.
    """
    coloured = cv2.applyColorMap(_fitted(defect), cv2.COLORMAP_INFERNO)
    return cv2.cvtColor(coloured, cv2.COLOR_BGR2RGB)


def draw_boxes(
    picture: np.ndarray,
    boxes: Sequence[tuple[int, Box, float | None]],
    shape: tuple[int, ...],
    colours: Sequence[tuple[int, int, int]],
) -> None:
    """Draw boxes into a fitted picture, in place.

    Args:
        boxes: class index, `xyxy` in the pixels of the image, score (None: no number beside it). The best are drawn
            last, on top.
        shape: of the image, height and width first.
    """
    across, down = picture.shape[1] / shape[1], picture.shape[0] / shape[0]
    for label, (x1, y1, x2, y2), score in reversed(list(boxes)):
        colour = tuple(colours[label - 1]) if 0 < label <= len(colours) else UNKNOWN_COLOUR
        corners = (x1 * across, y1 * down, x2 * across, y2 * down)
        draw_box(picture, corners, colour, "" if score is None else f"{score:.2f}", 2, letters=0.45)


def outline(image: np.ndarray, mask: np.ndarray | None, colours: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """The image as `(h, w, 3)` RGB uint8, its longer side `TILE`, with the outlines of the mask's classes.

    Outlines are drawn after enlarging, so that a defect one pixel wide stays visible and is not covered.
    """
    picture = _fitted((image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image)
    height, width = picture.shape[:2]
    shrinks = height < image.shape[0]
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


def _fitted(picture: np.ndarray) -> np.ndarray:
    height, width = fitted_size(*picture.shape[:2])
    shrinks = height < picture.shape[0]
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def fitted_size(height: int, width: int) -> tuple[int, int]:
    """Height and width with the longer side `TILE` and the same proportions."""
    scale = TILE / max(height, width, 1)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _ending(text: str, length: int = 48) -> str:
    """The end of a long caption: file names differ there."""
    return text if len(text) <= length else "…" + text[-length + 1 :]
