"""Figures of single defects, by hand and against scikit-learn's isotonic fit."""

from __future__ import annotations

import numpy as np
import pytest

from defectctl.errors import InputError
from defectctl.metrics.instance_matching import match_instances
from defectctl.metrics.instances import (
    FEWEST,
    INSTANCE_COLUMNS,
    Instances,
    boundary_error,
    cost,
    instance_counts,
    instance_metrics,
    is_found,
    smallest_found,
)

CLASSES = ["dent", "scratch"]
KNOWN = np.ones(3, bool)


def strip(length: int, *runs: tuple[int, int, int]) -> np.ndarray:
    """One row of pixels with `(class, from, to)` in it."""
    line = np.zeros((1, length), np.uint8)
    for label, low, high in runs:
        line[0, low:high] = label
    return line


def three_images() -> Instances:
    """A dent of 10 hit by 5 and one of 2 missed; a scratch of 20 hit by 19 as dent, a blob of 3; one without truth."""
    first = match_instances(strip(40, (1, 0, 10), (1, 20, 22)), strip(40, (1, 5, 10)), KNOWN)
    second = match_instances(strip(40, (2, 0, 20)), strip(40, (1, 1, 20), (2, 30, 33)), KNOWN)
    return Instances.joined([first, second, match_instances(None, strip(40, (1, 0, 5)), KNOWN)])


def same(left: Instances, right: Instances) -> bool:
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in INSTANCE_COLUMNS)


def test_three_images_by_hand() -> None:
    found = instance_metrics(three_images(), CLASSES, min_area=3)
    assert (found["instances"], found["instances_found"], found["instance_recall"]) == (3, 2, pytest.approx(2 / 3))
    assert found["instance_recall_touched"] == pytest.approx(2 / 3)
    assert found["instance_recall_class"] == pytest.approx(1 / 3)
    assert found["instances_below_min_area"] == {"instances": 1, "found": 0, "recall": 0.0}
    assert found["images_judged"] == 2 and found["instances_cut"] == 0
    assert (found["false_blobs"], found["false_blobs_per_image"], found["images_with_false_blobs"]) == (1, 0.5, 1)
    assert found["smallest_found"] is None
    rows = found["instance_classes"]
    assert (rows["dent"]["instances"], rows["dent"]["recall"], rows["dent"]["recall_class"]) == (2, 0.5, 0.5)
    assert (rows["scratch"]["recall"], rows["scratch"]["recall_class"]) == (1.0, 0.0)
    assert (rows["dent"]["false_blobs"], rows["scratch"]["false_blobs"]) == (0, 1)
    # Pairs: 5 of 10 pixels, whose true outline's five others are 1 to 5 away; 19 of 20, one of which is 1 away.
    assert found["boundary_error"] == pytest.approx(16 / (15 + 39)) and found["boundary_pixels"] == 54
    assert found["boundary_error_p95"] == 3.0  # 52 of 54 lie within 3, 51 within 2: 95 % are 51.3


def test_size_bins_are_powers_of_four_with_both_ends_within() -> None:
    truth = strip(200, (1, 0, 3), (1, 10, 14), (1, 20, 35), (2, 50, 66), (2, 100, 164))
    said = strip(200, (1, 10, 14), (2, 50, 66), (1, 180, 184))
    found = instance_metrics(match_instances(truth, said, KNOWN), CLASSES)
    counts = [(row["from"], row["to"], row["instances"], row["found"]) for row in found["instance_sizes"]]
    assert counts[:5] == [(1, 3, 1, 0), (4, 15, 2, 1), (16, 63, 1, 1), (64, 255, 1, 0), (256, 1023, 0, 0)]
    assert counts[-1] == (65536, None, 0, 0) and found["instance_sizes"][4]["recall"] is None
    assert [row["instances"] for row in found["instance_classes"]["scratch"]["sizes"]][:4] == [0, 0, 1, 1]
    assert [row["blobs"] for row in found["false_blob_sizes"]][:3] == [0, 1, 0]


@pytest.mark.parametrize(("bar", "expected"), [(0.0, 2), (0.1, 2), (0.5, 2), (0.51, 1), (0.95, 1), (0.96, 0)])
def test_other_bars_are_asked_of_the_same_table(bar: float, expected: int) -> None:
    assert instance_metrics(three_images(), CLASSES, found_at=bar)["instances_found"] == expected


@pytest.mark.parametrize(("hit", "pixels", "bar"), [(11, 20, 0.55), (7, 10, 0.7), (3, 30, 0.1), (29, 100, 0.29)])
def test_a_bar_that_is_just_reached_is_reached(hit: int, pixels: int, bar: float) -> None:
    """In floating point 0.55 times 20 is a little more than 11."""
    found = match_instances(strip(100, (1, 0, pixels)), strip(100, (1, 0, hit)), KNOWN)
    assert is_found(found, bar).tolist() == [True] and is_found(found, bar + 1e-6).tolist() == [False]


def test_defects_of_unknown_size_count_but_not_by_size() -> None:
    truth = strip(40, (1, 0, 4), (255, 4, 6), (1, 10, 14))
    found = instance_metrics(match_instances(truth, truth % 255, KNOWN), CLASSES)
    assert found["instances"] == 2 and found["instances_cut"] == 1
    assert sum(row["instances"] for row in found["instance_sizes"]) == 1


def test_nothing_to_count_gives_none() -> None:
    keys = set(instance_metrics(three_images(), CLASSES))
    nothing = match_instances(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8), KNOWN)
    for found in (instance_metrics(None, CLASSES), instance_metrics(nothing, CLASSES)):
        assert set(found) == keys
        assert found["instances"] == 0 and found["instance_recall"] is None and found["smallest_found"] is None
        assert (found["boundary_error"], found["boundary_error_p95"], found["boundary_pixels"]) == (None, None, 0)
        assert found["instance_classes"]["scratch"]["recall"] is None
    assert instance_metrics(None, CLASSES)["false_blobs_per_image"] is None
    assert instance_metrics(nothing, CLASSES)["false_blobs_per_image"] == 0.0


def test_boundary_error_takes_only_pairs_that_are_found() -> None:
    barely = match_instances(strip(40, (1, 0, 10)), strip(40, (1, 9, 10)), KNOWN)
    assert boundary_error(barely) == (None, None, 0)
    assert boundary_error(barely, 0.1) == (pytest.approx(45 / 11), pytest.approx(8 * 1024 ** (1 / 40)), 11)


def test_counts_per_image() -> None:
    assert [c.tolist() for c in instance_counts(three_images())] == [[2, 1, 0], [1, 1, 0], [0, 1, 0]]
    assert [c.tolist() for c in instance_counts(three_images(), 0.6)] == [[2, 1, 0], [0, 1, 0], [0, 1, 0]]


def test_rows_are_chosen_doubled_and_joined() -> None:
    whole = three_images()
    parts = [whole.select(np.array([n])) for n in range(3)]
    assert same(Instances.joined(parts), whole)
    assert same(whole.select(np.array([1, 0, 1])), Instances.joined([parts[1], parts[0], parts[1]]))
    assert not len(whole.select(np.zeros(0, np.int64)).judged)
    assert [len(p.row) for p in parts] == [2, 1, 0] and parts[1].row.tolist() == [0]


def test_a_column_of_the_wrong_length_is_refused() -> None:
    columns = {name: getattr(three_images(), name) for name in INSTANCE_COLUMNS}
    with pytest.raises(ValueError, match="hit_class"):
        Instances(**{**columns, "hit_class": np.zeros(2)})
    with pytest.raises(ValueError, match="pair_histogram"):
        Instances(**{**columns, "pair_histogram": np.zeros((2, 5))})


def test_many_large_defects_do_not_make_up_for_small_ones_that_are_missed() -> None:
    """Of all 1,100 more than nine in ten are found, but none of the hundred smallest."""
    area, found = np.repeat([1, 100], [100, 1000]), np.repeat([False, True], [100, 1000])
    assert smallest_found(area, found) == {
        "pixels": 100,
        "instances": 1000,
        "found": 1000,
        "lower": pytest.approx(0.05 ** (1 / 1000)),
        "larger": 1000,
    }


def test_large_defects_that_are_missed_push_the_size_up() -> None:
    area = np.arange(1, 41)
    assert smallest_found(area, area >= 11)["pixels"] == 11
    assert smallest_found(area, (area >= 11) & (area != 21))["pixels"] == 11  # 10 of 11 up to the miss
    assert smallest_found(area, (area >= 11) & (area != 19))["pixels"] == 20  # 8 of 9
    assert smallest_found(area, (area >= 11) & (area < 38))["pixels"] == 11  # 27 of 30
    assert smallest_found(area, (area >= 11) & (area < 37)) is None


def test_what_stands_behind_the_size() -> None:
    area = np.array([10] * 20 + [15] * 9 + [20] * 10)
    result = smallest_found(area, np.ones(39, bool))
    # 29 of 29 between 10 and 19 pixels: 0.05 ** (1/29) is just above 0.9, as every table of attribute samples has it
    assert result == {
        "pixels": 10,
        "instances": 29,
        "found": 29,
        "lower": pytest.approx(0.9019, abs=1e-4),
        "larger": 39,
    }


def test_too_few_defects_carry_no_size() -> None:
    assert FEWEST == 10
    assert smallest_found(np.full(9, 50), np.ones(9, bool)) is None
    assert smallest_found(np.full(10, 50), np.ones(10, bool))["pixels"] == 50
    assert smallest_found(np.full(10, 50), np.arange(10) > 0)["pixels"] == 50
    assert smallest_found(np.full(10, 50), np.arange(10) > 1) is None
    assert smallest_found(np.zeros(0, np.int64), np.zeros(0, bool)) is None


@pytest.mark.parametrize("seed", range(20))
def test_it_is_where_the_isotonic_fit_reaches_nine_tenths(seed: int) -> None:
    isotonic = pytest.importorskip("sklearn.isotonic")
    rng = np.random.default_rng(seed)
    area = rng.integers(1, 60, 300)
    found = rng.random(300) < 1 / (1 + np.exp(-(np.log(area) - 1.5) * rng.uniform(0.5, 3)))
    fit = isotonic.IsotonicRegression().fit_transform(np.log(area), found)
    reached = area[fit >= 0.9 - 1e-9]
    result = smallest_found(area, found)
    if result is None:
        assert len(reached) < FEWEST
    else:
        assert result["pixels"] == reached.min() and result["larger"] == len(reached)


def test_cost_by_hand() -> None:
    parts = {"escapes": 2, "overkill": 5, "unsure": 1, "defective_parts": 10, "good_parts": 40, "parts_unknown": 3}
    assert cost(parts, 100, 2.5) == {
        "cost_escape": 100,
        "cost_overkill": 2.5,
        "parts": 50,
        "escapes_total": 200,
        "overkill_total": 12.5,
        "total": 212.5,
        "per_part": 4.25,
        "per_1000_parts": 4250.0,
    }
    nothing = dict.fromkeys(parts, 0)
    assert cost(nothing, 100, 1)["total"] == 0 and cost(nothing, 100, 1)["per_1000_parts"] is None


@pytest.mark.parametrize("price", [-1, float("nan"), float("inf")])
def test_prices_that_are_none_are_refused(price: float) -> None:
    parts = dict.fromkeys(["escapes", "overkill", "defective_parts", "good_parts"], 0)
    with pytest.raises(InputError, match="--cost-escape"):
        cost(parts, price, 1)
    with pytest.raises(InputError, match="--cost-overkill"):
        cost(parts, 1, price)
