"""Scoring a folder of masks: figures against scikit-learn, and everything that can be wrong with the folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from defectctl.errors import InputError
from defectctl.evaluation.evaluate import evaluate_masks
from defectctl.metrics.table import ImageTable


def pooled(steel, part: str) -> tuple[np.ndarray, np.ndarray]:
    ids = {"train": slice(0, 6), "test": slice(8, 12)}[part]
    names = sorted(steel.truth)[ids]
    truth = np.concatenate([steel.truth[n].ravel() for n in names])
    guess = np.concatenate([steel.guess(n).ravel() for n in names])
    return truth[truth != 255], guess[truth != 255]


def test_figures_equal_scikit_learn_and_all_files_are_written(steel, tmp_path: Path):
    from sklearn.metrics import accuracy_score, jaccard_score

    masks = steel.write_masks(tmp_path / "masks")
    result = evaluate_masks(masks, steel.root, out=tmp_path / "out")
    truth, guess = pooled(steel, "test")
    assert result["metrics"]["defect_iou"] == pytest.approx(jaccard_score(truth > 0, guess > 0))
    present = np.union1d(truth, guess)
    assert result["metrics"]["miou"] == pytest.approx(jaccard_score(truth, guess, labels=present, average="macro"))
    assert result["metrics"]["pixel_accuracy"] == pytest.approx(accuracy_score(truth, guess))
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "metrics.json",
        "table.npz",
        "images.csv",
        "confusion.png",
        "worst.png",
        "report.html",
        "pictures",
    }
    stored = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert next(iter(stored["metrics"])) == "defect_iou"
    assert stored["metrics"] == result["metrics"] and stored["dataset"]["fingerprint"] == steel.dataset.fingerprint
    assert stored["dataset"]["part"] == "test" and stored["model"] is None
    table = ImageTable.load(tmp_path / "out" / "table.npz")
    assert table.confusion.sum() == len(truth) and table.unknown.sum() == 4 * 64
    lines = (tmp_path / "out" / "images.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 5 and lines[2].endswith(",256,1,0,0") and lines[1].split(",")[1:4] == ["", "good", "OK"]


def test_masks_predicted_from_a_deeper_folder_are_found(steel, tmp_path: Path):
    result = evaluate_masks(steel.write_masks(tmp_path / "m", drop=1), steel.root, part="train", out=tmp_path / "o")
    assert result["dataset"]["images"] == 6


def test_a_good_part_left_alone_and_a_missed_one_are_counted(steel, tmp_path: Path):
    masks = steel.write_masks(tmp_path / "masks")
    names = sorted(steel.truth)[8:]
    defective = [n for n in names if ((steel.truth[n] > 0) & (steel.truth[n] < 255)).any()]
    blank = cv2.imencode(".png", np.zeros_like(steel.truth[defective[0]]))[1].tobytes()
    (masks / defective[0]).with_suffix(".png").write_bytes(blank)
    parts = evaluate_masks(masks, steel.root, out=tmp_path / "o")["parts"]
    assert parts["escapes"] == 1 and parts["defective_parts"] == len(defective) and parts["overkill"] == 0


def test_a_perfect_prediction_has_no_worst_images(steel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(steel, "guess", lambda n: np.where(steel.truth[n] == 255, 0, steel.truth[n]).astype(np.uint8))
    result = evaluate_masks(steel.write_masks(tmp_path / "masks"), steel.root, out=tmp_path / "o")
    assert result["metrics"]["defect_iou"] == 1.0
    assert not (tmp_path / "o" / "worst.png").exists()


def test_masks_of_0_and_255_are_refused_instead_of_scored(steel, tmp_path: Path):
    """Read as they are, 255 would mean "unknown" and every defect would vanish."""
    masks = steel.write_masks(tmp_path / "masks")
    name = sorted(steel.truth)[9]
    wrong = np.where(steel.guess(name) > 0, 255, 0).astype(np.uint8)
    (masks / name).with_suffix(".png").write_bytes(cv2.imencode(".png", wrong)[1].tobytes())
    with pytest.raises(InputError, match=r"теил_09\.png' holds the value 255"):
        evaluate_masks(masks, steel.root, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_small_and_shared_masks_are_refused(steel, tmp_path: Path):
    masks = steel.write_masks(tmp_path / "masks")
    name = sorted(steel.truth)[10]
    path = (masks / name).with_suffix(".png")
    path.write_bytes(cv2.imencode(".png", np.zeros((5, 5), np.uint8))[1].tobytes())
    with pytest.raises(InputError, match="5x5"):
        evaluate_masks(masks, steel.root, out=tmp_path / "out")
    path.unlink()
    with pytest.raises(InputError, match="no mask for 1 of the 4"):
        evaluate_masks(masks, steel.root, out=tmp_path / "out")
    with pytest.raises(InputError, match="is not a folder"):
        evaluate_masks(tmp_path / "nowhere", steel.root)


def test_unknown_parts_and_splits_are_named(steel, tmp_path: Path):
    masks = steel.write_masks(tmp_path / "masks")
    with pytest.raises(InputError, match=r"did you mean 'test'.*train, val, test"):
        evaluate_masks(masks, steel.root, part="tets")
    with pytest.raises(InputError, match="no split"):
        evaluate_masks(masks, steel.root, split="odd")


def test_masks_are_scored_without_torch(steel, tmp_path: Path):
    masks = steel.write_masks(tmp_path / "masks")
    code = (
        "import sys, pathlib; from defectctl.evaluation.evaluate import evaluate_masks\n"
        f"evaluate_masks(pathlib.Path({str(masks)!r}), pathlib.Path({str(steel.root)!r}))\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert (masks / "evaluation" / "steel-official-test" / "metrics.json").is_file()


def test_a_missing_mask_is_not_met_by_one_of_another_folder(steel, tmp_path: Path):
    masks = steel.write_masks(tmp_path / "masks")
    first = next(iter(sorted(p for p in masks.rglob("*.png") if p.parent != masks)))
    first.rename(masks / first.name)
    with pytest.raises(InputError, match="holds no mask for 1 of"):
        evaluate_masks(masks, steel.root, part="train", out=tmp_path / "o")
