"""Evaluating a model: a runner with known answers, the leak warnings, and agreement with masks of the same answers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from defectctl.checkpoints.contract import Contract
from defectctl.checkpoints.weights import save_model
from defectctl.config.presets import load_preset, preset_to_dict
from defectctl.dataset.store import load_split
from defectctl.errors import InputError
from defectctl.evaluation.evaluate import Hardware, check_hardware, evaluate, evaluate_masks
from defectctl.evaluation.leaks import find_leak
from defectctl.evaluation.part import load_part
from defectctl.imaging.reader import read_image
from defectctl.loading.pictures import PictureStore

CPU = Hardware("cpu", "float32", threads=1)


def contract_of(steel, split: str = "official", **changes) -> Contract:
    values = {
        "preset": preset_to_dict(load_preset("quick")),
        "classes": steel.dataset.class_names,
        "colours": [c.colour for c in steel.dataset.classes],
        "dataset": {
            "name": "steel",
            "fingerprint": steel.dataset.fingerprint,
            "split": split,
            "split_fingerprint": load_split(steel.dataset, split).fingerprint,
        },
    }
    return Contract(**{**values, **changes})


@pytest.fixture
def model(steel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Returns a function that writes a model file; its runner answers with `steel.guess` for every picture."""
    answers = {
        read_image(steel.dataset.image_path(s), "rgb").tobytes(): steel.guess(s.id) for s in steel.dataset.samples
    }

    def maps(pictures):
        found = [answers[p.tobytes()] for p in pictures]
        return [
            SimpleNamespace(
                class_map=torch.from_numpy(m.copy()), defect=torch.from_numpy(np.where(m > 0, 204, 20).astype(np.uint8))
            )
            for m in found
        ]

    def write(**changes) -> Path:
        path = tmp_path / "run" / "model.safetensors"
        save_model(path, {"w": torch.zeros(1)}, contract_of(steel, **changes))
        return path

    monkeypatch.setattr("defectctl.inference.runner.load_runner", lambda *_: (SimpleNamespace(maps=maps), None))
    return write


def test_a_model_and_its_masks_get_the_same_figures(steel, model, tmp_path: Path):
    result = evaluate(model(), steel.root, hardware=CPU)
    masks = evaluate_masks(steel.write_masks(tmp_path / "masks"), steel.root)
    assert result["metrics"] == masks["metrics"]
    assert result["parts"] == masks["parts"]
    folder = tmp_path / "run" / "evaluation" / "steel-official-test"
    assert result["out"] == str(folder)
    stored = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert stored["device"]["precision"] == "float32" and len(stored["model"]["sha256"]) == 64
    assert stored["leak"] == {"train_images": 0, "val_images": 0, "text": "", "serious": False}
    assert any("data set's own" in note for note in stored["notes"])


def test_small_components_and_thresholds_of_the_contract_are_used(steel, model):
    result = evaluate(model(min_area=10**6), steel.root, hardware=CPU)
    assert result["metrics"]["defect_iou"] == 0.0
    assert result["parts"]["escapes"] == result["parts"]["defective_parts"] > 0
    strict = evaluate(model(thresholds={"ng": 0.9}), steel.root, hardware=CPU)
    assert strict["metrics"]["defect_iou"] > 0, "a part's verdict changes no pixel"
    assert strict["parts"]["escapes"] == strict["parts"]["defective_parts"]


def test_pictures_that_are_needed_once_do_not_fill_the_memory(steel, model, tmp_path: Path, monkeypatch):
    kept: list[int] = []
    real = PictureStore._cached

    def cached(store, key, decode):
        array = real(store, key, decode)
        kept.append(len(store._cache))
        return array

    monkeypatch.setattr(PictureStore, "_cached", cached)
    evaluate(model(), steel.root, hardware=CPU)
    evaluate_masks(steel.write_masks(tmp_path / "masks"), steel.root)
    assert kept and not any(kept)


def test_a_leak_is_counted_and_warned_of_loudly(steel, model, capsys: pytest.CaptureFixture):
    result = evaluate(model(), steel.root, part="train", hardware=CPU)
    assert result["leak"]["train_images"] == 6 and result["leak"]["serious"]
    assert "warning: LEAK: the model was trained on 6 of these 6 images" in capsys.readouterr().err
    other = evaluate(model(), steel.root, split="swapped", part="test", hardware=CPU)
    assert other["leak"]["train_images"] == 4, "trained on another split whose train part holds this test part"


def test_validation_images_and_foreign_models_are_told_apart(steel):
    part = load_part(steel.root, None, "val")
    leak = find_leak(part, contract_of(steel))
    assert (leak["train_images"], leak["val_images"], leak["serious"]) == (0, 2, False)
    foreign = find_leak(part, contract_of(steel, dataset={"name": "other", "fingerprint": "00"}))
    assert foreign["train_images"] is None and "'other'" in foreign["text"]
    gone = {**contract_of(steel).dataset, "split": "fold-9"}
    assert "fold-9" in find_leak(part, contract_of(steel, dataset=gone))["text"]
    changed = {**contract_of(steel).dataset, "split_fingerprint": "00"}
    assert "has changed" in find_leak(part, contract_of(steel, dataset=changed))["text"]


def test_other_classes_are_refused_before_the_model_is_loaded(steel, model, tmp_path: Path):
    with pytest.raises(InputError, match="same order"):
        evaluate(model(classes=["inclusion", "scratches", "patches"]), steel.root, hardware=CPU)
    assert not (tmp_path / "run" / "evaluation").exists()


@pytest.mark.parametrize(
    ("hardware", "word"),
    [
        (Hardware("gpu"), "gpu"),
        (Hardware(precision="int4"), "int4"),
        (Hardware(batch_size=0), "--batch-size"),
        (Hardware(threads=0), "--threads"),
    ],
)
def test_wrong_options_are_refused(hardware: Hardware, word: str):
    with pytest.raises(InputError, match=word):
        check_hardware(hardware)


def test_a_file_in_the_way_of_out_is_named(steel, model, tmp_path: Path):
    (tmp_path / "busy").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="busy"):
        evaluate(model(), steel.root, out=tmp_path / "busy" / "out", hardware=CPU)
