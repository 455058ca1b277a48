"""One foreign mask file to the values that it stores: numbers, palette indices or colours; transparency is told."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from defectctl.imaging.headers import read_header
from defectctl.imaging.masks import decode_index, read_mask
from defectctl.imaging.reader import ImageError, decode_image, turn_upright

AUTO, INDEX, COLOUR = "auto", "index", "colour"

COLOUR_FLAG = 1 << 24
"""Set in a stored value that is a colour `0xRRGGBB`, so that pure blue is not taken for the number 255."""


class FileValues(NamedTuple):
    """The stored values of one mask file.

    Attributes:
        kind: "index", "grey" or "colour", see `imaging.masks.MaskImage`.
        values: what occurs, ascending; colours as `0xRRGGBB`.
        pixels: how many pixels hold each.
        flat: in how many of them all eight neighbours hold the same (soft edges have none).
        see_through: whether the file has transparent pixels.
    """

    kind: str
    values: NDArray
    pixels: NDArray
    flat: NDArray
    see_through: bool = False


def stored_values(data: bytes, name: str, reading: str) -> tuple[NDArray, str]:
    """A mask file's stored values `(H, W)` and their kind; transparent pixels are 0.

    Args:
        reading: AUTO, a palette of greys is looked up and colours are `0xRRGGBB`; INDEX, palette indices count
            whatever the palette; COLOUR, every value is a colour `0xRRGGBB`, palettes are looked up.

    Raises:
        ImageError: the file is damaged or of another kind.
    """
    if reading == INDEX:
        return decode_index(data, name), "index"
    if reading == COLOUR:
        colours = decode_image(data, "rgb", name=name)
        if colours.dtype != np.uint8:
            raise ImageError("a mask of colours must have 8 bits a channel; save it as 8-bit PNG", name)
        values, kind = _packed(colours), "colour"
    else:
        image = read_mask(data, name)
        values, kind = (image.values, image.kind) if image.colours is None else (_packed(image.colours), "colour")
    drawn = _drawn(data)
    return (values if drawn is None else _without_transparent(values, drawn)), kind


def file_values(data: bytes, name: str, reading: str) -> FileValues:
    """The stored values that occur in one mask file, counted.

    Raises:
        ImageError: as `stored_values`.
    """
    pixels, kind = stored_values(data, name, reading)
    values, counts = _count(pixels)
    flat = np.zeros(len(values), np.int64)
    if len(values) > 2 and pixels.dtype != np.uint32:
        inside = cv2.erode(pixels, np.ones((3, 3), np.uint8)) == cv2.dilate(pixels, np.ones((3, 3), np.uint8))
        flat = np.bincount(pixels[inside], minlength=int(values[-1]) + 1)[values]
    drawn = _drawn(data) if reading != INDEX else None
    return FileValues(kind, values, counts, flat, drawn is not None and not drawn.all())


def _packed(colours: NDArray) -> NDArray[np.uint32]:
    if colours.dtype == np.uint16:
        colours = colours >> 8
    red, green, blue = (colours[:, :, channel].astype(np.uint32) for channel in range(3))
    return (red << 16) | (green << 8) | blue


def _count(pixels: NDArray) -> tuple[NDArray, NDArray]:
    """Distinct values, ascending, and their counts; masks are runs of one value, which is far faster than sorting."""
    if pixels.dtype != np.uint32:
        counts = np.bincount(pixels.ravel())
        values = np.flatnonzero(counts)
        return values, counts[values]
    line = pixels.ravel()
    starts = np.flatnonzero(np.r_[True, line[1:] != line[:-1]])
    values, where = np.unique(line[starts], return_inverse=True)
    lengths = np.diff(np.r_[starts, line.size])
    return values, np.bincount(where, weights=lengths).astype(np.int64)


def _drawn(data: bytes) -> NDArray[np.bool_] | None:
    """Where a file with an alpha channel is not transparent, `(H, W)`; None without one, or where it says nothing.

    Half of the strongest opacity counts as drawn: overlays are half transparent all over.
    """
    header = read_header(data)
    if not header.alpha or header.palette:
        return None
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 3 or pixels.shape[2] not in (2, 4):
        return None
    alpha = turn_upright(pixels[:, :, -1], header.orientation)
    if alpha.max() == 0:  # a drawing of nothing, or an alpha channel that was never filled
        return np.zeros(alpha.shape, bool) if (pixels[:, :, :-1] == pixels[:1, :1, :-1]).all() else None
    return alpha > alpha.max() // 2


def _without_transparent(values: NDArray, drawn: NDArray[np.bool_]) -> NDArray:
    if not drawn.all() and drawn.any() and not values.any():  # black on transparent: only the alpha tells
        return np.where(drawn, 255, 0).astype(np.uint8) if values.dtype != np.uint32 else values
    return np.where(drawn, values, 0).astype(values.dtype)
