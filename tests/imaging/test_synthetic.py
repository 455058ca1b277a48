"""Synthetic surfaces: exact truth, repeatable, every class, and beyond the reach of one grey threshold."""

from __future__ import annotations

import numpy as np
import pytest

from defectctl.imaging.masks import read_mask
from defectctl.imaging.reader import decode_image
from defectctl.imaging.synthetic import SyntheticSurface, make_sample, write_raw_folder


def best_threshold_iou(surface: SyntheticSurface, indices: range) -> float:
    """Best defect IoU that "darker than t" or "lighter than t" reaches over all pictures, t chosen on them."""
    defect, background = np.zeros(256), np.zeros(256)
    for index in indices:
        image, mask = surface.sample(index)
        defect += np.bincount(image[mask > 0], minlength=256)
        background += np.bincount(image[mask == 0], minlength=256)
    ious = []
    for inside, outside in ((defect, background), (defect[::-1], background[::-1])):
        ious.append((np.cumsum(inside) / (defect.sum() + np.cumsum(outside))).max())
    return max(ious)


@pytest.mark.parametrize("seed", [0, 7])
def test_no_global_threshold_finds_the_defects(seed):
    assert best_threshold_iou(SyntheticSurface(seed), range(60)) < 0.4
    assert best_threshold_iou(SyntheticSurface(seed, good_share=0.0), range(60)) < 0.4


def test_defects_stand_out_from_their_own_surroundings():
    differences = []
    for index in range(30):
        surface = SyntheticSurface(1, good_share=0.0)
        image, mask = surface.sample(index)
        differences.append((image.astype(float) - surface.clean(index))[mask > 0])
    shifts = np.concatenate(differences)
    assert np.abs(shifts).min() >= 5
    assert 12 < np.abs(shifts).mean() < 45
    assert 0.2 < (shifts > 0).mean() < 0.8


@pytest.mark.parametrize("size", [(200, 200), (64, 96), (16, 40)])
@pytest.mark.parametrize("grey16", [False, True])
def test_truth_is_exact(size, grey16):
    surface = SyntheticSurface(3, size, grey16=grey16)
    for index in range(12):
        image, mask = surface.sample(index)
        assert image.shape == mask.shape == size
        assert image.dtype == (np.uint16 if grey16 else np.uint8)
        assert np.array_equal(image != surface.clean(index), mask > 0)
        assert mask.any() != surface.is_good(index)


def test_same_seed_same_picture_other_seed_other_picture():
    for first, second in zip(make_sample(5, seed=2), make_sample(5, seed=2), strict=True):
        assert np.array_equal(first, second)
    assert not np.array_equal(make_sample(5, seed=2)[0], make_sample(5, seed=3)[0])
    assert not np.array_equal(make_sample(5, seed=2)[0], make_sample(6, seed=2)[0])


@pytest.mark.parametrize("count", [1, 3, 7])
def test_every_class_comes_about_equally_often(count):
    surface = SyntheticSurface(0, (96, 96), classes=[f"class {n}" for n in range(count)])
    present = np.zeros(count + 1, int)
    for index in range(40 * count):
        present[np.unique(surface.sample(index)[1])] += 1
    assert present[1:].min() >= 24
    assert present[1:].sum() > 0


def test_share_of_good_parts():
    for share in (0.0, 0.2, 0.5, 1.0):
        surface = SyntheticSurface(4, good_share=share)
        assert abs(sum(surface.is_good(index) for index in range(100)) - 100 * share) <= 2


def test_raw_folder_holds_the_samples(tmp_path):
    write_raw_folder(tmp_path, 6, seed=1, size=(40, 50), classes=("pit", "crack"), good_share=0.3)
    names = [f"{n:04d}.png" for n in range(6)]
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == names
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == names
    for index, name in enumerate(names):
        image, mask = make_sample(index, 1, (40, 50), ("pit", "crack"), 0.3)
        assert np.array_equal(decode_image((tmp_path / "images" / name).read_bytes(), "grey"), image)
        assert np.array_equal(read_mask((tmp_path / "masks" / name).read_bytes()).values, mask)


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="16 pixels"):
        SyntheticSurface(size=(8, 100))
    with pytest.raises(ValueError, match="classes"):
        SyntheticSurface(classes=())
