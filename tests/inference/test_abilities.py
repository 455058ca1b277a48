"""What follows from a model's tasks: its verdict with no threshold stored, and the files it can fill."""

from __future__ import annotations

import pytest

from defectctl.checkpoints.contract import Contract
from defectctl.errors import InputError
from defectctl.inference.abilities import (
    kinds_that_can_be_written,
    tasks_of,
    thresholds_in_force,
    warn_of_other_use,
)
from defectctl.inference.options import PredictOptions

ALL = ("masks", "overlays", "defect-maps")


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        (("segmentation",), {}),
        (("detection",), {"ng": 0.3}),
        (("decision",), {"ng": 0.5}),
        (("segmentation", "decision"), {"ng": 0.5}),
        (("segmentation", "detection"), {}),
    ],
)
def test_without_a_threshold_the_kind_of_model_decides(tasks, expected) -> None:
    assert thresholds_in_force({}, tasks, 0.3) == expected
    assert thresholds_in_force({"ng": 0.9}, tasks, 0.3) == {"ng": 0.9}
    assert thresholds_in_force({"pixel": 0.2}, tasks, 0.3) == {**expected, "pixel": 0.2}
    assert thresholds_in_force({"pixel": 0.2, "ok": 0.1, "ng": 0.9}, tasks, 0.3) == {"pixel": 0.2, "ok": 0.1, "ng": 0.9}


def test_what_is_asked_for_replaces_the_image_score_s_thresholds_only() -> None:
    stored, tasks = {"pixel": 0.2, "ok": 0.1, "ng": 0.9}, ("segmentation",)
    assert thresholds_in_force(stored, tasks, 0.3, {"ng": 0.4}) == {"pixel": 0.2, "ng": 0.4}
    assert thresholds_in_force(stored, tasks, 0.3, {"ng": 0.4, "pixel": 0.7}) == {"pixel": 0.2, "ng": 0.4}
    assert thresholds_in_force({"ng": 0.9}, tasks, 0.3, {"ng": 0.4, "pixel": 0.7}) == {"ng": 0.4}
    asked = thresholds_in_force(stored, tasks, 0.3, {"ng": 0.4})
    assert thresholds_in_force(stored, tasks, 0.3, asked) == asked, "asking for what is in force changes nothing"
    assert stored == {"pixel": 0.2, "ok": 0.1, "ng": 0.9}


@pytest.mark.parametrize(
    ("tasks", "kept", "word"),
    [
        (("segmentation",), ALL, ""),
        (("segmentation", "detection"), ALL, ""),
        (("detection",), ("overlays",), "no masks and defect-maps"),
        (("decision",), (), "whole parts"),
    ],
)
def test_what_cannot_be_written_is_left_out_and_said(tasks, kept, word, capsys) -> None:
    assert kinds_that_can_be_written(ALL, tasks, "net") == kept
    said = capsys.readouterr().err
    assert word in said and len(said.splitlines()) == (1 if word else 0)


def test_the_contract_names_the_model() -> None:
    assert tasks_of(Contract({"model": {"name": "yolov5s"}}, [], [])) == ("detection",)
    with pytest.raises(InputError, match="no model is called"):
        tasks_of(Contract({}, [], []))


@pytest.mark.parametrize(
    ("options", "precision", "words"),
    [
        ({}, "bf16", []),
        ({}, "float32", ["calibrated in bf16, this run is in float32"]),
        ({"min_area": 9}, "bf16", ["at least 4 pixels, this run takes 9"]),
        ({"min_area": 4}, "bf16", []),
        ({"thresholds": {"ng": 0.5}, "min_area": 9}, "float32", []),
    ],
)
def test_a_promise_is_warned_of_where_the_run_differs_from_the_calibration(capsys, options, precision, words) -> None:
    promised = {"promises": {"escape": {"limit": 0.01}}, "precision": "bf16"}
    warn_of_other_use(promised, precision, 4, PredictOptions(**options))
    said = capsys.readouterr().err
    assert all(word in said for word in words) and len(said.splitlines()) == len(words)
    warn_of_other_use({"promises": {}, "precision": "bf16"}, "float32", 4, PredictOptions(min_area=9))
    assert capsys.readouterr().err == ""
