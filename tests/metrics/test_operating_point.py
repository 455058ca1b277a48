"""Operating points on hand-made parts: promises alone and together, costs, F1, and sets with one kind of part."""

from __future__ import annotations

import json

import numpy as np
import pytest

from defectctl.errors import InputError
from defectctl.metrics.image_level import image_metrics, verdicts
from defectctl.metrics.operating_point import OperatingPoint, by_best_f1, by_cost, by_promise, lowest_cost
from defectctl.metrics.table import ImageTable


def table_of(scores, defective) -> ImageTable:
    n = len(scores)
    pixels, known = np.zeros((n, 256)), np.ones((n, 2))
    ids = [str(i) for i in range(n)]
    return ImageTable(ids, ["x"], np.zeros((n, 2, 2)), np.zeros(n), scores, defective, known, pixels, pixels)


def parts(good, bad) -> tuple[np.ndarray, np.ndarray]:
    return np.array([*good, *bad], float), np.array([0] * len(good) + [1] * len(bad))


GOOD = np.arange(100) / 1000
"""0 to 0.099; at 5 % and 95 % the overkill threshold lies just above 0.098, the second highest."""
BAD = 0.6 + np.arange(100) / 1000
"""0.6 to 0.699; at 5 % and 95 % the escape threshold is 0.601, the second lowest."""


def test_escapes_alone_give_one_threshold() -> None:
    point = by_promise(*parts(GOOD, BAD), max_escape=0.05)
    assert point.thresholds == {"ng": 0.601} and point.method == "promise"
    assert point.figures == {"escapes": 1, "overkill": 0, "unsure": 0}
    assert point.asked == {"max_escape": 0.05, "confidence": 0.95}
    assert "nothing is promised about overkill: 0 of 100 good parts are NG" in point.notes


def test_overkill_alone_gives_one_threshold() -> None:
    point = by_promise(*parts(GOOD, BAD), max_overkill=0.05)
    assert point.thresholds == {"ng": np.nextafter(0.098, 1)}
    assert point.figures["overkill"] == 1
    assert "nothing is promised about escapes: 0 of 100 defective parts are OK" in point.notes


def test_between_two_promises_that_one_threshold_keeps_the_middle_is_taken() -> None:
    point = by_promise(*parts(GOOD, BAD), max_escape=0.05, max_overkill=0.05)
    assert point.thresholds == {"ng": pytest.approx((0.098 + 0.601) / 2)}
    assert point.figures == {"escapes": 0, "overkill": 0, "unsure": 0}
    assert any("90 % at least" in note for note in point.notes)


def test_two_promises_on_equal_scores_take_the_one_threshold_left() -> None:
    above = np.nextafter(0.5, 1)
    point = by_promise(*parts([0.5] * 59, [above] * 59), max_escape=0.05, max_overkill=0.05)
    assert point.thresholds == {"ng": above}
    assert point.figures == {"escapes": 0, "overkill": 0, "unsure": 0}


def test_scores_between_two_promises_are_unsure() -> None:
    # good 512 to 611, defective 562 to 661 of 1024: the second highest good is 610, the second lowest defective 563
    score, state = parts(np.arange(512, 612) / 1024, np.arange(562, 662) / 1024)
    point = by_promise(score, state, max_escape=0.05, max_overkill=0.05)
    assert point.thresholds == {"ok": 563 / 1024, "ng": np.nextafter(610 / 1024, 1)}
    assert point.figures == {"escapes": 1, "overkill": 1, "unsure": 96}
    assert (verdicts(table_of(score, state), point.thresholds) == 1).sum() == 96
    assert any("are UNSURE and go to a person (48 % of" in note for note in point.notes)


def test_a_promise_that_cannot_be_kept_leaves_no_thresholds() -> None:
    point = by_promise(*parts(GOOD, BAD[:34]), max_escape=0.01, max_overkill=0.05)
    assert not point.chosen and point.thresholds == {} and point.figures == {}
    assert point.promises["overkill"].kept and not point.promises["escape"].kept
    assert "escapes: 34 defective parts carry 8.44 % at 95 % confidence; 1 % takes 299, 265 more" in point.notes
    assert any("can be kept, but only alone" in note for note in point.notes)


def test_with_good_parts_only_overkill_can_be_promised_and_nothing_else() -> None:
    point = by_promise(GOOD, np.zeros(100), max_overkill=0.05)
    assert point.thresholds == {"ng": np.nextafter(0.098, 1)}
    assert "there is no defective part among the calibration parts: nothing is said about escapes" in point.notes
    assert not by_promise(GOOD, np.zeros(100), max_escape=0.05).chosen
    assert not by_cost(GOOD, np.zeros(100), 100, 1).chosen and not by_best_f1(GOOD, np.zeros(100)).chosen


def test_with_defective_parts_only_escapes_can_be_promised_and_nothing_else() -> None:
    point = by_promise(BAD, np.ones(100), max_escape=0.05)
    assert point.thresholds == {"ng": 0.601}
    assert "there is no good part among the calibration parts: nothing is said about overkill" in point.notes
    assert not by_promise(BAD, np.ones(100), max_overkill=0.05).chosen


@pytest.mark.parametrize("state", [[], [-1, -1]])
def test_no_part_of_known_state_is_met(state) -> None:
    score = np.full(len(state), 0.5)
    states = np.array(state, np.int8)
    both = by_promise(score, states, max_escape=0.05, max_overkill=0.05)
    for point in (both, by_cost(score, states, 1, 1), by_best_f1(score, states)):
        assert not point.chosen and any("there is no defective" in note for note in point.notes)
        assert point.parts["unknown"] == len(state)
        json.dumps(point.to_dict(), allow_nan=False)


def test_unknown_parts_are_left_out_and_said_to_be() -> None:
    score, state = parts(GOOD, BAD)
    point = by_promise(np.append(score, [0.0, 1.0]), np.append(state, [-1, -1]), max_escape=0.05)
    assert point.thresholds == {"ng": 0.601} and point.figures["escapes"] == 1
    assert point.notes[0].startswith("2 parts of which nobody knows")


def test_groups_count_once() -> None:
    score, state = parts(GOOD, BAD)
    group = [f"coil {i // 2}" for i in range(200)]
    point = by_promise(score, state, group, max_escape=0.05)
    assert not point.chosen and point.groups == {"defective": 50, "good": 50}
    point = by_promise(score, state, group, max_escape=0.06)
    assert point.thresholds == {"ng": 0.6}
    assert any(note.startswith("a group counts once") for note in point.notes)


def test_promises_that_stop_or_pass_everything_say_so() -> None:
    stopping = by_promise(*parts(GOOD, [0.0] * 5 + [0.9] * 95), max_escape=0.05)
    assert stopping.thresholds == {"ng": 0.0} and stopping.figures["overkill"] == 100
    assert any(note.startswith("no part can be OK") for note in stopping.notes)
    passing = by_promise(*parts([1.0] * 5 + [0.1] * 95, BAD), max_overkill=0.05)
    assert passing.thresholds["ng"] > 1 and passing.figures["escapes"] == 100
    assert any(note.startswith("no part can be NG") for note in passing.notes)


def test_without_a_rate_there_is_nothing_to_promise() -> None:
    with pytest.raises(InputError, match="a promise needs a rate"):
        by_promise(*parts(GOOD, BAD))


@pytest.mark.parametrize("digits", [2, 17])
def test_thresholds_decide_the_same_after_json(digits) -> None:
    rng = np.random.default_rng(digits)
    score, state = parts(rng.beta(2, 5, 200).round(digits), rng.beta(5, 2, 200).round(digits))
    points = [
        by_promise(score, state, max_escape=0.05, max_overkill=0.05),
        by_promise(score, state, max_overkill=0.02),
        by_cost(score, state, 50, 1, 0.01),
        by_best_f1(score, state),
    ]
    for point in points:
        stored = json.loads(json.dumps(point.to_dict(), allow_nan=False))
        assert stored["thresholds"] == point.thresholds
        found = image_metrics(table_of(score, state), stored["thresholds"])
        assert all(found[key] == point.figures[key] for key in ("escapes", "overkill", "unsure"))
    promised = json.loads(json.dumps(points[0].to_dict()))["promises"]["escape"]
    assert promised["k"] == 5 and promised["groups"] == 200 and promised["bound"] <= 0.05


def test_to_dict_is_a_copy() -> None:
    point = OperatingPoint("f1", {"ng": 0.5})
    point.to_dict()["thresholds"]["ng"] = 1
    assert point.thresholds == {"ng": 0.5}


def test_lowest_cost_by_hand() -> None:
    # good 0.1 0.3 0.6, defective 0.4 0.8
    score, state = parts([0.1, 0.3, 0.6], [0.4, 0.8])
    dear = lowest_cost(score, state, 10, 1)
    assert dear.threshold == pytest.approx(0.35) and (dear.tp, dear.fp, dear.fn, dear.tn) == (2, 1, 0, 2)
    assert dear.cost_per_part == pytest.approx(1 / 5)
    assert dear.cost_all_ng == pytest.approx(3 / 5) and dear.cost_all_ok == pytest.approx(20 / 5)
    cheap = lowest_cost(score, state, 1, 10)
    assert cheap.threshold == pytest.approx(0.7) and (cheap.tp, cheap.fp, cheap.fn, cheap.tn) == (1, 0, 1, 3)


def test_equal_costs_let_fewer_defective_parts_escape() -> None:
    score, state = parts([0.1, 0.3, 0.6], [0.4, 0.8])
    for unit in (1.0, 0.1, 0.3, 7.7):
        assert lowest_cost(score, state, unit, unit).fn == 0


def test_cost_is_that_of_every_threshold_tried() -> None:
    rng = np.random.default_rng(5)
    score, state = rng.random(60).round(1), rng.integers(-1, 2, 60)
    bad, good = score[state == 1], score[state == 0]
    for share in (None, 0.02, 0.5):
        weight = len(bad) / (len(bad) + len(good)) if share is None else share
        tried = [
            weight * 7 * (bad < t).mean() + (1 - weight) * 2 * (good >= t).mean() for t in np.linspace(-0.05, 1.05, 12)
        ]
        found = lowest_cost(score, state, 7, 2, share)
        assert found.cost_per_part == pytest.approx(min(tried)) and found.prevalence == pytest.approx(weight)
        assert found.fn == (bad < found.threshold).sum() and found.fp == (good >= found.threshold).sum()


def test_prevalence_moves_the_threshold() -> None:
    score, state = parts([0.1, 0.3, 0.6], [0.4, 0.8])
    assert lowest_cost(score, state, 10, 1, 0.001).threshold > lowest_cost(score, state, 10, 1, 0.4).threshold
    assert any("40 % of all parts" in note for note in by_cost(score, state, 10, 1).notes)


def test_prices_at_which_everything_is_stopped_or_passed() -> None:
    score, state = parts([0.2, 0.6], [0.0, 0.5])
    stop = by_cost(score, state, 100, 1)
    assert stop.thresholds == {"ng": 0.0} and any("call every one of these parts NG" in note for note in stop.notes)
    passed = by_cost(*parts([0.2, 1.0], [0.1, 0.5]), 1, 100, 0.5)
    assert passed.thresholds["ng"] > 1 and any("call every one of these parts OK" in note for note in passed.notes)


@pytest.mark.parametrize("prices", [(-1, 1), (1, float("nan")), (float("inf"), 1), (0, 0), (1, 1, 0.0), (1, 1, 2.0)])
def test_prices_that_are_none_are_refused(prices) -> None:
    with pytest.raises(InputError):
        lowest_cost(*parts(GOOD, BAD), *prices)


def test_threshold_between_neighbouring_numbers_lies_above_the_lower() -> None:
    low = 0.5
    high = np.nextafter(low, 1)
    assert lowest_cost(*parts([low], [high]), 1, 1).threshold == high


def test_best_f1_by_hand() -> None:
    # from 0.4 on: 2 hits, 1 alarm, no miss: 4 / 5; from 0.8 on: 1 hit, 1 miss: 2 / 3
    point = by_best_f1(*parts([0.1, 0.3, 0.6], [0.4, 0.8]))
    assert point.thresholds == {"ng": 0.4}
    assert point.figures == {"escapes": 0, "overkill": 1, "unsure": 0, "f1": pytest.approx(0.8)}
    assert any("no promise" in note for note in point.notes)
