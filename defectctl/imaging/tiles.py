"""The grid of overlapping tiles over a large image, and the weights that blend their results without seams."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EDGE_WEIGHT = 0.01
"""Weight just outside a tile's edge, the centre's being 1: where a single tile reaches a pixel, its word counts."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Where a tile begins, in image pixels."""

    top: int
    left: int


def tile_grid(height: int, width: int, tile_height: int, tile_width: int, overlap: float) -> list[Tile]:
    """Lay the fewest tiles over an image that cover it and overlap as asked, evenly spread, row by row.

    The first tile of a row or column is flush with the image's edge, and so is the last. Along a side on which the
    image is smaller than the tile there is one tile at 0, which the caller has to pad.

    Args:
        overlap: least share of a tile's side that the next one covers again, 0 or more and below 1.
    """
    if min(height, width, tile_height, tile_width) < 1 or not 0 <= overlap < 1:
        raise ValueError(f"no grid of {tile_height}x{tile_width} tiles on {height}x{width} with overlap {overlap}")
    lefts = _starts(width, tile_width, overlap)
    return [Tile(top, left) for top in _starts(height, tile_height, overlap) for left in lefts]


def blend_weights(height: int, width: int) -> NDArray[np.float32]:
    """`(height, width)` float32 weights in (0, 1], highest in the middle: a raised cosine along each side.

    A tile knows least at its edges, where it sees no surroundings; divide the weighted sum of the tiles by the sum
    of their weights.
    """
    return np.outer(_raised_cosine(height), _raised_cosine(width)).astype(np.float32)


def _starts(length: int, tile: int, overlap: float) -> list[int]:
    if length <= tile:
        return [0]
    common = min(math.ceil(round(overlap * tile, 6)), tile - 1)  # rounded: 0.1 * 30 is a little more than 3
    steps = math.ceil((length - tile) / (tile - common))
    return [round(number * (length - tile) / steps) for number in range(steps + 1)]


def _raised_cosine(length: int) -> NDArray[np.float64]:
    centres = (np.arange(length) + 0.5) / length
    return EDGE_WEIGHT + (1 - EDGE_WEIGHT) * np.sin(np.pi * centres) ** 2
