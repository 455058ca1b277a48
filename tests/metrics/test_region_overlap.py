"""Per-region overlap against a computation over all thresholds on the maps themselves, and hand-worked cases."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy import ndimage

from defectctl.metrics.region_overlap import (
    Regions,
    aupro,
    image_overlaps,
    overlap_area,
    region_metrics,
    regions_of,
    window_around,
)

KNOWN = np.ones(3, bool)


def components(mask: np.ndarray) -> list[np.ndarray]:
    count, marks = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return [marks == number for number in range(1, count)]


def brute_force(truths: list[np.ndarray], maps: list[np.ndarray], limit: float, label: int | None) -> float:
    """The curve threshold by threshold on the maps, straight between the points, cut at the limit."""
    masks = [(t > 0) & (t < 255) if label is None else t == label for t in truths]
    regions = [(level, region) for level, mask in zip(maps, masks, strict=True) for region in components(mask)]
    background = np.concatenate([level[truth == 0] for level, truth in zip(maps, truths, strict=True)])
    x, y = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        x.append((background >= threshold).mean() + len(x) * 1e-13)  # never twice the same
        y.append(np.mean([(level[region] >= threshold).mean() for level, region in regions]))
    grid = np.array([*(rate for rate in x if rate < limit), limit])
    height = np.interp(grid, x, y)
    return float((np.diff(grid) * (height[1:] + height[:-1]) / 2).sum() / limit)


def scene(seed: int, images: int = 4) -> tuple[list[np.ndarray], list[np.ndarray], Regions, np.ndarray]:
    rng = np.random.default_rng(seed)
    truths, maps, parts, negatives = [], [], [], []
    for number in range(images):
        truth = np.zeros((24, 30), np.uint8)
        for _ in range(number * 2):  # the first image is a good part
            y, x = rng.integers(0, 20), rng.integers(0, 26)
            truth[y : y + rng.integers(1, 6), x : x + rng.integers(1, 6)] = rng.integers(1, 3)
        truth[rng.random(truth.shape) < 0.03] = 255
        level = np.clip(rng.normal(60, 50, truth.shape) + 90 * ((truth > 0) & (truth < 255)), 0, 255)
        level = (level / 5).astype(np.uint8) * 5  # ties
        truths.append(truth)
        maps.append(level)
        parts.append(regions_of(truth, level, KNOWN))
        negatives.append(np.bincount(level[truth == 0], minlength=256))
    return truths, maps, Regions.joined(parts, [1] * images), np.array(negatives)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("limit", [0.3, 0.05])
def test_aupro_equals_all_thresholds(seed: int, limit: float) -> None:
    truths, maps, regions, negatives = scene(seed)
    assert aupro(regions, negatives, limit) == pytest.approx(brute_force(truths, maps, limit, None), abs=1e-9)
    assert aupro(regions, negatives, limit, label=2) == pytest.approx(brute_force(truths, maps, limit, 2), abs=1e-9)


def test_aupro_by_hand() -> None:
    # Two regions, of 1 and of 4 pixels; 10 pixels of background. At level 200 the small one is found and one pixel of
    # background, at 100 half of the large one and two more, at 0 all. Points (rate, overlap): (0, 0), (0.1, 0.5),
    # (0.3, 0.75), (1, 1). Up to 0.3: 0.1 * 0.25 + 0.2 * 0.625 = 0.15.
    truth = np.zeros((3, 6), np.uint8)
    truth[0, 0], truth[1:, 4:] = 1, 2
    truth[0, 4:] = truth[1, 0] = 255
    level = np.zeros((3, 6), np.uint8)
    level[0, 0] = level[0, 2] = 200
    level[1, 4:] = level[2, 1:3] = 100
    regions = regions_of(truth, level, KNOWN)
    negatives = np.bincount(level[truth == 0], minlength=256)[None]
    assert negatives.sum() == 10
    assert aupro(regions, negatives, 0.3) == pytest.approx(0.15 / 0.3)
    assert aupro(regions, negatives, 0.2) == pytest.approx(
        (0.025 + 0.1 * (0.5 + 0.625) / 2) / 0.2
    )  # cut between points
    assert aupro(regions, negatives, 1.0) == pytest.approx(0.15 + 0.7 * 0.875)
    found = region_metrics(regions, negatives, ["scratch", "dent", "stain"])
    assert found["aupro_30"] == pytest.approx(0.5) and found["regions"] == 2
    # the scratch alone is whole from rate 0.1 on, the straight line up to there counts half
    assert found["region_classes"]["scratch"]["aupro_30"] == pytest.approx(0.25 / 0.3)
    assert found["region_classes"]["stain"] == {"aupro_30": None, "aupro_05": None, "regions": 0}


def test_perfect_useless_and_constant_maps() -> None:
    truth = np.zeros((10, 10), np.uint8)
    truth[2:4, 2:4] = 1
    for level, expected in ((truth * 255, 1.0), ((1 - truth) * 255, 0.0), (np.full_like(truth, 9), 0.15)):
        negatives = np.bincount(level[truth == 0], minlength=256)[None]
        assert aupro(regions_of(truth, level, KNOWN), negatives, 0.3) == pytest.approx(expected)


def test_touching_classes_are_one_region_of_any_defect() -> None:
    truth = np.zeros((5, 8), np.uint8)
    truth[1, 1], truth[2, 2], truth[4, 7] = 1, 2, 1  # the first two touch at a corner
    level = np.zeros_like(truth)
    level[1, 1] = 255
    regions = regions_of(truth, level, KNOWN)
    assert regions.label.tolist() == [1, 1, 2]
    assert sorted(regions.whole.tolist()) == [1, 1, 2] and regions.whole[0] == regions.whole[2]
    sums, counts = image_overlaps(regions, 1)
    assert counts.tolist() == [2] and sums[0, 255] == 0.5 and sums[0, 0] == 2
    assert image_overlaps(regions, 1, label=1)[1].tolist() == [2]


def test_unknown_pixels_and_classes_belong_to_no_region() -> None:
    truth = np.array([[1, 1, 255, 1, 0, 2]], np.uint8)
    level = np.arange(6, dtype=np.uint8)[None]
    regions = regions_of(truth, level, np.array([True, True, False]))
    assert regions.label.tolist() == [1, 1] and regions.levels.sum(axis=1).tolist() == [2, 1]
    assert regions.levels[:, :6].tolist() == [[1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0]]
    assert len(regions_of(None, level, KNOWN)) == 0
    assert len(regions_of(truth, level, np.zeros(3, bool))) == 0


@pytest.mark.parametrize("labels", [[0, 0, 0, 2], [0, 0, 0, 0, 1, 2, 3, 255]])
def test_regions_are_those_of_scipy_in_order_of_class_and_first_pixel(labels: list[int]) -> None:
    rng = np.random.default_rng(len(labels))
    truth, level = rng.choice(np.array(labels, np.uint8), (20, 31)), rng.integers(0, 256, (20, 31)).astype(np.uint8)
    wholes = ndimage.label(np.isin(truth, [1, 2]), structure=np.ones((3, 3)))[0]
    expected = []
    for label in (1, 2):
        marks, count = ndimage.label(truth == label, structure=np.ones((3, 3)))
        own = [marks == mark for mark in range(1, count + 1)]
        expected += [
            (label, int(wholes[region].min()), np.bincount(level[region], minlength=256).tolist())
            for region in sorted(own, key=lambda region: int(region.argmax()))
        ]
    found = regions_of(truth, level, np.array([True, True, True, False]))
    assert list(zip(found.label.tolist(), found.whole.tolist(), found.levels.tolist(), strict=True)) == expected
    assert not found.row.any()


def test_without_region_or_background_there_is_no_figure() -> None:
    background, region = np.bincount([3], minlength=256)[None], np.ones((1, 1), np.uint8)
    assert aupro(Regions.none(), background) is None
    assert aupro(regions_of(region, region, KNOWN), np.zeros((1, 256), np.int64)) is None
    assert region_metrics(None, background, ["x"]) == {
        "aupro_30": None,
        "aupro_05": None,
        "regions": None,
        "region_classes": {},
    }
    with pytest.raises(ValueError, match="limit"):
        overlap_area(np.ones(256), 1, np.ones(256), 0)


def test_resampled_rows_and_joined_tables() -> None:
    truths, maps, regions, negatives = scene(2)
    rows = np.array([3, 1, 3, 0])
    picked = aupro(regions.select(rows), negatives[rows])
    assert picked == pytest.approx(brute_force([truths[i] for i in rows], [maps[i] for i in rows], 0.3, None), abs=1e-9)
    # the same from what each image adds
    sums, counts = image_overlaps(regions, 4)
    times = np.bincount(rows, minlength=4)
    assert overlap_area(times @ sums, times @ counts, times @ negatives, 0.3) == pytest.approx(picked)
    halves = [regions.select(np.array([0, 1])), regions.select(np.array([2, 3]))]
    assert aupro(Regions.joined(halves, [2, 2]), negatives) == pytest.approx(aupro(regions, negatives))
    assert len(Regions.joined([], [])) == 0 and len(regions.select(np.zeros(0, np.int64))) == 0


def test_columns_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="levels"):
        Regions(np.zeros(2), np.ones(2), np.ones(2), np.zeros((1, 256)))


def test_window() -> None:
    used = np.zeros((9, 9), bool)
    used[2, 3] = used[4, 8] = True
    assert window_around(used) == (slice(2, 5), slice(3, 9))
    assert used[window_around(used, 3)].shape == (8, 9)
