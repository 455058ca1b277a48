"""An earlier evaluation's folder: read whole, or refused with one sentence; and when its scores may be used again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from evaluation_toys import scored_of, square, table_of

from defectctl.errors import InputError
from defectctl.evaluation.asked import Asked
from defectctl.evaluation.files import write_files
from defectctl.evaluation.result import build_result
from defectctl.evaluation.scored import ABOUT, Scored, is_scored, load_scored, saved_scores
from defectctl.fileio import write_bytes

DENT, NONE = square(20, (2, 2, 8, 8)), square(20)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An evaluation of two images."""
    monkeypatch.setattr("defectctl.reports.confusion.draw_confusion", lambda *more: write_bytes(more[2], b"matrix"))
    device = {"device": "cpu", "precision": "bf16"}
    scored = scored_of(table_of([DENT, NONE], [DENT, NONE], [0.9, 0.1], [1, 0]), device=device)
    write_files(tmp_path / "earlier", scored, build_result(scored, Asked(rounds=100)))
    return tmp_path / "earlier"


def change(folder: Path, **entries: Any) -> None:
    path = folder / "metrics.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    for key, value in entries.items():
        place, _, last = key.rpartition("__")
        (told[place] if place else told)[last] = value
    path.write_text(json.dumps(told), encoding="utf-8")


def test_what_was_written_is_read_back(folder: Path):
    assert is_scored(folder) and not is_scored(folder.parent)
    scored = load_scored(folder)
    stored = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert scored.about == {key: stored[key] for key in ABOUT} and scored.folder == folder
    assert scored.table.ids == ["00.png", "01.png"] and scored.name == "runs/a/model.safetensors"


@pytest.mark.parametrize(
    ("entries", "word"),
    [
        ({"leak": {}}, "leak.text"),
        ({"leak": None}, "leak"),
        ({"model": {}}, "model.file"),
        ({"model": None}, "model"),
        ({"masks": "m"}, "model"),
        ({"dataset__classes": ["dent"]}, "dataset.classes"),
        ({"dataset__images": "2"}, "dataset.images"),
        ({"scored__environment": None}, "scored.environment"),
        ({"own_thresholds": {"ng": "0.5"}}, "own_thresholds"),
        ({"tasks": "segmentation"}, "tasks"),
        ({"dataset__images": 3}, "interrupted"),
        ({"dataset__classes": [{"name": "scratch", "colour": [1, 2, 3]}]}, "scratch"),
    ],
)
def test_a_damaged_record_is_one_sentence(folder: Path, entries: dict, word: str):
    change(folder, **entries)
    with pytest.raises(InputError, match=word) as error:
        load_scored(folder)
    assert "evaluate again" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1, "metrics": {}}'])
def test_an_older_or_broken_record_is_one_sentence(folder: Path, text: str):
    (folder / "metrics.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"metrics\.json"):
        load_scored(folder)


@pytest.mark.parametrize("name", ["metrics.json", "table.npz"])
def test_a_folder_without_one_of_its_files_was_interrupted(folder: Path, name: str):
    (folder / name).unlink()
    assert is_scored(folder), "so that it is not taken for a model"
    with pytest.raises(InputError, match=f"no {name}: it was interrupted"):
        load_scored(folder)


def test_a_broken_table_is_one_sentence(folder: Path):
    data = (folder / "table.npz").read_bytes()
    (folder / "table.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"table\.npz"):
        load_scored(folder)


def test_scores_are_used_again_only_for_the_same_network_images_and_precision(folder: Path):
    dataset = load_scored(folder).about["dataset"]

    def found(network: str = "n", precision: str = "auto", **other: Any) -> Scored | None:
        return saved_scores(folder, network, {**dataset, **other}, precision)

    assert found() is not None and found(precision="bf16") is not None
    assert found(precision="float32") is None and found("another") is None
    assert found(fingerprint="g" * 64) is None and found(part="val") is None and found(split="fold-0") is None
    change(folder, leak={})
    assert found() is None, "a damaged one is made anew"
    assert saved_scores(folder.parent, "n", dataset) is None


def test_scores_of_masks_are_no_models(folder: Path):
    dataset = load_scored(folder).about["dataset"]
    change(folder, model=None, masks="predicted")
    assert load_scored(folder).name == "predicted" and saved_scores(folder, "n", dataset) is None
