"""Near-duplicates among generated pictures whose copies are known by construction."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from defectctl.dataset.near_duplicates import Twin, families, find_twins
from defectctl.dataset.same_picture import difference
from defectctl.imaging.prints import image_print, to_pose
from defectctl.imaging.synthetic import SyntheticSurface

SIZE = (128, 160)


def surfaces(count, size=SIZE, seed=0):
    maker = SyntheticSurface(seed=seed, size=size, good_share=0.5)
    return [maker.sample(index)[0] for index in range(count)]


def re_encoded(grey, pose=0, brightness=0.0, contrast=1.0, quality=50):
    """Posed, made brighter, stored as JPEG."""
    changed = (to_pose(grey, pose).astype(np.float32) - 128) * contrast + 128 + brightness
    data = cv2.imencode(".jpg", np.clip(changed, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)


def twins_of(pictures):
    return find_twins([image_print(grey) for grey in pictures], lambda index: pictures[index])


def pairs_of(pictures):
    return [(twin.first, twin.second) for twin in twins_of(pictures)]


def noise(spread, seed, size=SIZE):
    return np.random.default_rng(seed).normal(0, spread, size)


def test_copies_in_every_pose_are_found_with_their_pose_and_nothing_else_is():
    originals = surfaces(32)
    copies = [
        re_encoded(grey, index % 8, brightness=(-10, 10)[index % 2], contrast=(0.92, 1, 1.08)[index % 3])
        for index, grey in enumerate(originals)
    ]
    found = twins_of(originals + copies)
    assert [(twin.first, twin.second) for twin in found] == [(index, index + 32) for index in range(32)]
    numbers = np.arange(20).reshape(4, 5)
    for twin in found:
        assert (to_pose(to_pose(numbers, twin.first % 8), twin.pose) == numbers).all()
        assert 0 < twin.difference < 6


def test_identical_pixels_differ_by_nothing_whatever_the_bit_depth():
    grey = surfaces(1)[0]
    assert [twin.difference for twin in twins_of([grey, np.rot90(grey), grey.astype(np.uint16) * 257])] == [
        0.0,
        pytest.approx(0, abs=1e-3),
        pytest.approx(0, abs=1e-3),
    ]


def test_a_symmetric_picture_is_laid_as_it_fits_best():
    half = surfaces(1, (128, 64))[0]
    grey = np.hstack([half, half[:, ::-1]])
    grey[20:40, 20:40] -= 3  # so that the mirrored pose fits, too, but not exactly
    assert twins_of([grey, grey[:, ::-1]]) == [Twin(0, 1, 4, 0.0)]


def test_flat_and_noisy_pictures_are_no_copies_of_one_another():
    flat = [np.full(SIZE, level, np.uint8) for level in (0, 0, 90, 91)]
    noisy = [np.clip(90 + noise(8, seed), 0, 255).astype(np.uint8) for seed in range(4)]
    assert pairs_of(flat + noisy) == []
    assert pairs_of([*noisy, re_encoded(noisy[2], 3, 10, quality=90)]) == [(2, 4)]


def test_a_second_photograph_of_the_same_place_is_no_copy():
    """The same surface, camera and light: only the camera's noise is another."""
    scene = cv2.GaussianBlur(surfaces(1)[0].astype(np.float32), (0, 0), 4)
    shots = [np.clip(scene + noise(3, seed), 0, 255).astype(np.uint8) for seed in range(3)]
    assert pairs_of([*shots, re_encoded(shots[1], 5, quality=80)]) == [(1, 3)]


def test_the_same_part_with_a_new_defect_is_no_copy():
    grey = surfaces(1)[0]
    scratched = grey.copy()
    cv2.line(scratched, (30, 30), (60, 70), int(grey.mean()) + 60, 4)
    assert pairs_of([grey, scratched]) == []


def test_half_a_picture_makes_no_copy():
    one, other = surfaces(2)
    pasted = one.copy()
    pasted[:, 80:] = other[:, 80:]
    assert pairs_of([one, other, pasted]) == []


def test_other_sizes_and_unreadable_images_are_left_out():
    grey = surfaces(1)[0]
    pictures = [grey, grey, grey[:, :-8], grey, grey.T]
    prints = [image_print(one) for one in pictures]
    prints[1] = None
    found = find_twins(prints, lambda index: None if index == 3 else pictures[index])
    assert [(twin.first, twin.second) for twin in found] == [(0, 4)]
    assert find_twins([], lambda index: grey) == [] == find_twins([None], lambda index: grey)


def test_small_pictures_are_compared_by_their_pixels():
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (24, 24)).astype(np.uint8) for _ in range(20)]
    pictures.append(np.ascontiguousarray(to_pose(pictures[4], 6)))
    assert pairs_of(pictures) == [(4, 20)]


def test_every_image_is_read_once_and_the_pairs_can_be_watched():
    originals = surfaces(12)
    pictures = originals + [re_encoded(grey, 1) for grey in reversed(originals)]
    read, counts = [], []

    def take(index):
        read.append(index)
        return pictures[index]

    def watch(pairs, count):
        counts.append(count)
        yield from pairs

    found = find_twins([image_print(grey) for grey in pictures], take, watch)
    assert len(found) == 12 and sorted(read) == list(range(24)) and counts[0] >= 12


def test_pixels_agree_with_a_brute_force_over_all_pairs_and_poses():
    originals = surfaces(10, (64, 64), seed=5)
    pictures = [to_pose(originals[index % 10], pose) for index, pose in enumerate([0] * 10 + [3, 6, 1, 0, 5] * 2)]

    def identical(one, other):
        return any(np.array_equal(one, to_pose(other, pose)) for pose in range(8))

    count = len(pictures)
    expected = [(i, j) for i in range(count) for j in range(i + 1, count) if identical(pictures[i], pictures[j])]
    assert pairs_of(pictures) == expected and len(expected) == 10


def test_families_join_what_hangs_together():
    twins = [Twin(4, 7, 0, 0.0), Twin(1, 9, 0, 0.0), Twin(2, 4, 0, 0.0), Twin(7, 8, 0, 0.0)]
    assert families(twins) == [[1, 9], [2, 4, 7, 8]] and families([]) == []


def test_the_difference_is_that_of_the_pixels():
    rng = np.random.default_rng(0)
    grey = rng.integers(60, 180, (80, 80)).astype(np.float32)
    sign = np.where(np.indices(grey.shape).sum(axis=0) % 2, 1, -1)
    assert difference(grey, grey + 2 * sign + 10) == pytest.approx(2, abs=0.05)
    assert difference(grey, 255 - grey) is None and difference(grey, grey[:40]) is None


def test_the_search_grows_far_slower_than_the_number_of_pairs(growth):
    rng = np.random.default_rng(0)
    template = image_print(surfaces(1)[0])

    def prints(count):
        waves = rng.normal(size=(count, 16, 16)) / (1 + np.add.outer(np.arange(16), np.arange(16)))
        waves[:, 0, 0] = 0
        waves /= np.linalg.norm(waves, axis=(1, 2), keepdims=True)
        return [replace(template, coarse=one.astype(np.float16)) for one in waves]

    sizes = {count: prints(count) for count in (1000, 8000)}
    assert growth(lambda count: find_twins(sizes[count], lambda index: None), 1000, 8000) < 24  # all pairs: 64
