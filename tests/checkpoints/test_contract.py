"""The contract: what is written comes back, and damage is told."""

from __future__ import annotations

import json

import pytest

from defectctl.checkpoints.contract import SCHEMA, Contract
from defectctl.config.presets import load_preset, preset_to_dict
from defectctl.errors import InputError
from defectctl.imaging.pixel_rule import PixelRule


def contract() -> Contract:
    return Contract(
        preset=preset_to_dict(load_preset("quick")),
        classes=["Riß", "划痕"],
        colours=[(255, 0, 0), (0, 0, 255)],
        pixels=PixelRule(0, 4095),
        min_area=7,
        dataset={"name": "steel", "fingerprint": "ab"},
        training={"epoch": 3, "metric": "val/defect_iou", "value": 0.5},
        versions={"defectctl": "0"},
    )


def test_round_trip() -> None:
    before = contract()
    after = Contract.from_json(before.to_json())
    assert after == before
    assert after.preset_config() == load_preset("quick")
    assert json.loads(before.to_json())["pixels"] == {"black16": 0, "white16": 4095}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": SCHEMA + 1}, "was written by a newer defectctl"),
        ({"schema": "1"}, "holds no defectctl contract"),
        ({"classes": None}, "holds a damaged contract (see its classes)"),
        ({"min_area": "x"}, "see its min_area"),
        ({"classes": ["one"]}, "see its classes and colours"),
        ({"colours": [[1, 2], [3]]}, "its pixels or colours"),
        ({"pixels": {"blue": 1}}, "its pixels or colours"),
    ],
)
def test_damage_is_told(change: dict, words: str) -> None:
    values = {**json.loads(contract().to_json()), **change}
    with pytest.raises(InputError) as caught:
        Contract.from_json(json.dumps(values), "'m.safetensors'")
    assert words in str(caught.value)
    assert str(caught.value).startswith("'m.safetensors'")


def test_no_json_and_no_mapping() -> None:
    with pytest.raises(InputError, match="not valid JSON"):
        Contract.from_json("{")
    with pytest.raises(InputError, match="holds no defectctl contract"):
        Contract.from_json("[1]")


def test_stored_preset_that_no_longer_fits() -> None:
    odd = contract()
    odd.preset["train"]["bach_size"] = 3
    with pytest.raises(InputError, match=r"the preset stored in the model: train\.bach_size is not a known key"):
        odd.preset_config()


def test_contracts_from_before_there_was_a_calibration_are_read() -> None:
    values = json.loads(contract().to_json())
    del values["calibration"]
    assert Contract.from_json(json.dumps(values)) == contract()
    with pytest.raises(InputError, match="see its calibration"):
        Contract.from_json(json.dumps({**values, "calibration": None}))


def test_a_calibration_comes_back_as_it_was() -> None:
    before = contract()
    before.thresholds = {"ng": 1.0000000000000002, "ok": 0.1 + 0.2, "pixel": 17 / 255}
    before.calibration = {"method": "promise", "notes": ["Riß: höchstens 1 %"], "pixel": None}
    assert Contract.from_json(before.to_json()) == before


def test_what_is_found_does_not_depend_on_how_parts_are_judged() -> None:
    first, found = contract(), contract().found_by()
    first.thresholds, first.calibration = {"ng": 0.5, "ok": 0.2}, {"method": "f1"}
    first.dataset, first.training, first.versions = {}, {}, {}
    assert first.found_by() == found
    first.thresholds["pixel"] = 0.5
    assert first.found_by() != found


@pytest.mark.parametrize(
    "change", [{"min_area": 8}, {"classes": ["Riß", "x"]}, {"pixels": PixelRule(0, 65535)}, {"preset": {"model": {}}}]
)
def test_what_is_found_depends_on_the_rest(change: dict) -> None:
    changed = contract()
    for name, value in change.items():
        setattr(changed, name, value)
    assert changed.found_by() != contract().found_by()
