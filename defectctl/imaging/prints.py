"""The print of an image: a few numbers by which its near-duplicates in all eight poses are found among many others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

POSES = 8
COARSE = 16
"""Lowest frequencies along each side that the coarse part keeps."""
_THUMB = 32
_EASY = 256
"""Shorter side down to which a picture is halved in its own number type, which costs far less than in floats."""
_GRID, _PATCH = 4, 8
DETAIL = _GRID * _PATCH
FLAT = 0.25
"""Standard deviation of the thumbnail, in 8-bit grey levels, under which a picture shows nothing to know it by."""

_DARK, _LIGHT = 30, 225


@dataclass(frozen=True, slots=True, eq=False)
class ImagePrint:
    """What is kept of an image: 1.5 KB.

    Attributes:
        height, width: pixels.
        spread: standard deviation of the 32x32 thumbnail in 8-bit grey levels; under `FLAT` nothing is recognisable.
        clipped: share of the thumbnail so near to black or white that a change of brightness may clip it, 0..1.
        coarse: `(COARSE, COARSE)` float16, the thumbnail's lowest cosine coefficients without its mean, of unit norm
            (all zero for a flat picture). A mirror changes signs, a transposition transposes.
        detail: `(DETAIL, DETAIL)` int8, 4x4 patches of 8x8 pixels of the picture itself, spread over it symmetrically
            and each without its own mean; poses act on it as on the picture. All zero where sides are under 32.
        fine: standard deviation of `detail` in 8-bit grey levels.
    """

    height: int
    width: int
    spread: float
    clipped: float
    coarse: NDArray[np.float16]
    detail: NDArray[np.int8]
    fine: float


def image_print(grey: NDArray) -> ImagePrint:
    """The print of one image; safe on several threads and far cheaper than decoding the image.

    Args:
        grey: `(H, W)` uint8, uint16, or float in 8-bit grey levels (0..255).
    """
    scale = _scale(grey)
    thumb = _thumb(grey) * np.float32(scale)
    clipped = float(((thumb < _DARK) | (thumb > _LIGHT)).mean())
    thumb -= thumb.mean()
    spread = float(thumb.std())
    waves = cosines(COARSE, _THUMB)
    coarse = waves @ thumb @ waves.T
    coarse[0, 0] = 0
    norm = float(np.sqrt((coarse**2).sum()))
    coarse = coarse / norm if spread >= FLAT and norm > 0 else np.zeros_like(coarse)
    detail = _patches(grey) * np.float32(scale)
    fine = float(detail.std())
    step = float(np.abs(detail).max()) / 127
    whole = np.rint(detail / step) if step > 0 else detail
    return ImagePrint(*grey.shape, spread, clipped, coarse.astype(np.float16), whole.astype(np.int8), fine)


def to_levels(grey: NDArray) -> NDArray[np.float32]:
    """Pixels `(H, W)` uint8, uint16 or float in 8-bit levels as float32 in 8-bit grey levels.

    16-bit pixels are taken by the bits in use, so that 12-bit pictures have contrast too.
    """
    return grey.astype(np.float32) * np.float32(_scale(grey))


def to_pose(pixels: NDArray, pose: int) -> NDArray:
    """Pixels `(H, W, ...)` mirrored left to right where `pose` (0..7) is 4 or more, then turned `pose % 4` quarters
    counter-clockwise; a view."""
    return np.rot90(pixels[:, ::-1] if pose >= 4 else pixels, pose % 4)


@lru_cache(maxsize=8)
def cosines(count: int, length: int) -> NDArray[np.float32]:
    """The first `count` rows `(count, length)` of the orthonormal cosine transform (DCT-II)."""
    angles = np.pi / length * np.outer(np.arange(count), np.arange(length) + 0.5)
    rows = np.sqrt(2 / length) * np.cos(angles)
    rows[0] /= np.sqrt(2)
    return rows.astype(np.float32)


def _scale(grey: NDArray) -> float:
    if grey.dtype == np.uint8 or grey.dtype.kind == "f":
        return 1.0
    return 255 / ((1 << max(8, int(grey.max()).bit_length())) - 1)


def _thumb(grey: NDArray) -> NDArray[np.float32]:
    """Area means `(32, 32)`."""
    while min(grey.shape) >= 2 * _EASY:
        height, width = (side // 2 * 2 for side in grey.shape)
        grey = cv2.resize(grey[:height, :width], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return cv2.resize(grey.astype(np.float32), (_THUMB, _THUMB), interpolation=cv2.INTER_AREA)


def _patches(grey: NDArray) -> NDArray[np.float32]:
    if min(grey.shape) < DETAIL:
        return np.zeros((DETAIL, DETAIL), np.float32)
    rows, columns = (_places(side) for side in grey.shape)
    patches = grey[np.ix_(rows, columns)].astype(np.float32).reshape(_GRID, _PATCH, _GRID, _PATCH)
    return (patches - patches.mean(axis=(1, 3), keepdims=True)).reshape(DETAIL, DETAIL)


@lru_cache(maxsize=64)
def _places(side: int) -> NDArray[np.intp]:
    """Pixel indices `(32,)` of four stretches of eight, symmetric about the middle of `side`."""
    starts = [int((k + 0.5) * side / _GRID - _PATCH / 2) for k in range(_GRID // 2)]
    starts += [side - _PATCH - start for start in reversed(starts)]
    return np.concatenate([np.arange(start, start + _PATCH) for start in starts])
