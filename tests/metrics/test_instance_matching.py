"""True and predicted defects held against each other, by hand and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from defectctl.imaging.components import find_components
from defectctl.metrics.instance_matching import match_instances
from defectctl.metrics.instances import DISTANCE_EDGES, Instances

ALL = np.ones(3, bool)


def picture(*rows: str) -> np.ndarray:
    """A map from text: digits are classes, `.` background, `?` unknown."""
    return np.array([[{".": 0, "?": 255}.get(c) if c in ".?" else int(c) for c in row] for row in rows], np.uint8)


def true_side(found: Instances) -> list[tuple[int, int, int, int]]:
    return list(zip(*(getattr(found, n).tolist() for n in ("label", "area", "hit", "hit_class")), strict=True))


def blob_side(found: Instances) -> list[tuple[int, int, int, int]]:
    names = ("blob_label", "blob_area", "blob_true", "blob_unknown")
    return list(zip(*(getattr(found, n).tolist() for n in names), strict=True))


def pair_side(found: Instances) -> list[tuple[int, int, float, int]]:
    pixels = found.pair_histogram.sum(axis=1)
    columns = (found.pair_area, found.pair_hit, found.pair_distance, pixels)
    return list(zip(*(c.tolist() for c in columns), strict=True))


def test_touching_classes_are_two_defects_and_one_pair() -> None:
    found = match_instances(picture("......", ".1122.", "......"), picture("......", ".1112.", "......"), ALL)
    assert true_side(found) == [(1, 2, 2, 2), (2, 2, 2, 1)]
    assert blob_side(found) == [(1, 3, 3, 0), (2, 1, 1, 0)]
    assert pair_side(found) == [(4, 4, 0.0, 8)]


def test_one_prediction_over_two_defects_is_one_pair() -> None:
    """The line's seven pixels against the two pairs of true ones: the gap's three are 1, 2 and 1 away."""
    found = match_instances(picture(".......", "11...11"), picture(".......", "1111111"), ALL)
    assert true_side(found) == [(1, 2, 2, 2), (1, 2, 2, 2)]
    assert blob_side(found) == [(1, 7, 4, 0)]
    assert pair_side(found) == [(4, 4, 4.0, 11)]


def test_a_defect_found_in_two_pieces_is_one_pair() -> None:
    found = match_instances(picture("1111111", "......."), picture("22...12", "......."), ALL)
    assert true_side(found) == [(1, 7, 4, 1)]
    assert blob_side(found) == [(1, 1, 1, 0), (2, 2, 2, 0), (2, 1, 1, 0)]
    assert pair_side(found) == [(7, 4, 4.0, 11)]


def test_a_blob_in_a_ring_does_not_find_it() -> None:
    ring, blob = picture("11111", "1...1", "1...1", "1...1", "11111"), np.zeros((5, 5), np.uint8)
    blob[2, 2] = 1
    found = match_instances(ring, blob, ALL)
    assert true_side(found) == [(1, 16, 0, 0)] and blob_side(found) == [(1, 1, 0, 0)] and pair_side(found) == []


def test_one_pixel() -> None:
    one = picture("1")
    found = match_instances(one, one, ALL)
    assert true_side(found) == [(1, 1, 1, 1)] and pair_side(found) == [(1, 1, 0.0, 2)]


@pytest.mark.parametrize("truth", [None, np.full((2, 3), 255, np.uint8)])
def test_without_a_truth_nothing_is_judged(truth: np.ndarray | None) -> None:
    found = match_instances(truth, np.ones((2, 3), np.uint8), ALL)
    assert found.judged.tolist() == [False] and not len(found.row) and not len(found.blob_row)
    silent = match_instances(np.ones((2, 3), np.uint8), np.ones((2, 3), np.uint8), np.zeros(3, bool))
    assert silent.judged.tolist() == [False]


def test_a_good_part_without_a_prediction_is_judged() -> None:
    found = match_instances(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8), ALL)
    assert found.judged.tolist() == [True] and not len(found.row) and not len(found.blob_row)


def test_unknown_pixels_cut_a_defect_and_excuse_a_blob() -> None:
    truth = picture("11?......", ".........", "......?..", "......?..", "22.......")
    said = picture("111......", ".........", "....111..", ".........", "22.....1.")
    found = match_instances(truth, said, ALL)
    assert true_side(found) == [(1, 2, 2, 2), (2, 2, 2, 2)] and found.cut.tolist() == [True, False]
    assert blob_side(found) == [(1, 3, 2, 1), (1, 3, 0, 1), (1, 1, 0, 0), (2, 2, 2, 0)]
    # Of the first pair only its left end is measured, on both sides: the rest is in the unknown pixel or beside it.
    assert pair_side(found) == [(2, 2, 0.0, 2), (2, 2, 0.0, 4)]


def test_classes_of_which_the_mask_does_not_speak() -> None:
    """Class 2 is not known: its true patch is unknown area, its predicted one hits a defect but is no blob."""
    known = np.array([True, True, False])
    truth, said = picture("11....22..", ".........."), picture("22....11.2", "..........")
    found = match_instances(truth, said, known)
    assert true_side(found) == [(1, 2, 2, 0)] and blob_side(found) == [(1, 2, 0, 2)]
    assert found.cut.tolist() == [False] and pair_side(found) == [(2, 2, 0.0, 4)]


def test_inputs_are_left_as_they_are() -> None:
    truth, said = picture("11?2", "...."), picture("1.12", "....")
    before = truth.copy(), said.copy()
    match_instances(truth, said, np.array([True, True, False]))
    assert np.array_equal(truth, before[0]) and np.array_equal(said, before[1])


def test_views_of_larger_pictures_are_taken() -> None:
    rng = np.random.default_rng(0)
    truth, said = rng.choice(np.array([0, 0, 1, 2, 255], np.uint8), (2, 24, 30))
    whole, views = (match_instances(*pair, ALL) for pair in ((truth.T.copy(), said.T.copy()), (truth.T, said.T)))
    assert true_side(whole) == true_side(views) and blob_side(whole) == blob_side(views)
    assert pair_side(whole) == pair_side(views)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("min_area", [0, 3, 1000])
def test_known_components_of_the_prediction_change_nothing(seed: int, min_area: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.choice(np.array([0, 0, 0, 1, 2, 255], np.uint8), (24, 30))
    said = np.zeros((24, 30), np.uint8)
    said[4:20, 7:25] = rng.choice(np.array([0, 0, 0, 0, 1, 2], np.uint8), (16, 18))
    truth[:3], truth[:, :5] = 0, 0
    ids, components = find_components(said)
    left = [patch for patch in components if patch.area >= min_area]
    gone = ~np.isin(ids, [patch.index for patch in left])
    cleaned = np.where(gone, 0, said).astype(np.uint8)
    expected = match_instances(truth, cleaned, ALL)
    assert len(expected.blob_row) == len(left) and (min_area != 3 or 0 < len(left) < len(components))
    for numbers in (ids, np.where(gone, 0, ids)):
        found = match_instances(truth, cleaned, ALL, (numbers, left))
        assert true_side(found) == true_side(expected) and blob_side(found) == blob_side(expected)
        assert pair_side(found) == pair_side(expected) and (found.cut == expected.cut).all()


def slow_patches(class_map: np.ndarray, labels: list[int]) -> list[tuple[int, np.ndarray]]:
    patches = []
    for label in labels:
        marks, count = ndimage.label(class_map == label, structure=np.ones((3, 3)))
        patches += [(label, marks == mark) for mark in range(1, count + 1)]
    return patches


def slow_pairs(true: list[np.ndarray], said: list[np.ndarray], ignored: np.ndarray) -> list[tuple[int, float, int]]:
    """True pixels, sum of distances and outline pixels of every pair, grown patch by patch."""
    left, rows = set(range(len(true))), []
    while left:
        mine, theirs = {left.pop()}, set()
        while True:
            more = {n for n, s in enumerate(said) if any((s & true[m]).any() for m in mine)}
            back = {n for n, t in enumerate(true) if any((t & said[m]).any() for m in more)} | mine
            if more == theirs and back == mine:
                break
            mine, theirs = back, more
        left -= mine
        if not theirs:
            continue
        regions = np.any([true[m] for m in mine], axis=0), np.any([said[m] for m in theirs], axis=0)
        edges = [region & ~ndimage.binary_erosion(region) for region in regions]
        away = [ndimage.distance_transform_edt(~edge) for edge in edges]
        values = np.concatenate([away[1][edges[0] & ~ignored], away[0][edges[1] & ~ignored]])
        if len(values):
            rows.append((int(regions[0].sum()), round(float(values.sum()), 6), len(values)))
    return sorted(rows)


@pytest.mark.parametrize("seed", range(6))
def test_equals_scipy_on_random_pictures(seed: int) -> None:
    rng = np.random.default_rng(seed)
    known = np.array([True, True, True, seed % 2 == 0])

    def blotches(values: list[int]) -> np.ndarray:
        noise = ndimage.gaussian_filter(rng.random((18, 24)), 1.1)
        cuts = np.quantile(noise, [0.55, 0.75, 0.88, 0.97])
        return np.array(values, np.uint8)[np.digitize(noise, cuts)]

    truth, said = blotches([0, 1, 0, 2, 255 if seed % 3 else 3]), blotches([0, 1, 2, 0, 3])
    spoken = [label for label in (1, 2, 3) if known[label]]
    silent = ~np.isin(truth, [0, *spoken])
    beside = ndimage.binary_dilation(silent, np.ones((3, 3)))
    true, blobs = slow_patches(truth, spoken), slow_patches(said, [1, 2, 3])
    found = match_instances(truth, said, known)

    expected = [(c, int(p.sum()), int((said[p] > 0).sum()), int((said[p] == c).sum())) for c, p in true]
    assert sorted(true_side(found)) == sorted(expected)
    assert found.cut.sum() == sum(bool((p & beside).any()) for _, p in true)
    defect = np.isin(truth, spoken)
    expected = [(c, int(p.sum()), int(defect[p].sum()), int(silent[p].sum())) for c, p in blobs if c in spoken]
    assert sorted(blob_side(found)) == sorted(expected)
    unsure = silent | ((truth == 0) & ~np.isin(said, [0, *spoken]))
    ignored = ndimage.binary_dilation(unsure, np.ones((3, 3)))
    expected = slow_pairs([p for _, p in true], [p for _, p in blobs], ignored)
    assert sorted((a, round(d, 6), n) for a, _, d, n in pair_side(found)) == expected


def test_distances_are_stored_by_the_bin_that_they_do_not_exceed() -> None:
    truth, said = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    truth[5, 2:18], said[5, 2:10] = 1, 1
    found = match_instances(truth, said, ALL)
    bins = DISTANCE_EDGES[np.flatnonzero(found.pair_histogram[0])]
    assert bins.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8] and found.pair_distance.tolist() == [36.0]
    assert found.pair_histogram[0][[0, 4, 32]].tolist() == [16, 1, 1]
