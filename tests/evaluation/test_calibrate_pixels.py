"""Pixel thresholds chosen on calibration parts, and what they do to the thresholds of parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from calibration_toys import ESCAPES, QUICK, columns, refused, run

from defectctl.checkpoints.weights import read_contract
from defectctl.errors import InputError
from defectctl.evaluation.asked import Asked
from defectctl.evaluation.calibrate import calibrate_again
from defectctl.evaluation.scored import load_scored
from defectctl.evaluation.wanted import Wanted
from defectctl.inference.maps import pixel_level
from defectctl.metrics.operating_point import by_promise
from defectctl.metrics.table import ImageTable


def test_a_pixel_promise_stores_a_level_and_the_masks_follow_it(line, bench, capsys):
    path = bench.model()
    result = run(path, line, Wanted(max_missed_pixels=0.1))
    contract = read_contract(path)
    assert set(contract.thresholds) == {"pixel"} and bench.loads == 2
    level = pixel_level(contract.thresholds["pixel"])
    bad = [name for name in line.parts["calibration"] if line.truth[name].any()]
    assert level > 30 and sum(line.levels[name] < level for name in bad) < 0.1 * len(bad)
    found = sum(line.levels[name] >= level for name in bad)
    assert result["metrics"]["instances_found"] == found and result["metrics"]["instances"] == 80
    assert result["thresholds"] == contract.thresholds and result["calibration"]["method"] == "pixel"
    assert result["calibration"]["pixel"]["promises"]["pixels"]["groups"] == 60
    assert "thresholds of parts: none asked for, none stored" in capsys.readouterr().err


def test_the_level_that_was_stored_is_not_run_again(line, bench):
    path = bench.model()
    run(path, line, Wanted(max_missed_defects=0.1))
    first = read_contract(path).thresholds
    bench.broken = True
    run(path, line, Wanted(max_missed_defects=0.1))
    assert read_contract(path).thresholds == first and bench.loads == 2


def test_thresholds_of_parts_that_were_for_other_masks_are_removed_and_said_to_be(line, bench, capsys):
    path = bench.model()
    run(path, line)
    capsys.readouterr()
    run(path, line, Wanted(max_missed_defects=0.1))
    assert set(read_contract(path).thresholds) == {"pixel"}
    assert "were for other masks and are removed" in capsys.readouterr().err


def test_after_a_pixel_promise_the_same_parts_promise_nothing_about_parts(line, other, bench):
    path = bench.model()
    folder = Path(run(path, line, Wanted(max_missed_pixels=0.1))["out"])
    text = refused(path, line)
    assert "was chosen on 150 parts of this dataset" in text
    assert "give both promises in one command" in text
    before = path.read_bytes()
    with pytest.raises(InputError, match="would not hold"):
        calibrate_again(load_scored(folder), ESCAPES, QUICK)
    assert path.read_bytes() == before
    pixel = read_contract(path).thresholds["pixel"]
    record = read_contract(path).calibration["pixel"]
    run(path, line, Wanted())  # the best F1 promises nothing
    assert read_contract(path).thresholds["pixel"] == pixel
    run(path, other, Wanted(max_escape=0.1, unseen=True), split="official")
    contract = read_contract(path)
    assert contract.thresholds["pixel"] == pixel and "ng" in contract.thresholds
    assert contract.calibration["pixel"] == record and record["dataset"]["name"] == "line0"
    assert contract.calibration["dataset"]["name"] == "line1"


def test_both_promises_divide_the_parts_and_each_is_that_of_its_own(line, bench, monkeypatch):
    seen: dict[str, ImageTable | list] = {}
    from defectctl.evaluation import calibrate as module

    real_level, real_promise = module.choose_level, module.by_promise

    def level_of(table, *rest):
        seen["pixel"] = table
        return real_level(table, *rest)

    def promise_of(score, defective, groups, *rest):
        seen["score"] = score
        return real_promise(score, defective, groups, *rest)

    monkeypatch.setattr(module, "choose_level", level_of)
    monkeypatch.setattr(module, "by_promise", promise_of)
    path = bench.model()
    wanted = Wanted(max_escape=0.2, max_overkill=0.1, max_missed_pixels=0.2)
    result = run(path, line, wanted)
    mine = seen["pixel"].ids
    theirs = sorted(set(line.parts["calibration"]) - set(mine))
    assert len({name[:-5] for name in mine}) == 30 and all("bad" in name for name in mine)
    assert sum("good" in name for name in theirs) == 70, "good parts say nothing about misses"
    assert not {name[:-5] for name in mine} & {name[:-5] for name in theirs}, "no group is cut"
    contract = read_contract(path)
    level = pixel_level(contract.thresholds["pixel"])
    expected = by_promise(*columns(line, level, theirs), max_escape=0.2, max_overkill=0.1)
    assert {k: v for k, v in contract.thresholds.items() if k != "pixel"} == expected.thresholds
    assert sorted(seen["score"]) == sorted(columns(line, level, theirs)[0])
    assert contract.calibration["pixel"]["parts"] == len(mine) and result["dataset"]["images"] == 150
    run(path, line, wanted)
    assert seen["pixel"].ids == mine and read_contract(path).thresholds == contract.thresholds


def test_half_of_the_parts_that_do_not_carry_it_say_why_they_are_half(line, bench):
    path = bench.model()
    text = refused(path, line, Wanted(max_escape=0.06, max_missed_pixels=0.2))
    assert "30 defective groups" in text and "6 % takes 49, 19 more" in text
    assert "the parts are divided between the pixel threshold and the promise about parts" in text


def test_a_decision_does_not_follow_the_pixels_so_nothing_is_divided(line, bench, capsys):
    path = bench.model(name="segdecnet")
    run(path, line, Wanted(max_escape=0.06))
    ng = read_contract(path).thresholds["ng"]
    run(path, line, Wanted(max_missed_pixels=0.1))
    contract = read_contract(path)
    assert contract.thresholds["ng"] == ng and "pixel" in contract.thresholds
    assert contract.calibration["method"] == "promise" and contract.calibration["pixel"]["parts"] == 150
    assert "the earlier thresholds of parts stay" in capsys.readouterr().err
    run(path, line, Wanted(max_escape=0.06))
    assert read_contract(path).thresholds == contract.thresholds
    run(path, line, Wanted(max_escape=0.06, max_missed_pixels=0.06))
    assert read_contract(path).calibration["promises"]["escape"]["groups"] == 60
    assert read_contract(path).calibration["pixel"]["promises"]["pixels"]["groups"] == 60


def test_mixed_groups_are_divided_in_proportion(line, bench):
    from defectctl.evaluation.calibrate import _divided

    n = 60  # 20 groups of a defective and a good part, 10 defective parts and 10 good ones alone
    groups = [f"g{i // 2}" for i in range(40)] + [""] * 20
    states = [1, 0] * 20 + [1] * 10 + [0] * 10
    table = ImageTable(
        [f"{i:02d}" for i in range(n)],
        ["dent"],
        np.zeros((n, 2, 2)),
        np.zeros(n),
        np.zeros(n),
        states,
        np.ones((n, 2), bool),
        np.zeros((n, 256)),
        np.zeros((n, 256)),
        groups=groups,
    )
    wanted = Wanted(max_escape=0.1, max_missed_pixels=0.1)
    first, second = _divided(table, line.contract(), wanted, Asked())
    assert sorted([*first, *second]) == list(range(n))
    for rows in (first, second):
        assert sum(r < 40 for r in rows) == 20 and sum(40 <= r < 50 for r in rows) == 5
        assert all(r ^ 1 in rows for r in rows if r < 40), "no group is cut"
    alone = _divided(table, line.contract(), Wanted(max_missed_pixels=0.1), Asked())
    assert len(alone[0]) == n and len(alone[1]) == 0
