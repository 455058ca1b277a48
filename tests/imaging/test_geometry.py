"""Geometry: into the network's input and back."""

from __future__ import annotations

import numpy as np
import pytest

from defectctl.imaging.geometry import Geometry


def test_resize_keeps_the_aspect_ratio_and_centres():
    geometry = Geometry.fit(200, 100, net_height=64, net_width=64)
    assert (geometry.inner_width, geometry.inner_height, geometry.left, geometry.top) == (64, 32, 0, 16)
    assert geometry.to_network((0, 0, 200, 100)) == (0, 16, 64, 48)


def test_stretch_fills_the_input():
    geometry = Geometry.fit(200, 100, 64, 32, "stretch")
    assert geometry.to_network((0, 0, 200, 100)) == (0, 0, 32, 64)


@pytest.mark.parametrize("mode", ["resize", "stretch"])
@pytest.mark.parametrize("size", [(200, 200), (500, 1267), (33, 17), (1, 900)])
def test_there_and_back(size, mode):
    width, height = size
    geometry = Geometry.fit(width, height, 512, 384, mode)
    assert 0 < geometry.inner_width <= 384
    assert 0 < geometry.inner_height <= 512
    box = (width * 0.1, height * 0.25, width * 0.7, height * 0.9)
    assert geometry.to_image(geometry.to_network(box)) == pytest.approx(np.float32(box), abs=1e-3)
    assert geometry.to_image((-50, -50, 9999, 9999)).tolist() == [0, 0, width, height]


def test_a_tile_moves_boxes_by_its_offset_and_keeps_their_size():
    geometry = Geometry.tile(1000, 600, 128, 256, top=300, left=500)
    assert (geometry.scale_x, geometry.scale_y) == (1, 1)
    assert geometry.to_network((510, 320, 530, 330)) == (10, 20, 30, 30)
    assert geometry.to_image((10, 20, 30, 30)).tolist() == [510, 320, 530, 330]
    assert geometry.to_image((-9, -9, 9999, 9999)).tolist() == [500, 300, 756, 428]  # the part that the tile shows
    assert geometry.seen == (slice(300, 428), slice(500, 756)) and geometry.inside == (slice(0, 128), slice(0, 256))


def test_a_tile_larger_than_the_image_is_padded_around_it():
    geometry = Geometry.tile(40, 600, 128, 64, top=500, left=0)
    assert (geometry.inner_width, geometry.inner_height, geometry.left, geometry.top) == (40, 100, 12, 14)
    assert geometry.seen == (slice(500, 600), slice(0, 40))
    assert geometry.to_network((0, 500, 40, 600)) == (12, 14, 52, 114)
    assert geometry.to_image((0, 0, 64, 128)).tolist() == [0, 500, 40, 600]
