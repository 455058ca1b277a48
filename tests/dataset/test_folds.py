"""Folds test what they are told to; the rest trains and validates with defective and good images on both sides."""

from __future__ import annotations

import pytest

from defectctl.dataset.folds import FoldPlan, fold_splits, k_fold_splits, with_calibration
from defectctl.dataset.types import Sample
from defectctl.errors import InputError


def make(groups, size, sha=str):
    return [
        Sample(f"g{g:02}/{i}.png", "", 8, 8, sha(g * size + i), "s", group=f"g{g:02}")
        for g in range(groups)
        for i in range(size)
    ]


def strata_of(samples, defective):
    return {sample.id: "1" if sample.id in defective else "good" for sample in samples}


@pytest.mark.parametrize("seed", range(5))
def test_a_tenth_of_the_training_groups_validates(seed):
    samples = make(50, 8)
    strata = strata_of(samples, {sample.id for sample in samples if sample.id.endswith("/0.png")})
    tests = {f"fold-{n}": [s.id for s in samples if int(s.group[1:]) % 5 == n] for n in range(5)}
    for split in fold_splits(FoldPlan(tests), samples, strata, seed):
        sets = {part: {i.split("/")[0] for i in ids} for part, ids in split.parts.items()}
        assert [len(sets[part]) for part in ("train", "val", "test")] == [36, 4, 10]
        assert sets["train"].isdisjoint(sets["val"]) and split.parts["test"] == tests[split.name]


@pytest.mark.parametrize("seed", range(10))
def test_few_defective_images_are_on_both_sides(seed):
    samples = make(30, 1)
    strata = strata_of(samples, {"g03/0.png", "g07/0.png"})
    (split,) = fold_splits(FoldPlan({"f": ["g00/0.png"]}), samples, strata, seed)
    for part in ("train", "val"):
        assert {strata[i] for i in split.parts[part]} == {"1", "good"}


def test_the_only_defective_group_stays_in_training():
    samples = make(30, 1)
    strata = strata_of(samples, {"g03/0.png"})
    for seed in range(5):
        (split,) = fold_splits(FoldPlan({"f": ["g00/0.png"]}), samples, strata, seed)
        assert "g03/0.png" in split.parts["train"]


def test_a_choice_of_positives_limits_defects_and_not_the_good():
    samples = make(20, 4)
    strata = strata_of(samples, {s.id for s in samples if s.id.endswith("/1.png")})
    test = [s.id for s in samples if s.group in ("g00", "g01")]
    chosen = [s.id for s in samples if s.group in ("g05", "g06", "g07")]
    plan = FoldPlan({"f": test}, {"f-positives-3": ("f", chosen)})
    _, limited = fold_splits(plan, samples, strata, 0)
    train = limited.parts["train"]
    assert sorted(i for i in train if strata[i] == "1") == ["g05/1.png", "g06/1.png", "g07/1.png"]
    assert len(train) == (18 - len(limited.parts["val"]) // 4) * 3 + 3 and limited.parts["val"]


@pytest.mark.parametrize("calibration", [0.0, 0.15])
def test_every_group_is_tested_once_in_k_folds(calibration):
    samples = make(40, 5)
    strata = strata_of(samples, {s.id for s in samples if int(s.group[1:]) % 4 == 0})
    splits = k_fold_splits(samples, strata, 0, 5, calibration)
    assert [split.name for split in splits] == [f"fold-{n}" for n in range(5)]
    tested = [i for split in splits for i in split.parts["test"]]
    assert sorted(tested) == [s.id for s in samples]
    for split in splits:
        groups = {part: {i.split("/")[0] for i in ids} for part, ids in split.parts.items()}
        assert sum(len(g) for g in groups.values()) == 40  # no group lies in two parts
        assert len(groups["test"]) == 8 and sum(int(g[1:]) % 4 == 0 for g in groups["test"]) == 2
        assert len(split.parts.get("calibration", [])) == pytest.approx(calibration * 200, abs=5)


def test_more_folds_than_groups_are_refused():
    with pytest.raises(InputError, match=r"--kfold 5 needs 5 .* there are 3"):
        k_fold_splits(make(3, 4), {}, 0, 5)


def test_calibration_takes_whole_groups_from_training_alone():
    samples = make(40, 5)
    strata = strata_of(samples, {s.id for s in samples if int(s.group[1:]) % 4 == 0})
    tests = {"fold-0": [s.id for s in samples if int(s.group[1:]) < 8]}
    (split,) = fold_splits(FoldPlan(tests), samples, strata, 0)
    aside = with_calibration(split, samples, strata, 0, 0.15)
    assert len(aside.parts["calibration"]) == 30 and aside.parts["test"] == tests["fold-0"]
    assert aside.parts["val"] == split.parts["val"]
    assert sorted(aside.parts["train"] + aside.parts["calibration"]) == split.parts["train"]
    groups = [{i.split("/")[0] for i in aside.parts[part]} for part in ("train", "calibration")]
    assert groups[0].isdisjoint(groups[1]) and any(strata[i] == "1" for i in aside.parts["calibration"])


def test_pasted_images_of_stated_folds_train_or_are_in_no_part():
    samples = make(60, 1)
    for i in range(50, 60):
        samples[i].pasted_from = tuple(samples[(i - 50) * 4 + 10 + k].id for k in range(3))
    strata = strata_of(samples, {s.id for s in samples[::3]})
    for seed in range(10):
        (split,) = fold_splits(FoldPlan({"f": [s.id for s in samples[:10]]}), samples, strata, seed)
        split = with_calibration(split, samples, strata, seed, 0.15)
        home = {i: part for part, ids in split.parts.items() for i in ids}
        for sample in samples[50:]:
            assert home.get(sample.id, "none") in ("train", "none")
            assert sample.id not in home or {home[i] for i in sample.pasted_from} == {"train"}


def test_few_images_and_much_calibration_leave_something_to_train_on():
    for split in k_fold_splits(make(100, 1), {}, 0, 2, 0.4):
        assert len(split.parts["train"]) >= len(split.parts["calibration"]) > 0
