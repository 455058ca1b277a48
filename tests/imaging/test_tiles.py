"""The tile grid covers every pixel and overlaps as asked; blending leaves no seam."""

from __future__ import annotations

import numpy as np
import pytest

from defectctl.imaging.tiles import Tile, blend_weights, tile_grid

SIZES = [(512, 512), (513, 512), (1000, 700), (37, 2000), (100, 101), (31, 31), (4096, 33)]


@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tile", [(512, 512), (32, 64), (30, 30)])
def test_the_grid_covers_every_pixel_inside_the_image_and_overlaps_as_asked(size, tile, overlap):
    (height, width), (tile_height, tile_width) = size, tile
    tiles = tile_grid(height, width, tile_height, tile_width, overlap)
    covered = np.zeros(size, bool)
    for where in tiles:
        assert where.top >= 0 and where.left >= 0
        assert where.top + tile_height <= max(height, tile_height)
        assert where.left + tile_width <= max(width, tile_width)
        covered[where.top : where.top + tile_height, where.left : where.left + tile_width] = True
    assert covered.all()
    assert len(set(tiles)) == len(tiles)
    for starts, side in [({t.top for t in tiles}, tile_height), ({t.left for t in tiles}, tile_width)]:
        steps = np.diff(sorted(starts))
        assert (side - steps >= overlap * side - 1e-9).all()
        assert not len(steps) or steps.max() - steps.min() <= 1  # evenly spread


def test_a_grid_worked_by_hand():
    # 100 wide, tiles of 40 with half overlap: steps of at most 20, 60 / 20 = 3 of them.
    assert tile_grid(40, 100, 40, 40, 0.5) == [Tile(0, 0), Tile(0, 20), Tile(0, 40), Tile(0, 60)]
    assert tile_grid(20, 30, 40, 40, 0.25) == [Tile(0, 0)]
    assert tile_grid(57, 30, 30, 30, 0.1) == [Tile(0, 0), Tile(27, 0)]  # 3 pixels of 30 are a tenth, not 4


@pytest.mark.parametrize("arguments", [(0, 5, 4, 4, 0.1), (5, 5, 4, 4, 1.0), (5, 5, 4, 4, -0.1)])
def test_an_impossible_grid_is_refused(arguments):
    with pytest.raises(ValueError, match="no grid"):
        tile_grid(*arguments)


@pytest.mark.parametrize("size", [(1, 1), (32, 64), (33, 7)])
def test_weights_are_positive_symmetric_and_highest_in_the_middle(size):
    weights = blend_weights(*size)
    assert weights.dtype == np.float32 and weights.shape == size
    assert (weights > 0).all() and weights.max() <= 1
    assert np.allclose(weights, weights[::-1, ::-1]) and weights[size[0] // 2, size[1] // 2] == weights.max()


def test_two_tiles_that_disagree_blend_without_a_step():
    tiles, weights = tile_grid(64, 96, 64, 64, 0.5), blend_weights(64, 64)
    total, norm = np.zeros((64, 96)), np.zeros((64, 96))
    for value, where in zip([0.0, 1.0], tiles, strict=True):
        total[:, where.left : where.left + 64] += value * weights
        norm[:, where.left : where.left + 64] += weights
    blended = total / norm
    assert np.allclose(blended[:, :32], 0) and np.allclose(blended[:, 64:], 1)
    assert (np.diff(blended, axis=1) >= -1e-9).all() and np.diff(blended, axis=1).max() < 0.12
