"""Regions to pixels: areas equal pycocotools', holes stay, thin scratches survive."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from defectctl.errors import InputError
from defectctl.formats.base import Region
from defectctl.formats.regions import encode_rle, rasterise


def square(x1: float, y1: float, x2: float, y2: float) -> tuple[float, ...]:
    return (x1, y1, x2, y1, x2, y2, x1, y2)


def ring_and_scratch() -> np.ndarray:
    y, x = np.mgrid[:64, :80]
    radius = np.hypot(x - 30, y - 30)
    mask = (radius < 20) & (radius > 12)
    mask[5:60, 70] = True  # one pixel wide
    mask[1, 1] = True  # a speck
    return mask


@pytest.mark.parametrize("seed", range(6))
def test_area_of_simple_polygons_equals_pycocotools(seed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    points = np.stack([50 + 40 * np.cos(angles), 40 + 30 * np.sin(angles)], 1) + rng.uniform(-2, 2, (9, 2))
    polygon = tuple(points.ravel())
    expected = coco_mask.area(coco_mask.frPyObjects([list(polygon)], 90, 110))[0]
    assert rasterise(Region(polygons=(polygon,)), 90, 110).sum() == expected


def test_square_covers_exactly_its_pixels():
    mask = rasterise(Region(polygons=(square(2, 3, 7, 5),)), 10, 12)
    expected = np.zeros((10, 12), bool)
    expected[3:5, 2:7] = True
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, expected)


def test_a_part_inside_a_part_is_a_hole_and_inside_that_solid_again():
    parts = (square(15, 15, 25, 25), square(0, 0, 40, 40), square(10, 10, 30, 30))
    mask = rasterise(Region(polygons=parts), 50, 50)
    assert mask.sum() == 40 * 40 - 20 * 20 + 10 * 10
    assert mask[5, 5] and not mask[12, 12] and mask[20, 20]


def test_overlapping_parts_are_united():
    mask = rasterise(Region(polygons=(square(0, 0, 10, 10), square(5, 5, 15, 15))), 20, 20)
    assert mask.sum() == 100 + 100 - 25


def test_equal_parts_are_no_hole():
    assert rasterise(Region(polygons=(square(0, 0, 10, 10),) * 2), 20, 20).sum() == 100


@pytest.mark.parametrize("thickness", [0.0, 0.2, 0.6])
def test_a_scratch_thinner_than_a_pixel_stays_in_one_piece(thickness):
    polygon = (5.0, 5.2, 60.0, 25.2, 60.0, 25.2 + thickness, 5.0, 5.2 + thickness)
    mask = rasterise(Region(polygons=(polygon,)), 40, 70)
    assert mask.any(0)[5:60].all()  # no gap along its length
    assert mask.sum() <= 2.2 * 56


def test_mask_to_region_and_back_is_exact():
    mask = ring_and_scratch()
    np.testing.assert_array_equal(rasterise(Region(rle=encode_rle(mask)), *mask.shape), mask)


def test_both_kinds_of_run_lengths():
    mask = ring_and_scratch()
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat]).astype(np.int8))).tolist()
    counts = np.diff([0, *edges, flat.size]).tolist()
    compressed = encode_rle(mask)
    assert isinstance(compressed["counts"], str)
    for value in (counts, compressed["counts"], compressed["counts"].encode("ascii")):
        region = Region(rle={"size": list(mask.shape), "counts": value})
        np.testing.assert_array_equal(rasterise(region, *mask.shape), mask)


@pytest.mark.parametrize("counts", [[3, 4], [-1, 17], "zz", "", "\x7f\x7f", 7, [1.5, 14.5]])
def test_a_broken_run_length_is_refused(counts):
    with pytest.raises(InputError):
        rasterise(Region(rle={"size": [4, 4], "counts": counts}), 4, 4)


def test_a_run_length_of_another_size_is_refused():
    with pytest.raises(InputError, match="size"):
        rasterise(Region(rle=encode_rle(np.ones((4, 5)))), 5, 4)


@pytest.mark.parametrize("polygon", [(1.0, 2.0, 3.0), (1.0, float("nan"), 3.0, 4.0, 5.0, 6.0), ()])
def test_a_broken_polygon_is_refused(polygon):
    with pytest.raises(InputError, match="polygon"):
        rasterise(Region(polygons=(polygon,)), 4, 4)


def test_corners_far_outside_do_no_harm():
    assert rasterise(Region(polygons=(square(-1e12, -1e12, 1e12, 1e12),)), 20, 30).all()
