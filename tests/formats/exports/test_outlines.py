"""Outlines: three rasterisers of others, or holes told."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from scipy import ndimage

from defectctl.formats.base import Region
from defectctl.formats.exports.outlines import exact_polygons, outer_outlines
from defectctl.formats.regions import rasterise


def patches(seed):
    rng = np.random.default_rng(seed)
    noise = rng.random((14, 18)) < rng.choice([0.2, 0.4, 0.6])
    line = np.zeros((14, 18), np.uint8)
    cv2.line(line, tuple(map(int, rng.integers(0, 14, 2))), tuple(map(int, rng.integers(0, 14, 2))), 1, 1)
    for mask in (noise, line):
        marks, count = ndimage.label(mask, np.ones((3, 3)))
        yield from (marks == i for i in range(1, count + 1))


@pytest.mark.parametrize("seed", range(20))
def test_every_patch_comes_back_from_coco_from_opencv_and_from_us(seed):
    for patch in patches(seed):
        polygons, holes = outer_outlines(patch)
        filled = ndimage.binary_fill_holes(patch)
        assert len(polygons) == 1 and holes == ndimage.label(filled & ~patch)[1]
        assert (exact_polygons(patch) is None) == (holes > 0)
        sampled = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, *patch.shape)))
        drawn = np.zeros(patch.shape, np.uint8)
        cv2.fillPoly(drawn, [np.reshape(polygons[0], (-1, 2)).astype(np.int32)], 1)
        for result in (sampled, drawn, rasterise(Region(polygons=(tuple(polygons[0]),)), *patch.shape)):
            np.testing.assert_array_equal(result.astype(bool), filled)


def test_place_and_pieces():
    patch = np.array([[True, False, True]])
    expected = [[7.25, 5.25, 7.25, 5.75, 7.75, 5.75, 7.75, 5.25], [9.25, 5.25, 9.25, 5.75, 9.75, 5.75, 9.75, 5.25]]
    assert sorted(exact_polygons(patch, 7, 5)) == sorted(outer_outlines(patch, 7, 5)[0]) == expected


def test_of_nothing_there_is_no_outline():
    assert outer_outlines(np.zeros((3, 3), bool)) == ([], 0) and exact_polygons(np.zeros((3, 3), bool)) is None
