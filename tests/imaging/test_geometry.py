"""Geometry: into the network's input and back."""

from __future__ import annotations

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
    assert geometry.to_image(geometry.to_network(box)) == pytest.approx(box)
    assert geometry.to_image((-50, -50, 9999, 9999)) == (0, 0, width, height)
