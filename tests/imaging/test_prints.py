"""Prints: what poses, brightness and bit depth do to them, against the pictures themselves and scipy's transform."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import dctn

from defectctl.imaging.prints import COARSE, FLAT, cosines, image_print, to_levels, to_pose
from defectctl.imaging.synthetic import SyntheticSurface


def picture(index=0, size=(96, 130)):
    return SyntheticSurface(seed=3, size=size).sample(index)[0]


def product(one, other):
    return float((one.coarse.astype(float) * other.coarse).sum())


def test_the_eight_poses_of_four_pixels():
    pixels = np.array([[1, 2], [3, 4]])
    found = [to_pose(pixels, pose).ravel().tolist() for pose in range(8)]
    # Mirrored from 4 on, then turned counter-clockwise: 1 2 / 3 4 becomes 2 4 / 1 3.
    assert found[:4] == [[1, 2, 3, 4], [2, 4, 1, 3], [4, 3, 2, 1], [3, 1, 4, 2]]
    assert found[4:] == [[2, 1, 4, 3], [1, 3, 2, 4], [3, 4, 1, 2], [4, 2, 3, 1]]


def test_the_coarse_part_is_the_cosine_transform_of_the_thumbnail():
    thumb = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8)
    expected = dctn(thumb.astype(float), norm="ortho")[:COARSE, :COARSE]
    expected[0, 0] = 0
    found = image_print(thumb).coarse
    assert np.allclose(found, expected / np.linalg.norm(expected), atol=1e-3)
    assert np.allclose(cosines(32, 32) @ cosines(32, 32).T, np.eye(32), atol=1e-5)


@pytest.mark.parametrize("size", [(96, 130), (97, 97), (33, 200), (1201, 900)])
def test_details_turn_with_the_picture(size):
    grey = np.random.default_rng(0).integers(0, 256, size).astype(np.uint8)
    for pose in range(8):
        turned = image_print(np.ascontiguousarray(to_pose(grey, pose)))
        assert (turned.detail == to_pose(image_print(grey).detail, pose)).all()


def test_brightness_contrast_and_bit_depth_leave_the_print_as_it_is():
    grey = picture()
    base = image_print(grey)
    changed = [grey.astype(np.float32) * 0.9 + 10, grey.astype(np.uint16) * 257, grey.astype(np.uint16) * 16]
    for other in changed:
        assert product(base, image_print(other)) == pytest.approx(1, abs=2e-3)
        assert np.abs(image_print(other).detail.astype(int) - base.detail).max() <= 2


def test_spread_is_in_8_bit_levels_and_clipped_is_the_share_near_black_and_white():
    grey = np.full((64, 64), 100, np.uint8)
    grey[:16] = 255  # a quarter: mean 138.75, standard deviation 155 * sqrt(3) / 4
    for pixels in (grey, grey.astype(np.uint16) * 257, grey.astype(np.float64)):
        found = image_print(pixels)
        assert (found.spread, found.clipped) == (pytest.approx(67.117, abs=0.01), 0.25)


def test_large_pictures_are_told_apart_and_recognised_by_their_mirror_image():
    grey = np.kron(picture(), np.ones((13, 8), np.uint8))
    mirrored = image_print(np.ascontiguousarray(grey[:, ::-1]))
    signs = np.where(np.arange(COARSE) % 2, -1, 1)
    assert float((mirrored.coarse * signs * image_print(grey).coarse.astype(float)).sum()) > 0.999
    assert product(image_print(grey), image_print(np.kron(picture(1), np.ones((13, 8), np.uint8)))) < 0.9


def test_flat_and_tiny_pictures_have_prints_that_say_nothing():
    flat = image_print(np.full((50, 60), 7, np.uint8))
    assert flat.spread < FLAT and not flat.coarse.any() and not flat.detail.any()
    tiny = image_print(np.array([[5]], np.uint8))
    assert (tiny.height, tiny.width) == (1, 1) and not tiny.detail.any()


def test_a_print_takes_under_two_kilobytes():
    found = image_print(picture())
    assert found.coarse.nbytes + found.detail.nbytes == 1536


def test_sixteen_bit_levels_are_those_of_the_bits_in_use():
    assert to_levels(np.array([[0, 4095]], np.uint16)).tolist() == [[0, 255]]
    assert to_levels(np.array([[0, 200]], np.uint16)).tolist() == [[0, 200]]
    assert to_levels(np.array([[0.5, 200]], np.float64)).tolist() == [[0.5, 200]]
