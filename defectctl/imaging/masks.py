"""Reads foreign pixel masks by their stored values and writes our own index masks as palette PNG."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from defectctl.imaging.headers import Header, ImageError, read_header
from defectctl.imaging.palette import UNKNOWN_COLOUR, Colour
from defectctl.imaging.reader import decode_stored, turn_upright

# Pillow takes pictures of more than 89 million pixels for an attack; line-scan cameras make them, and OpenCV, which
# reads the pictures that belong to the masks, goes to 2 ** 30.
Image.MAX_IMAGE_PIXELS = 1 << 30

_SMEAR = 12
"""Largest difference of the channels of a grey pixel in a colour JPEG, after its chroma was rounded."""


@dataclass(frozen=True, slots=True)
class MaskImage:
    """A mask as stored.

    Attributes:
        values: `(H, W)` uint8 or uint16; all zero for `kind` "colour".
        kind: "index" (palette indices), "grey" (grey levels), or "colour" (a colour is a class).
        colours: `(H, W, 3)` RGB for `kind` "colour", else None.
    """

    values: NDArray
    kind: str
    colours: NDArray | None = None


def read_mask(data: bytes, name: str = "") -> MaskImage:
    """Read a mask of any image kind, turned upright as its EXIF orientation says.

    Of palette files (PNG, BMP, TIFF) the values are the looked-up grey levels where all palette entries in use are
    grey (a 0/255 mask may be stored as indices 0/1), else the indices. Alpha is dropped. JPEG masks are read too:
    their values are smeared around edges, which the caller has to undo by a threshold.

    Raises:
        ImageError: the file is no image, cut off or damaged.
    """
    try:
        header = read_header(data)
    except ImageError as error:
        raise ImageError(error.reason, name) from error
    if header.palette:
        return _read_palette(data, header, name)
    stored = decode_stored(data, name)
    if stored.ndim == 2:
        return MaskImage(stored, "grey")
    if _is_grey(stored, _SMEAR if header.kind == "JPEG" else 0):
        return MaskImage(np.ascontiguousarray(stored[:, :, 1]), "grey")
    return MaskImage(np.zeros(stored.shape[:2], np.uint8), "colour", stored)


def encode_mask(mask: NDArray[np.uint8], colours: list[Colour]) -> bytes:
    """Encode class indices as palette PNG: index 0 black, 1..K `colours`, 255 light grey.

    Args:
        mask: `(H, W)` uint8, 0 background, 1..K classes, 255 unknown.
        colours: RGB of class 1..K.
    """
    image = Image.fromarray(np.ascontiguousarray(mask, dtype=np.uint8))
    table = [(0, 0, 0), *colours]
    table += [(0, 0, 0)] * (255 - len(table)) + [UNKNOWN_COLOUR]
    image.putpalette([part for colour in table for part in colour])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def decode_index(data: bytes, name: str = "") -> NDArray[np.uint8]:
    """Read the class indices `(H, W)` uint8 of a mask that `encode_mask` wrote (palette colours are not looked at).

    Raises:
        ImageError: damaged, or no 8-bit single-channel image.
    """
    indices = _pillow(data, name)[0]
    if indices.ndim != 2 or indices.dtype != np.uint8:
        raise ImageError("it is no index mask (a palette or grey image of 8 bits)", name)
    return indices


def _read_palette(data: bytes, header: Header, name: str) -> MaskImage:
    indices, palette = _pillow(data, name)
    if header.kind != "TIFF":  # Pillow turns TIFF files by itself, other kinds never
        indices = turn_upright(indices, header.orientation)
    if palette is None:
        return MaskImage(indices, "grey")
    used = np.flatnonzero(np.bincount(indices.ravel(), minlength=256))
    if not used.size or used[-1] >= len(palette):
        raise ImageError(f"it uses index {used[-1]} of a palette of {len(palette)} colours", name)
    if _is_grey(palette[None, used]):
        lookup = np.zeros(256, np.uint8)
        lookup[used] = palette[used, 0]
        return MaskImage(lookup[indices], "grey")
    return MaskImage(indices, "index")


def _pillow(data: bytes, name: str) -> tuple[NDArray, NDArray[np.uint8] | None]:
    """Stored pixels and the palette `(n, 3)`, or None where Pillow looked a grey palette up itself."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode == "1":
                return np.array(image.convert("L")), None
            pixels = np.array(image)
            colours = image.getpalette("RGB") if image.mode == "P" else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"the file is damaged ({error})", name) from error
    return pixels, None if colours is None else np.array(colours, np.uint8).reshape(-1, 3)


def _is_grey(colours: NDArray, tolerance: int = 0) -> bool:
    """Whether the channels of every colour `(..., 3)` differ by at most `tolerance`."""
    wide = colours.astype(np.int32)
    return int((wide.max(axis=-1) - wide.min(axis=-1)).max(initial=0)) <= tolerance
