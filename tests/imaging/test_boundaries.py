"""Outlines and the distances between them against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist, directed_hausdorff

from defectctl.imaging.boundaries import outline, outline_distances


def square(size: int, low: int, high: int) -> np.ndarray:
    region = np.zeros((size, size), np.uint8)
    region[low:high, low:high] = 1
    return region


def random_region(rng: np.random.Generator) -> np.ndarray:
    smooth = ndimage.gaussian_filter(rng.random((37, 52)), 2.5)
    region = (smooth > np.quantile(smooth, 0.7)).astype(np.uint8)
    region[rng.integers(37), rng.integers(52)] = 1
    return region


def test_outline_of_a_ring_has_both_its_sides() -> None:
    ring = square(7, 0, 7) - square(7, 3, 4)
    expected = square(7, 0, 7) - square(7, 1, 6)
    expected[2, 3] = expected[4, 3] = expected[3, 2] = expected[3, 4] = 1
    assert outline(ring).tolist() == expected.tolist()


def test_concentric_squares_by_hand() -> None:
    """5x5 around 3x3: 8 pixels inside are 1 away, so are 12 of 16 outside, and 4 corners a diagonal."""
    found = outline_distances(square(9, 3, 6), square(9, 2, 7))
    assert len(found) == 8 + 16
    assert sorted(found) == pytest.approx([1.0] * 20 + [2**0.5] * 4)


def test_equal_regions_and_single_pixels() -> None:
    assert outline_distances(square(9, 2, 7), square(9, 2, 7)).tolist() == [0.0] * 32
    assert outline_distances(square(9, 1, 2), square(9, 4, 5)).tolist() == pytest.approx([18**0.5] * 2)


def test_an_empty_region_has_no_distance() -> None:
    for pair in ((square(5, 0, 0), square(5, 1, 3)), (square(5, 1, 3), square(5, 0, 0)), (square(5, 0, 0),) * 2):
        assert len(outline_distances(*pair)) == 0


def test_ignored_pixels_are_not_measured_but_are_near() -> None:
    ignored = np.zeros((9, 9), np.uint8)
    ignored[:, :5] = 255
    left, right = square(9, 4, 5), square(9, 6, 7)
    assert outline_distances(left, right, ignored).tolist() == pytest.approx([8**0.5])
    assert len(outline_distances(left, right, np.ones_like(ignored))) == 0


@pytest.mark.parametrize("seed", range(8))
def test_equals_scipy_on_random_regions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = random_region(rng), random_region(rng)
    edges = [region - ndimage.binary_erosion(region).astype(np.uint8) for region in (first, second)]
    assert outline(first).tolist() == edges[0].tolist()
    there = ndimage.distance_transform_edt(1 - edges[1])[edges[0] > 0]
    back = ndimage.distance_transform_edt(1 - edges[0])[edges[1] > 0]
    found = outline_distances(first, second)
    assert found == pytest.approx(np.concatenate([there, back]), abs=1e-12)
    points = [np.argwhere(edge) for edge in edges]
    assert found[: len(there)].max() == pytest.approx(directed_hausdorff(*points)[0])
    assert found[len(there) :].max() == pytest.approx(directed_hausdorff(*points[::-1])[0])
    assert found[: len(there)] == pytest.approx(cdist(*points).min(axis=1))
