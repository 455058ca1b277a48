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
from defectctl.evaluation.evaluate import Hardware, check_hardware, choose_part, evaluate, evaluate_masks
from defectctl.evaluation.leaks import find_leak
from defectctl.evaluation.part import load_part
from defectctl.evaluation.result import RANKINGS
from defectctl.imaging.components import find_components
from defectctl.imaging.reader import read_image
from defectctl.inference.detections import FoundBoxes
from defectctl.inference.maps import Maps, empty_maps
from defectctl.loading.pictures import PictureStore
from defectctl.metrics.summary import all_metrics
from defectctl.metrics.table import ImageTable

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
            Maps(torch.from_numpy(m.copy()), torch.from_numpy(np.where(m > 0, 204, 20).astype(np.uint8))) for m in found
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
    ranked = {key: result["metrics"].pop(key) for key in RANKINGS}
    assert ranked["image_ap"] is not None and ranked["pixel_ap"] is not None
    # Every counted pixel was given 204 or 20 of 255; how often that was right is told bin by bin.
    assert [b["predicted"] for b in result["pixel_reliability"]["bins"]] == pytest.approx([20 / 255, 0.8])
    assert masks["pixel_reliability"] is None is masks["reliability"]
    assert [masks["metrics"].pop(key) for key in RANKINGS] == [None] * len(RANKINGS)
    for key in ("weighted_f", "s_measure", "regions", "region_classes"):  # a binary mask is no defect map
        assert result["metrics"].pop(key) is not None and not masks["metrics"].pop(key)
    assert result["metrics"] == masks["metrics"]
    assert result["metrics"]["instances"] > 0 and result["metrics"]["boundary_error"] > 0
    assert result["parts"] == masks["parts"]
    folder = tmp_path / "run" / "evaluation" / "steel-official-test"
    assert result["out"] == str(folder)
    stored = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert stored["device"]["precision"] == "float32" and len(stored["model"]["sha256"]) == 64
    assert stored["leak"] == {"train_images": 0, "val_images": 0, "text": "", "serious": False}


def boxes_of(mask: np.ndarray, score: float) -> FoundBoxes:
    """The boxes of a mask's components, all with the same score."""
    found = find_components(mask)[1]
    corners = np.array([c.box for c in found], np.float32).reshape(-1, 4)
    return FoundBoxes(corners, np.full(len(found), score, np.float32), np.array([c.label for c in found], np.int64))


def answering(steel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, answer, **changes) -> Path:
    """A model file that stands for the registry's `name` and answers `answer(id)`, a `Maps`, for every picture."""
    keys = {read_image(steel.dataset.image_path(s), "rgb").tobytes(): s.id for s in steel.dataset.samples}
    runner = SimpleNamespace(maps=lambda pictures: [answer(keys[p.tobytes()]) for p in pictures])
    monkeypatch.setattr("defectctl.inference.runner.load_runner", lambda *_: (runner, None))
    preset = preset_to_dict(load_preset("quick"))
    preset["model"], path = {"name": name}, tmp_path / "run" / "model.safetensors"
    save_model(path, {"w": torch.zeros(1)}, contract_of(steel, preset=preset, **changes))
    return path


def test_a_detector_is_held_against_the_components_of_masks(steel, monkeypatch, tmp_path: Path, capsys):
    def answer(name: str) -> Maps:
        maps = empty_maps(*steel.truth[name].shape, torch.device("cpu"))
        maps.boxes = boxes_of(steel.truth[name] if "08" not in name else steel.guess(name), 0.7)
        return maps

    path = answering(steel, monkeypatch, tmp_path, "yolov5s", answer)
    result = evaluate(path, steel.root, hardware=CPU)
    metrics = result["metrics"]
    assert result["tasks"] == ["detection"] and result["box_score"] == 0.25 and result["thresholds"] == {"ng": 0.25}
    assert metrics["map50"] == metrics["map"] == 1.0 and metrics["defect_iou"] is None and metrics["pixel_ap"] is None
    assert result["parts"]["escapes"] == result["parts"]["overkill"] == 0 and metrics["image_ap"] == 1.0
    files = {"table", "report", "images", "metrics"}
    assert set(result["files"]) == files, "no mask, no confusion; no mistake, no sheet"
    assert "mask" not in capsys.readouterr().err
    table = ImageTable.load(Path(result["files"]["table"]))
    again = all_metrics(table)
    assert {key: again[key] for key in ("map", "map50", "per_class")} == {
        key: metrics[key] for key in ("map", "map50", "per_class")
    }
    lines = Path(result["files"]["images"]).read_text(encoding="utf-8").splitlines()
    assert lines[0].endswith("unknown,boxes_tp,boxes_fp,boxes_fn") and lines[1].endswith(",0,0,0")


def test_wrong_boxes_come_onto_the_sheet(steel, monkeypatch, tmp_path: Path):
    def answer(name: str) -> Maps:
        maps = empty_maps(*steel.truth[name].shape, torch.device("cpu"))
        maps.boxes = FoundBoxes(np.array([[1, 1, 9, 9]], np.float32), np.array([0.9], np.float32), np.array([3]))
        return maps

    result = evaluate(answering(steel, monkeypatch, tmp_path, "yolov5s", answer), steel.root, hardware=CPU)
    assert Path(result["files"]["worst"]).stat().st_size > 10_000 and result["metrics"]["map50"] == 0.0
    assert any("boxes never found" in note for note in result["notes"])


def test_the_sheet_draws_just_the_true_boxes_that_were_scored(steel, monkeypatch, tmp_path: Path):
    def answer(name: str) -> Maps:
        maps = empty_maps(*steel.truth[name].shape, torch.device("cpu"))
        maps.boxes = FoundBoxes(np.array([[1, 1, 9, 9]], np.float32), np.array([0.9], np.float32), np.array([3]))
        return maps

    drawn: list = []
    monkeypatch.setattr("defectctl.reports.sheet.draw_sheet", lambda rows, *_: drawn.extend(rows))
    areas = [c.area for s in steel.dataset.samples[8:] for c in find_components(steel.truth[s.id])[1]]
    least = sorted(areas)[len(areas) // 2]
    path = answering(steel, monkeypatch, tmp_path, "yolov5s", answer, min_area=least)
    scored = sum(row["boxes"] for row in evaluate(path, steel.root, hardware=CPU)["metrics"]["per_class"].values())
    assert 0 < scored < len(areas) and sum(len(row.truth_boxes) for row in drawn) == scored


def test_a_decision_is_ranked_and_its_mistakes_are_drawn(steel, monkeypatch, tmp_path: Path):
    names = sorted(steel.truth)[8:]
    scores = dict(zip(names, (0.6, 0.9, 0.3, 0.8), strict=True))  # the first part is good, the others are not

    def answer(name: str) -> Maps:
        maps = empty_maps(*steel.truth[name].shape, torch.device("cpu"))
        maps.probability = scores[name]
        return maps

    result = evaluate(answering(steel, monkeypatch, tmp_path, "resnet18", answer), steel.root, hardware=CPU)
    metrics = result["metrics"]
    assert metrics["image_ap"] == pytest.approx((1 + 1 + 3 / 4) / 3) and metrics["fp_at_full_recall"] == 1
    assert metrics["image_auroc"] == pytest.approx(2 / 3)
    assert metrics["best_f1"] == {"f1": pytest.approx(6 / 7), "threshold": 0.3, "tp": 3, "fp": 1, "fn": 0, "tn": 0}
    assert result["thresholds"] == {"ng": 0.5}
    assert (result["parts"]["escapes"], result["parts"]["overkill"]) == (1, 1)
    assert metrics["map"] is None and metrics["defect_iou"] is None and "worst" in result["files"]


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


def test_a_model_is_evaluated_by_its_own_split_unless_the_data_are_others(steel):
    own = contract_of(steel, split="swapped")
    assert choose_part(own, steel.root, None, "test").split.name == "swapped"
    assert choose_part(own, steel.root, "official", "test").split.name == "official"
    foreign = contract_of(steel, dataset={**own.dataset, "fingerprint": "00"})
    assert choose_part(foreign, steel.root, None, "test").split.name == "official", "a split of another dataset's name"
    gone = contract_of(steel, dataset={**own.dataset, "split": "fold-9"})
    assert choose_part(gone, steel.root, None, "test").split.name == "official"
