"""What may be asked of a calibration, and on which parts."""

from __future__ import annotations

import pytest

from defectctl.errors import InputError
from defectctl.evaluation.asked import Asked
from defectctl.evaluation.wanted import Wanted, check_parts

PROMISE, NONE = Wanted(max_escape=0.01), Wanted()


def about(part: str, train: int | None = 0, val: int | None = 0) -> dict:
    leak = {"train_images": train, "val_images": val, "text": "the model was trained on other data", "serious": False}
    return {"dataset": {"part": part, "images": 40}, "leak": leak}


@pytest.mark.parametrize(
    "name", ["max_escape", "max_overkill", "max_missed_pixels", "max_missed_defects", "prevalence"]
)
@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 5.0, float("nan")])
def test_shares_outside_0_and_1_are_refused_with_the_name_of_their_option(name, value):
    with pytest.raises(InputError) as caught:
        Wanted(**{name: value}).check()
    assert str(caught.value).startswith(f"--{name.replace('_', '-')} must lie between 0 and 1")


def test_what_is_promised():
    assert not NONE.promises and not Wanted(prevalence=0.1, unseen=True).promises
    assert PROMISE.promises_parts and not PROMISE.promises_pixels
    pixels = Wanted(max_missed_defects=0.1)
    assert pixels.promises_pixels and not pixels.promises_parts and pixels.promises
    for wanted in (NONE, PROMISE, pixels):
        wanted.check()


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (about("calibration"), PROMISE),
        (about("calibration"), NONE),
        (about("val", val=40), NONE),
        (about("calibration", None, None), Wanted(max_escape=0.01, unseen=True)),
        (about("train", None, None), Wanted(max_escape=0.01, unseen=True)),
        (about("val", None, None), Wanted(max_missed_pixels=0.01, unseen=True)),
        (about("calibration", None, None), NONE),
        (about("train"), PROMISE),  # of another split, whose training part did not train this model
    ],
)
def test_parts_that_may_be_used(told, wanted):
    check_parts(told, wanted)


@pytest.mark.parametrize(
    ("told", "wanted", "words"),
    [
        (about("test"), NONE, "part 'test' is for testing"),
        (about("test", None, None), Wanted(max_escape=0.01, unseen=True), "part 'test' is for testing"),
        (about("train", 40), NONE, "trained on 40 of the 40 parts"),
        (about("calibration", 1), NONE, "trained on 1 of the 40 parts"),
        (about("calibration", 1), Wanted(max_escape=0.01, unseen=True), "trained on 1 of the 40 parts"),
        (about("val", val=40), PROMISE, "but 40 of the 40 did"),
        (about("calibration", val=2), Wanted(max_missed_pixels=0.1, unseen=True), "but 2 of the 40 did"),
        (about("calibration", None, None), PROMISE, "trained on other data; if you are sure"),
        (about("train", None, None), NONE, "a threshold needs parts that the model has never seen"),
    ],
)
def test_parts_that_may_not_be_used(told, wanted, words):
    with pytest.raises(InputError) as caught:
        check_parts(told, wanted)
    text = str(caught.value)
    assert words in text and ("--calibration 0.2" in text or "--unseen" in text)


def test_questions_that_no_table_could_answer():
    Asked(cost_escape=0, cost_overkill=1).check()
    for asked, words in (
        (Asked(confidence=1), "--confidence"),
        (Asked(rounds=10), "rounds"),
        (Asked(cost_overkill=3), "--cost-overkill needs --cost-escape"),
        (Asked(cost_escape=float("inf"), cost_overkill=3), "--cost-escape must be a price"),
        (Asked(cost_escape=0, cost_overkill=0.0), "both 0"),
    ):
        with pytest.raises(InputError, match=words):
            asked.check()
