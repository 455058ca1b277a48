"""`defectctl evaluate` on what was evaluated before: other questions, two evaluations, folds; and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from defectctl.cli.app import main
from defectctl.dataset.splits import split_fingerprint
from defectctl.dataset.store import load_dataset, load_split
from defectctl.dataset.types import ClassInfo, Known, Sample, Source, Split
from defectctl.dataset.writer import DatasetWriter
from defectctl.fileio import sha256_bytes, write_bytes
from defectctl.imaging.masks import encode_mask

COLOURS = [(230, 159, 0)]
NAMES = [f"{n}.png" for n in range(12)]
"""Every third part is good; the others have a scratch of six pixels."""


def scratch(name: str, found: int = 6) -> np.ndarray:
    mask = np.zeros((10, 10), np.uint8)
    mask[2, :found] = int(name.split(".")[0]) % 3 > 0
    return mask


def split_of(name: str, test: list[str]) -> Split:
    parts = {"train": [n for n in NAMES if n not in test], "val": [], "test": test}
    return Split(name, "seeded", 0, parts, split_fingerprint(parts))


@pytest.fixture
def quick_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matrix and sheet are slow to draw, and tested elsewhere."""
    for place, at in (("confusion.draw_confusion", 2), ("sheet.draw_sheet", 3)):
        monkeypatch.setattr(f"defectctl.reports.{place}", lambda *more, at=at: write_bytes(more[at], b"drawn"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 12 parts with two folds; in ./perfect and ./poor masks of them (the poor ones two pixels each)."""
    root = tmp_path_factory.mktemp("built")
    sources = {"raw": Source("raw", "mask-folders", Known(mask=(1,)))}
    with DatasetWriter(root / "data", "tiny", [ClassInfo("scratch", COLOURS[0])], sources) as writer:
        for n, name in enumerate(NAMES):
            image = cv2.imencode(".png", np.full((10, 10), 90 + n, np.uint8))[1].tobytes()
            mask = scratch(name)
            sample = Sample(name, "", 10, 10, sha256_bytes(image), "raw")
            writer.add(sample, image, encode_mask(mask, COLOURS))
            write_bytes(root / "perfect" / name, encode_mask(mask, COLOURS))
            write_bytes(root / "poor" / name, encode_mask(scratch(name, 2), COLOURS))
        splits = [split_of("fold-0", NAMES[::2]), split_of("fold-1", NAMES[1::2]), split_of("all", NAMES)]
        writer.finish(splits, "all", {})
    return root


@pytest.fixture
def data(built: Path, tmp_path: Path, quick_drawings: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it in the working directory."""
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEFECTCTL_MODEL", raising=False)
    return tmp_path / "data"


def run(capsys: pytest.CaptureFixture, *arguments: str, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert main(["evaluate", *arguments]) == code
    return tuple(capsys.readouterr())


def document(capsys: pytest.CaptureFixture, *arguments: str) -> dict:
    def refuse(word: str):
        raise AssertionError(word)

    return json.loads(run(capsys, *arguments, "--json")[0], parse_constant=refuse)


@pytest.fixture
def saved(data: Path, built: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The folders of evaluations of both, made once."""
    monkeypatch.chdir(built)
    for name in ("perfect", "poor"):
        if not Path(name, "evaluation").exists():
            assert main(["evaluate", "--masks", name, "--quiet"]) == 0
        shutil.copytree(built / name / "evaluation", data.parent / name / "evaluation", dirs_exist_ok=True)
    monkeypatch.chdir(data.parent)
    capsys.readouterr()
    return tuple(str(Path(name, "evaluation", "tiny-all-test")) for name in ("perfect", "poor"))


def test_a_saved_evaluation_answers_without_the_dataset(data: Path, saved, capsys):
    shutil.rmtree(data)
    for name in NAMES:
        Path("poor", name).unlink()
    out, err = run(capsys, saved[1], "--cost-escape", "500", "--cost-overkill", "20", "--confidence", "0.9")
    assert "no network is run" in err and "cost: 0.00 for 12 parts" in err and "90 % interval" in out
    assert out.index("defect IoU") < out.index("escapes") < out.index("overkill") < out.index("mIoU")
    result = document(capsys, "--model", saved[1], "--out", "o", "--threshold", "0.5")
    assert result["out"] == "o" and result["metrics"]["defect_iou"] == pytest.approx(2 / 6)
    assert result["metrics"]["instance_recall"] == 0.0 and result["thresholds"] == {"ng": 0.5}
    assert {p.name for p in Path("o").iterdir()} == {p.name for p in Path(saved[1]).iterdir()}


def test_two_evaluations_are_compared_on_screen_and_as_json(data: Path, saved, capsys):
    out, err = run(capsys, *saved, "--out", "c", "--cost-escape", "5", "--cost-overkill", "1")
    words = [line.split() for line in out.splitlines()]
    iou = next(line for line in words if line[:1] == ["defect_iou"])
    assert iou[1:4] == ["1.000", "0.333", "-0.667"] and iou[-1] in ("first", "open")
    image = next(line for line in words if line[:1] == ["image_iou"])
    assert image[-1] == "first" and "first: perfect" in out and "second: poor" in out and "image_ap" not in out
    assert "not corrected" in err and "cost of the second: 0.00" in err and str(Path("c")) in err
    result = document(capsys, *reversed(saved))
    assert result["differences"]["image_iou"]["better"] == "second"
    stored = json.loads(Path("c", "comparison.json").read_text(encoding="utf-8"))
    assert stored["differences"]["defect_iou"]["first"] == 1.0 and not Path("c", "metrics.json").exists()


def test_folds_are_pooled_to_the_figures_of_all(data: Path, saved, capsys):
    folds = [document(capsys, "--masks", "poor", "--split", f"fold-{n}", "--out", f"f{n}")["out"] for n in (0, 1)]
    pooled = document(capsys, "--pool", *folds, "--out", "pooled")
    whole = document(capsys, saved[1])
    assert pooled["metrics"] == whole["metrics"] and pooled["parts"] == whole["parts"]
    assert pooled["dataset"]["split"] == "fold-0, fold-1" and pooled["dataset"]["images"] == 12
    assert document(capsys, "pooled")["metrics"] == whole["metrics"]
    assert "one of the evaluations" in run(capsys, "--pool", *folds, "--out", "f0", code=2)[1]
    assert "more than one" in run(capsys, "--pool", "f0", "f0", "--out", "p", code=2)[1]
    assert "two evaluations or more" in run(capsys, "--pool", "f0", "--out", "p", code=2)[1]


def write_model(folder: str, data: Path, split: str) -> Path:
    import torch

    from defectctl.checkpoints.contract import Contract
    from defectctl.checkpoints.weights import save_model
    from defectctl.config.presets import load_preset, preset_to_dict

    dataset = load_dataset(data)
    trained = {"name": "tiny", "fingerprint": dataset.fingerprint, "split": split}
    trained["split_fingerprint"] = load_split(dataset, split).fingerprint
    contract = Contract(preset_to_dict(load_preset("quick")), ["scratch"], COLOURS, dataset=trained)
    save_model(Path(folder) / "model.safetensors", {"w": torch.zeros(1)}, contract)
    return Path(folder)


def test_models_of_folds_are_scored_each_on_its_own_test_part(data: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    import torch

    from defectctl.inference.maps import Maps

    def maps(pictures):
        masks = [torch.from_numpy(scratch(f"{int(p[0, 0, 0]) - 90}.png", 4)) for p in pictures]
        return [Maps(mask, mask * 200) for mask in masks]

    monkeypatch.setattr("defectctl.inference.runner.load_runner", lambda *_: (SimpleNamespace(maps=maps), None))
    models = [str(write_model(f"runs/m-{n}", data, f"fold-{n}")) for n in (0, 1)]
    result = document(capsys, "--pool", *models, "--out", "pooled", "--device", "cpu", "--threads", "1")
    assert result["dataset"]["images"] == 12 and result["metrics"]["defect_iou"] == pytest.approx(4 / 6)
    assert result["leak"] == {"train_images": 0, "val_images": 0, "text": "", "serious": False}
    assert len(result["model"]["folds"]) == 2 and Path(models[1], "evaluation", "tiny-fold-1-test").is_dir()
    out, err = run(capsys, models[0], "runs/m-1/evaluation/tiny-fold-1-test", code=2)
    assert "do not hold the same images" in err and out == ""
    err = run(capsys, *models, "--split", "all", "--device", "cpu", "--threads", "1")[1]
    assert "LEAK" in err and "warning: 'runs" in err.replace("\\", "/")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["{0}", "--part", "val"], "--part chooses images"),
        (["{0}", "--data", "data"], "--data chooses images"),
        (["{0}", "{1}", "--split", "all"], "--split chooses images"),
        (["{0}", "--model", "x"], "not both"),
        (["{0}", "--masks", "poor"], "--masks stands alone"),
        (["--masks", "poor", "--pool"], "--masks stands alone"),
        (["--masks", "poor", "--calibrate"], "--masks stands alone"),
        (["{0}", "{1}", "{0}"], "3 evaluations are given"),
        (["{0}", "nowhere"], "no earlier evaluation"),
        (["{0}", "data"], "no earlier evaluation"),
        (["--pool", "{0}", "{1}"], "--pool needs --out"),
        (["--pool", "--out", "o"], "two evaluations or more"),
        (["{0}", "{1}", "--calibrate"], "one model"),
        (["{0}", "--calibrate", "--threshold", "0.5"], "not both"),
        (["{0}", "--max-escape", "0.01"], "only --calibrate"),
        (["{0}", "--unseen"], "only --calibrate"),
        (["{0}", "--calibrate", "--prevalence", "0.1"], "--prevalence weighs costs"),
        (["{0}", "--cost-escape", "5"], "--cost-overkill"),
        (["{0}", "--cost-escape", "-5", "--cost-overkill", "1"], "--cost-escape"),
        (["{0}", "--cost-escape", "nan", "--cost-overkill", "1"], "--cost-escape"),
        (["{0}", "--confidence", "95"], "--confidence"),
        (["{0}", "--confidence", "nan"], "--confidence"),
        (["{0}", "--threshold", "1.5"], "--threshold"),
        (["{0}", "--threshold", "nan"], "--threshold"),
        (["{0}", "--out", "data/dataset.yaml"], "dataset.yaml"),
        (["{0}", "{1}", "--out", "data/dataset.yaml"], "dataset.yaml"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(data: Path, saved, capsys, arguments: list[str], word: str):
    before = {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()}
    out, err = run(capsys, *(text.format(*saved) for text in arguments), code=2)
    last = err.splitlines()[-1]
    assert last.startswith("error: ") and word in last and out == "", err
    assert sum(line.startswith("error") for line in err.splitlines()) == 1
    assert {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()} == before


def test_an_interrupted_evaluation_is_one_sentence(data: Path, saved, capsys):
    Path(saved[0], "metrics.json").unlink()
    for arguments in ([saved[0]], [saved[0], saved[1]], ["--pool", *saved, "--out", "o"]):
        err = run(capsys, *arguments, code=2)[1]
        assert "it was interrupted, so evaluate again" in err


def test_help_names_what_is_taken_once(capsys):
    out, _ = run(capsys, "--help")
    assert "[MODEL|EVALUATION]..." in out and "[[" not in out and "Examples" in out
