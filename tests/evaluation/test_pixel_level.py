"""The pixel threshold of a promised recall: hand-made tables, refusals, and hundreds of simulated calibration sets."""

from __future__ import annotations

from math import e, sqrt

import numpy as np
import pytest

from defectctl.errors import InputError
from defectctl.evaluation.pixel_level import check_number, choose_level
from defectctl.evaluation.wanted import Wanted
from defectctl.inference.maps import pixel_level
from defectctl.metrics.region_overlap import Regions
from defectctl.metrics.table import ImageTable


def table_of(positives: np.ndarray, regions: Regions | None = None, groups: list[str] | None = None) -> ImageTable:
    """A table of defective parts from their `(N, 256)` histograms; half of the background lies at byte 0, half at 9."""
    n = len(positives)
    negatives = np.zeros((n, 256), np.int64)
    negatives[:, [0, 9]] = 50
    return ImageTable(
        [f"{i:05d}" for i in range(n)],
        ["dent"],
        np.zeros((n, 2, 2)),
        np.zeros(n),
        np.ones(n),
        np.ones(n),
        np.ones((n, 2), bool),
        positives,
        negatives,
        regions=regions,
        groups=groups or [],
    )


def at_levels(*levels: int, pixels: int = 10) -> np.ndarray:
    """`(N, 256)`: all defect pixels of part n have the byte `levels[n]`."""
    counts = np.zeros((len(levels), 256), np.int64)
    counts[np.arange(len(levels)), levels] = pixels
    return counts


def regions_in(rows: list[int], levels: np.ndarray) -> Regions:
    return Regions(np.array(rows), np.ones(len(rows)), np.ones(len(rows)), levels)


def test_the_level_is_the_last_before_the_first_miss_by_hand():
    # 0.9^n <= 0.05 from 29 parts on: without a miss 29 carry 10 %; the first part misses from byte 41 on.
    found = choose_level(table_of(at_levels(40, *[200] * 28)), Wanted(max_missed_pixels=0.1), 0.95)
    assert found.threshold == 40 / 255 and pixel_level(found.threshold) == 40
    assert found.promises == {"pixels": {"limit": 0.1, "confidence": 0.95, "groups": 29, "mean": 0.0}}
    assert found.background == 0.0 and found.parts == 29


def test_one_miss_is_carried_where_there_are_parts_enough_for_it():
    # e P(Binomial(n, 0.1) <= 1) = e (0.9^n + n 0.1 0.9^(n-1)) is at most 0.05 from 58 on.
    def tail(n: int) -> float:
        return e * (0.9**n + n * 0.1 * 0.9 ** (n - 1))

    n = next(n for n in range(29, 200) if tail(n) <= 0.05)
    for count, level in ((n, 200), (n - 3, 40)):
        found = choose_level(table_of(at_levels(40, *[200] * (count - 1))), Wanted(max_missed_pixels=0.1), 0.95)
        assert found.threshold == level / 255
    assert choose_level(table_of(at_levels(40, *[200] * (n - 1))), Wanted(max_missed_pixels=0.1), 0.95).promises[
        "pixels"
    ]["mean"] == pytest.approx(1 / n)


def test_parts_of_a_group_count_once_and_parts_without_defect_do_not():
    levels = at_levels(*[200] * 58)
    groups = [f"coil {i // 2}" for i in range(58)]
    assert choose_level(table_of(levels, groups=groups), Wanted(max_missed_pixels=0.1), 0.95).threshold == 200 / 255
    with pytest.raises(InputError, match="28 defective parts"):
        choose_level(table_of(levels[:56], groups=groups[:56]), Wanted(max_missed_pixels=0.1), 0.95)
    good = np.zeros((40, 256), np.int64)
    with pytest.raises(InputError, match="28 defective parts"):
        choose_level(table_of(np.vstack([levels[:28], good])), Wanted(max_missed_pixels=0.1), 0.95)


def test_a_defect_is_found_while_half_of_its_pixels_reach_the_level():
    # 28 clear defects, and one whose pixels lie at 30 and 90: half of them reach up to 90, more than half up to 30.
    half, more = np.zeros((1, 256), np.int64), np.zeros((1, 256), np.int64)
    half[0, [30, 90]] = 5
    more[0, [30, 90]] = 6, 4
    for odd, level in ((half, 90), (more, 30)):
        levels = np.vstack([odd, at_levels(*[200] * 28)])
        found = choose_level(
            table_of(levels, regions_in(list(range(29)), levels)), Wanted(max_missed_defects=0.1), 0.95
        )
        assert found.threshold == level / 255 and set(found.promises) == {"defects"}


def test_a_defect_of_bytes_0_is_missed_at_every_level():
    levels = np.vstack([at_levels(0), at_levels(*[200] * 28)])
    with pytest.raises(InputError, match="29 defective parts") as caught:
        choose_level(table_of(levels, regions_in(list(range(29)), levels)), Wanted(max_missed_defects=0.1), 0.95)
    assert "3.45 % at the lowest threshold" in str(caught.value)


def test_a_part_with_several_defects_misses_a_share_of_them():
    # Each of 29 parts has ten defects, one of which is lost from byte 51 on: 10 % missed is not below 10 %.
    ten = at_levels(50, *[200] * 9)
    regions = regions_in([row for row in range(29) for _ in range(10)], np.vstack([ten] * 29))
    table = table_of(np.vstack([ten.sum(axis=0)] * 29), regions)
    assert choose_level(table, Wanted(max_missed_defects=0.1), 0.95).threshold == 50 / 255
    many = table.select(np.tile(np.arange(29), 10))
    many.groups = [str(i) for i in range(len(many))]
    assert choose_level(many, Wanted(max_missed_defects=0.15), 0.95).threshold == 200 / 255


def test_of_two_promises_the_lower_threshold_is_taken_and_both_are_told_at_it():
    # A tenth of each part's pixels is lost from byte 21 on; no defect is before 201.
    levels = at_levels(*[200] * 40, pixels=9) + at_levels(*[20] * 40, pixels=1)
    table = table_of(levels, regions_in(list(range(40)), levels))
    assert choose_level(table, Wanted(max_missed_defects=0.1), 0.95).threshold == 200 / 255
    both = choose_level(table, Wanted(max_missed_pixels=0.1, max_missed_defects=0.1), 0.95)
    assert both.threshold == 20 / 255
    assert [row["mean"] for row in both.promises.values()] == [0.0, 0.0]
    assert any("both are kept at 90 %" in note for note in both.notes)


def test_the_notes_tell_what_the_threshold_costs_and_what_is_not_covered():
    found = choose_level(table_of(at_levels(5, *[200] * 28)), Wanted(max_missed_pixels=0.1), 0.95, min_area=30)
    assert found.background == 0.5
    told = " ".join(found.notes)
    assert "50 % of the background" in told and "below 30 pixels" in told and "at most 10 %" in told


@pytest.mark.parametrize(
    ("levels", "limit", "words"),
    [
        ([], 0.01, "no calibration part has a defect with a known mask, so nothing can be promised; 1 % at 95 %"),
        ([200] * 34, 0.01, "which carries 8.44 % at 95 % confidence; 1 % takes about 299 that miss no more, 265 more"),
        ([0] * 20 + [200] * 80, 0.1, "miss 20 % at the lowest threshold, so more parts would not help to promise 10 %"),
        ([0] + [200] * 39, 0.1, "miss 2.5 % at the lowest threshold, which carries"),
    ],
)
def test_what_the_parts_do_not_carry_is_told_with_what_it_takes(levels, limit, words):
    with pytest.raises(InputError) as caught:
        choose_level(table_of(at_levels(*levels)), Wanted(max_missed_pixels=limit), 0.95)
    assert words in str(caught.value)


@pytest.mark.parametrize(("lost", "count"), [(0, 34), (1, 60), (3, 100)])
def test_the_rate_that_is_said_to_be_carried_can_be_asked_for(lost, count):
    table = table_of(at_levels(*[0] * lost, *[200] * (count - lost)))
    with pytest.raises(InputError) as caught:
        choose_level(table, Wanted(max_missed_pixels=max(0.01, 1.1 * lost / count)), 0.95)
    rate = float(str(caught.value).split("which carries ")[1].split()[0]) / 100
    assert choose_level(table, Wanted(max_missed_pixels=rate), 0.95).threshold == 200 / 255
    with pytest.raises(InputError):
        choose_level(table, Wanted(max_missed_pixels=0.99 * rate), 0.95)


def test_what_no_number_of_parts_could_carry_is_told_from_their_number_alone():
    check_number(59, Wanted(max_missed_pixels=0.05), 0.95)
    check_number(0, Wanted(max_escape=0.05), 0.95)
    with pytest.raises(
        InputError, match=r"58 defective parts \(or groups\) carry 5.04 % at best .* takes 59 at least, 1 more"
    ):
        check_number(58, Wanted(max_missed_defects=0.05), 0.95)
    with pytest.raises(InputError, match="missed defect pixels: there is no defective part"):
        check_number(0, Wanted(max_missed_pixels=0.05), 0.95)


def test_as_many_parts_as_are_said_to_be_needed_do_carry_the_promise():
    part = at_levels(200, pixels=39) + at_levels(0, pixels=1)  # 2.5 % of its defect are never found
    with pytest.raises(InputError) as caught:
        choose_level(table_of(np.repeat(part, 40, axis=0)), Wanted(max_missed_pixels=0.1), 0.95)
    needed = int(str(caught.value).split("takes about ")[1].split()[0])
    assert 40 < needed < 200
    for count in (needed, needed + 1):
        table = table_of(np.repeat(part, count, axis=0))
        assert choose_level(table, Wanted(max_missed_pixels=0.1), 0.95).threshold == 200 / 255


SETS, PARTS, LIMIT = 300, 150, 0.1


def draw(rng: np.random.Generator, count: int, pixels: int = 20) -> np.ndarray:
    """`(count, 256)`: parts whose pixels lie around a level of their own, some parts far below the others."""
    centre = np.where(rng.random(count) < 0.15, rng.uniform(10, 90, count), rng.uniform(90, 240, count))
    byte = np.clip(np.rint(centre[:, None] + 25 * rng.normal(size=(count, pixels))), 0, 255).astype(np.int64)
    flat = np.bincount((byte + 256 * np.arange(count)[:, None]).ravel(), minlength=256 * count)
    return flat.reshape(count, 256)


def test_the_promised_mean_miss_is_kept_and_not_by_the_lowest_level():
    rng = np.random.default_rng(7)
    population = draw(rng, 20_000)
    below = (np.cumsum(population, axis=1) - population) / population.sum(axis=1, keepdims=True)
    risk = below.mean(axis=0)  # at each level the true mean share of a part's defect pixels that is missed
    levels = []
    for _ in range(SETS):
        table = table_of(population[rng.integers(len(population), size=PARTS)])
        levels.append(pixel_level(choose_level(table, Wanted(max_missed_pixels=LIMIT), 0.95).threshold))
    true = risk[np.array(levels)]
    assert (true > LIMIT).mean() <= 0.05 + 3 * sqrt(0.05 * 0.95 / SETS)
    assert min(levels) > 10 and true.mean() > 0.4 * LIMIT
    best = int(np.flatnonzero(risk <= LIMIT)[-1])
    assert np.median(levels) < best, "the level that just keeps the limit is not known from 150 parts"


def test_the_promised_defects_are_kept_where_parts_hold_several():
    rng = np.random.default_rng(8)
    defects = 2
    population = draw(rng, 5_000 * defects).reshape(5_000, defects, 256)
    reaching = population[:, :, ::-1].cumsum(axis=2)[:, :, ::-1]
    missed = (2 * reaching < population.sum(axis=2, keepdims=True)).mean(axis=1)
    risk = missed.mean(axis=0)
    levels, rows = [], [row for row in range(80) for _ in range(defects)]
    for _ in range(SETS // 2):
        mine = population[rng.integers(len(population), size=80)]
        table = table_of(mine.sum(axis=1), regions_in(rows, mine.reshape(-1, 256)))
        levels.append(pixel_level(choose_level(table, Wanted(max_missed_defects=LIMIT), 0.95).threshold))
    true = risk[np.array(levels)]
    assert (true > LIMIT).mean() <= 0.05 + 3 * sqrt(0.05 * 0.95 / (SETS // 2))
    assert min(levels) > 10 and true.mean() > 0.3 * LIMIT
