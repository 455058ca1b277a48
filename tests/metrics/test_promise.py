"""Promised rates and risks: published numbers, exact enumeration, and thousands of simulated calibration sets."""

from __future__ import annotations

from math import comb, log, sqrt

import numpy as np
import pytest

from defectctl.errors import InputError
from defectctl.metrics.promise import (
    GroupScores,
    carries,
    escape_promise,
    group_scores,
    hoeffding_bentkus,
    instance_misses,
    order_statistic,
    overkill_promise,
    parts_needed,
    percent,
    pixel_misses,
    rate_bound,
    risk_bound,
    risk_promise,
)

SETS = 2000
ERROR = 3 * sqrt(0.05 * 0.95 / SETS)
"""Three standard errors of a share of 5 % over the simulated sets."""


def scores_of(lowest=(), highest=()) -> GroupScores:
    low, high = np.sort(np.asarray(lowest, float)), np.sort(np.asarray(highest, float))
    return GroupScores(low, high, len(low), len(high), 0)


def binomial_tail(count: int, n: int, rate: float) -> float:
    """P(Binomial(n, rate) <= count), summed term by term."""
    return sum(comb(n, i) * rate**i * (1 - rate) ** (n - i) for i in range(count + 1))


@pytest.mark.parametrize(
    ("rate", "confidence", "n"),
    # Wilks' 59 and 299, and the sizes of tables of tolerance limits.
    [(0.01, 0.95, 299), (0.05, 0.95, 59), (0.1, 0.95, 29), (0.05, 0.99, 90), (0.1, 0.9, 22), (0.5, 0.75, 2)],
)
def test_parts_needed_are_those_of_the_tables(rate, confidence, n) -> None:
    assert parts_needed(rate, confidence) == n
    assert order_statistic(n, rate, confidence) == 1 and order_statistic(n - 1, rate, confidence) == 0


def test_thirty_four_parts_carry_eight_point_four_per_cent() -> None:
    assert carries(34) == pytest.approx(0.0843, abs=5e-5)
    assert (1 - carries(34)) ** 34 == pytest.approx(0.05)
    assert carries(0) == 1.0 and carries(1) == pytest.approx(0.95)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_a_rate_that_is_carried_can_be_asked_for(confidence) -> None:
    for n in [1, 2, 3, 34, 59, 299, 99_999]:
        assert order_statistic(n, carries(n, confidence), confidence, at_most=1) == 1
        assert parts_needed(carries(n, confidence), confidence) == n


@pytest.mark.parametrize(("n", "rate"), [(59, 0.05), (93, 0.05), (300, 0.01), (473, 0.01), (100, 0.1)])
def test_rank_is_the_largest_whose_binomial_tail_is_small(n, rate) -> None:
    k = order_statistic(n, rate)
    assert binomial_tail(k - 1, n, rate) <= 0.05 < binomial_tail(k, n, rate)
    bound = rate_bound(k - 1, n)
    assert bound <= rate
    assert binomial_tail(k - 1, n, bound) == pytest.approx(0.05)


def test_bound_ends() -> None:
    assert rate_bound(0, 0) == rate_bound(5, 5) == 1.0
    assert rate_bound(0, 34) == pytest.approx(carries(34))


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.1, 5.0, float("nan")])
def test_shares_outside_zero_and_one_are_refused(bad) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        parts_needed(bad)
    with pytest.raises(InputError, match="confidence must lie"):
        carries(10, bad)
    with pytest.raises(InputError, match="escape rate"):
        escape_promise(scores_of([0.1]), bad)
    with pytest.raises(InputError, match="risk"):
        risk_promise(np.zeros((1, 1)), np.zeros(1), bad)


def test_a_group_counts_once_by_its_worst_part() -> None:
    score = [0.9, 0.2, 0.4, 0.7, 0.1, 0.8, 0.0]
    found = group_scores(score, [1, 1, 0, 1, 0, -1, 0], ["a", "a", "a", None, None, "b", ""])
    assert found.lowest.tolist() == [0.2, 0.7]
    assert found.highest.tolist() == [0.0, 0.1, 0.4]
    assert (found.defective, found.good, found.unknown) == (3, 3, 1)


@pytest.mark.parametrize("group", [np.array(["a", "", "a"]), np.array([3, 0, 3]), ["a", None, "a"], (0, 1, 0)])
def test_groups_have_any_names(group) -> None:
    assert group_scores([0.3, 0.2, 0.1], [1, 1, 1], group).lowest.tolist() == [0.1, 0.2]


def test_scores_must_be_numbers_where_the_state_is_known() -> None:
    with pytest.raises(InputError, match="1 of 3 image scores"):
        group_scores([np.nan, 0.1, np.inf], [-1, 0, 1])
    with pytest.raises(ValueError, match="2 groups for 3"):
        group_scores([0.1, 0.2, 0.3], [0, 0, 1], ["a", "b"])


def test_escape_threshold_by_hand() -> None:
    # 59 carry 5 % without a miss, 93 with one.
    ladder = np.arange(1, 94) / 100
    promise = escape_promise(scores_of(ladder[:59]), 0.05)
    assert (promise.k, promise.threshold) == (1, 0.01)
    promise = escape_promise(scores_of(ladder), 0.05)
    assert (promise.k, promise.threshold, promise.expected) == (2, 0.02, 2 / 94)
    assert promise.kept and promise.bound <= 0.05


def test_overkill_threshold_lies_just_above_the_part_that_sets_it() -> None:
    ladder = np.arange(1, 94) / 100
    promise = overkill_promise(scores_of(highest=ladder), 0.05)
    assert promise.k == 2 and (ladder >= promise.threshold).sum() == 1
    assert promise.threshold == np.nextafter(0.92, 1)


def test_overkill_threshold_above_one_and_above_zero() -> None:
    assert 1.0 < overkill_promise(scores_of(highest=np.ones(59)), 0.05).threshold < 1.0001
    above = overkill_promise(scores_of(highest=np.zeros(59)), 0.05).threshold
    assert 0 < above < np.float32(1e-44) and above == np.finfo(float).tiny


def test_a_promise_beyond_the_data_says_what_they_carry_and_what_it_takes() -> None:
    promise = escape_promise(scores_of(np.full(34, 0.5)))
    assert not promise.kept and promise.k == 0 and promise.bound is None and promise.expected is None
    assert promise.sentence() == (
        "escapes: 34 defective parts carry 8.44 % at 95 % confidence; 1 % takes 299, 265 more"
    )
    assert escape_promise(scores_of(np.full(34, 0.5)), 0.0844).kept
    nothing = overkill_promise(scores_of([0.5]), 0.1)
    assert not nothing.kept and nothing.carries == 1.0
    assert nothing.sentence().startswith("overkill: there is no good part among the calibration parts")
    assert nothing.sentence().endswith("10 % at 95 % confidence takes 29")


def test_sentences_of_promises_that_are_kept() -> None:
    promise = overkill_promise(scores_of(highest=np.arange(93) / 100), 0.05)
    assert promise.sentence() == (
        "overkill: at most 5 % of good parts from 0.91 at 95 % confidence (rank 2 of 93 good parts, 2.13 % expected)"
    )
    grouped = group_scores(np.full(118, 0.5), np.ones(118), np.repeat(np.arange(59), 2))
    assert "of defective groups below 0.5" in escape_promise(grouped, 0.05).sentence()
    assert "rank 1 of 59 defective groups (118 parts)" in escape_promise(grouped, 0.05).sentence()
    assert percent(0.9999) == "99.99 %"


def spread_of_the_mean(k: int, n: int) -> float:
    """Standard error, over the simulated sets, of the mean of a Beta(k, n + 1 - k) variable."""
    return sqrt(k * (n + 1 - k) / ((n + 1) ** 2 * (n + 2)) / SETS)


@pytest.mark.parametrize(("n", "rate", "k"), [(500, 0.01, 2), (93, 0.05, 2), (200, 0.05, 5)])
def test_promised_escapes_are_kept_and_not_by_stopping_everything(n, rate, k) -> None:
    # Squares of uniform numbers: the share of the population below t is the root of t.
    sets = np.random.default_rng(n).random((SETS, n)) ** 2
    found = [escape_promise(scores_of(scores), rate) for scores in sets]
    assert {promise.k for promise in found} == {k}
    escaping = np.sqrt([promise.threshold for promise in found])
    assert (escaping > rate).mean() <= 0.05 + ERROR
    assert escaping.mean() == pytest.approx(k / (n + 1), abs=4 * spread_of_the_mean(k, n))


def test_promised_overkill_is_kept_and_not_by_passing_everything() -> None:
    sets = np.random.default_rng(1).random((SETS, 200)) ** 2
    found = [overkill_promise(scores_of(highest=scores), 0.05) for scores in sets]
    stopped = 1 - np.sqrt([promise.threshold for promise in found])
    assert (stopped > 0.05).mean() <= 0.05 + ERROR
    assert stopped.mean() == pytest.approx(5 / 201, abs=4 * spread_of_the_mean(5, 200))


@pytest.mark.parametrize("kind", ["escape", "overkill"])
def test_promises_are_kept_where_scores_tie(kind) -> None:
    rng, n, rate = np.random.default_rng(2), 93, 0.05
    # Rounded to two decimals, a third of them exactly at one end: what a mask without a defect scores.
    population = np.where(rng.random(50_000) < 0.3, 0.0, rng.beta(4, 3, 50_000)).round(2)
    population = 1 - population if kind == "escape" else population
    sets = rng.choice(population, (SETS, n))
    if kind == "escape":
        limits = np.array([escape_promise(scores_of(s), rate).threshold for s in sets])
        wrong = np.searchsorted(np.sort(population), limits, side="left") / len(population)
    else:
        limits = np.array([overkill_promise(scores_of(highest=s), rate).threshold for s in sets])
        wrong = 1 - np.searchsorted(np.sort(population), limits, side="left") / len(population)
    assert (wrong > rate).mean() <= 0.05 + ERROR
    assert 0.2 * rate < wrong.mean() <= 2 / 94 + 0.002


def test_promise_is_kept_for_groups_whose_parts_err_together() -> None:
    rng, groups, rate = np.random.default_rng(3), 93, 0.05
    size, number = 4, np.repeat(np.arange(93), 4)

    def draw(count: int) -> np.ndarray:
        return np.clip(0.6 + 0.1 * rng.normal(size=(count, 1)) + 0.02 * rng.normal(size=(count, size)), 0, 1)

    worst = np.sort(draw(50_000).min(axis=1))
    limits, naive = [], []
    for _ in range(SETS):
        score = draw(groups).ravel()
        limits.append(escape_promise(group_scores(score, np.ones(len(score)), number), rate).threshold)
        naive.append(np.sort(score)[order_statistic(len(score), rate) - 1])
    escaping = np.searchsorted(worst, limits) / len(worst)
    assert (escaping > rate).mean() <= 0.05 + ERROR
    assert escaping.mean() == pytest.approx(2 / 94, abs=0.002)
    # What counting parts as independent would do.
    assert (np.searchsorted(worst, naive) / len(worst) > rate).mean() > 0.2


def test_hoeffding_bentkus_by_hand() -> None:
    # Without loss the binomial part is e 0.9^20, the exponential one 0.9^20.
    assert hoeffding_bentkus(0.0, 20, 0.1) == pytest.approx(0.9**20)
    assert hoeffding_bentkus(0.2, 20, 0.1) == 1.0
    distance = 0.05 * log(0.05 / 0.1) + 0.95 * log(0.95 / 0.9)
    tail = binomial_tail(50, 1000, 0.1)
    assert hoeffding_bentkus(0.05, 1000, 0.1) == pytest.approx(min(np.exp(-1000 * distance), np.e * tail))
    assert hoeffding_bentkus(np.full(30, 0.1).sum() / 30, 30, 0.4) == pytest.approx(
        min(np.exp(-30 * (0.1 * log(0.1 / 0.4) + 0.9 * log(0.9 / 0.6))), np.e * binomial_tail(3, 30, 0.4))
    )
    assert hoeffding_bentkus(1.0, 5, 0.5) == 1.0


def test_risk_bound_is_where_the_p_value_crosses() -> None:
    assert risk_bound(0.0, 299) == pytest.approx(1 - 0.05 ** (1 / 299), abs=1e-8)
    for mean, n in [(0.02, 400), (0.3, 50), (0.9, 10)]:
        bound = risk_bound(mean, n)
        assert mean < bound
        assert hoeffding_bentkus(mean, n, bound) <= 0.05 < hoeffding_bentkus(mean, n, bound - 1e-6)
    assert risk_bound(1.0, 10) == risk_bound(0.0, 0) == 1.0


def test_risk_threshold_is_the_last_before_the_first_failure() -> None:
    losses = np.zeros((299, 4))
    losses[:, 2] = 1.0  # a later threshold that does well again is never tried
    promise = risk_promise(losses, np.array([0.1, 0.2, 0.3, 0.4]), 0.01)
    assert promise.kept and promise.threshold == 0.2 and promise.mean == 0.0 and promise.bound <= 0.01
    promise = risk_promise(losses[:298], np.array([0.1, 0.2, 0.3, 0.4]), 0.01)
    assert not promise.kept and promise.needed == 299 and promise.bound == pytest.approx(carries(298), abs=1e-8)
    assert risk_promise(losses[:, :2], np.array([0.1, 0.2]), 0.01).threshold == 0.2


def test_groups_with_nothing_to_find_are_left_out_of_a_risk() -> None:
    losses = np.vstack([np.zeros((60, 2)), np.full((5, 2), np.nan)])
    assert risk_promise(losses, np.array([0.0, 1.0]), 0.05).groups == 60
    nothing = risk_promise(losses[60:], np.array([0.0, 1.0]), 0.05)
    assert not nothing.kept and nothing.groups == 0 and nothing.bound == 1.0


@pytest.mark.parametrize(
    ("losses", "thresholds"),
    [([[0.0, 1.1]], [0, 1]), ([[0.0, np.nan]], [0, 1]), ([[0.0, 0.1]], [1, 1]), ([[0.0]], [0, 1]), ([[]], [])],
)
def test_losses_that_are_none_are_a_programming_error(losses, thresholds) -> None:
    with pytest.raises(ValueError):
        risk_promise(np.array(losses), np.array(thresholds), 0.1)


@pytest.mark.parametrize(("graded", "n"), [(False, 300), (True, 300), (True, 60)])
def test_promised_risks_are_kept_and_not_by_the_lowest_threshold(graded, n) -> None:
    rng, limit, grid = np.random.default_rng(n + graded), 0.1, np.linspace(0, 0.4, 81)
    # A group loses the share `severity` once the threshold passes its score: its risk at t is t times the mean share.
    severity, factor = (rng.random((SETS, n, 1)), 0.5) if graded else (np.ones((SETS, n, 1)), 1.0)
    score = rng.random((SETS, n, 1))
    found = [risk_promise((s < grid) * v, grid, limit) for s, v in zip(score, severity, strict=True)]
    risk = factor * np.array([promise.threshold for promise in found])
    assert (risk > limit).mean() <= 0.05 + ERROR
    assert risk.mean() > (0.2 if n == 60 else 0.45) * limit
    if not graded:
        # The threshold is the last of the grid before one miss too many, so the next score is an order statistic.
        misses = max(round(promise.mean * n) for promise in found)
        assert risk.mean() == pytest.approx((misses + 1) / (n + 1), abs=0.0025 + 0.002)


def test_pixel_misses_by_hand() -> None:
    positives = np.zeros((4, 256), np.int64)
    positives[0, [0, 100, 255]] = [1, 2, 1]
    positives[1, 200] = 4
    positives[3, 50] = 3
    alone = pixel_misses(positives)
    assert alone.shape == (3, 256)
    assert alone[0, [0, 1, 100, 101, 255]].tolist() == [0, 0.25, 0.25, 0.75, 0.75]
    pooled = pixel_misses(positives, ["a", "a", "b", "c"])
    assert pooled.shape == (2, 256)
    assert pooled[0, [1, 101, 201]].tolist() == [1 / 8, 3 / 8, 7 / 8]
    assert pixel_misses(positives[2:3]).shape == (0, 256)


def test_instance_misses_by_hand() -> None:
    found = [0.9, -np.inf, 0.5, 0.2]
    misses = instance_misses(found, ["a", "a", None, "a"], np.array([0.0, 0.5, 0.6, 1.0]))
    assert misses.tolist() == [[1 / 3, 2 / 3, 2 / 3, 1], [0, 0, 1, 1]]
    assert instance_misses([], [], np.array([0.5])).shape == (0, 1)
