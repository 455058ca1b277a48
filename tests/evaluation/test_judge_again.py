"""Other questions to a saved table: without network and dataset the figures and the pictures are those of before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from evaluation_toys import nothing_but, outlined

from defectctl.errors import InputError
from defectctl.evaluation.asked import Asked
from defectctl.evaluation.evaluate import Hardware, evaluate, judge_again
from defectctl.evaluation.scored import load_scored

CPU, QUICK = Hardware("cpu", "float32", threads=1), Asked(rounds=100)


@pytest.fixture
def earlier(steel, networks, tmp_path: Path) -> Path:
    """An evaluation whose model file is gone, and which was moved away from the dataset."""

    def answer(name: str):
        return outlined(steel.guess(name), 0.3 + 0.02 * sorted(steel.truth).index(name))

    model = networks.write(tmp_path / "run" / "model.safetensors", answer, model="segdecnet")
    evaluate(model, steel.root, hardware=CPU, asked=QUICK, out=tmp_path / "first")
    shutil.move(tmp_path / "first", tmp_path / "kept")
    shutil.rmtree(tmp_path / "run")
    return tmp_path / "kept"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch):
    def forbidden(*_: object):
        raise AssertionError("a network or a dataset was opened")

    for place in (
        "inference.runner.load_runner",
        "evaluation.part.load_dataset",
        "loading.pictures.PictureStore._read",
    ):
        monkeypatch.setattr(f"defectctl.{place}", forbidden)


def strict(folder: Path) -> dict:
    def refuse(text: str):
        raise AssertionError(f"{text} is no JSON")

    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"), parse_constant=refuse)


def embedded(folder: Path) -> int:
    return (folder / "report.html").read_text(encoding="utf-8").count("data:image/jpeg")


def test_the_same_question_gets_the_same_answer(earlier: Path, offline, tmp_path: Path):
    first, pictures = strict(earlier), embedded(earlier)
    assert pictures > 0 and first["tasks"] == ["segmentation", "decision"]
    result = judge_again(load_scored(earlier), QUICK, tmp_path / "again")
    again = strict(tmp_path / "again")
    made = {"command", "date", "environment"}
    assert {k: v for k, v in again.items() if k not in made} == {k: v for k, v in first.items() if k not in made}
    assert again["scored"] == first["scored"] and embedded(tmp_path / "again") == pictures
    names = {p.name for p in (tmp_path / "again").iterdir()}
    assert names == {p.name for p in earlier.iterdir()} and "worst.png" in names
    assert set(result["files"]) == {"table", "report", "images", "confusion", "worst", "metrics"}
    assert result["out"] == str(tmp_path / "again")


def test_other_thresholds_prices_and_confidence(earlier: Path, offline, tmp_path: Path):
    """The scores of the four parts are 0.46, 0.48, 0.50 and 0.52; the first is good."""
    asked = Asked({"ok": 0.47, "ng": 0.51}, 0.5, 100, 10, rounds=100)
    result = judge_again(load_scored(earlier), asked, tmp_path / "o")
    parts = result["parts"]
    assert (parts["escapes"], parts["unsure"], parts["overkill"], parts["good_parts"]) == (0, 2, 0, 1)
    assert result["thresholds"] == asked.thresholds and result["own_thresholds"] == {"ng": 0.5}
    stricter = judge_again(load_scored(tmp_path / "o"), Asked({"ng": 0.9}, 0.5, 100, 10, 100), tmp_path / "p")
    assert stricter["cost"]["total"] == 300 and stricter["parts"]["escapes"] == 3
    looser = judge_again(load_scored(tmp_path / "p"), Asked({"ng": 0.1}, 0.99, 100, 10, 100), tmp_path / "q")
    assert looser["cost"]["total"] == 10 and looser["confidence"] == 0.99
    wide, narrow = (one["intervals"]["overkill_rate"] for one in (looser, result))
    assert wide["high"] == 1.0 and narrow["high"] < 1.0
    assert looser["metrics"] == stricter["metrics"] == result["metrics"] == strict(earlier)["metrics"]
    own = judge_again(load_scored(tmp_path / "q"), QUICK, tmp_path / "r")
    assert own["thresholds"] == {"ng": 0.5} and own["cost"] is None


def test_the_same_folder_under_another_name_keeps_its_pictures(earlier: Path, offline, monkeypatch: pytest.MonkeyPatch):
    before = {p.name: p.read_bytes() for p in (earlier / "pictures").iterdir()}
    assert before
    monkeypatch.chdir(earlier.parent)
    for out in (None, Path(earlier.name), earlier / ".." / earlier.name):
        judge_again(load_scored(earlier), QUICK, out)
        assert {p.name: p.read_bytes() for p in (earlier / "pictures").iterdir()} == before
    assert (earlier / "worst.png").is_file()


def test_what_another_evaluation_left_is_not_taken_for_this_one(earlier: Path, offline, tmp_path: Path):
    shutil.copytree(earlier, tmp_path / "used")
    (tmp_path / "used" / "pictures" / "000099-truth.jpg").write_bytes(b"\xff\xd8of another image")
    shutil.rmtree(earlier / "pictures")
    (earlier / "worst.png").unlink()
    result = judge_again(load_scored(earlier), QUICK, tmp_path / "used")
    assert not (tmp_path / "used" / "pictures").exists() and "worst" not in result["files"]
    assert embedded(tmp_path / "used") == 0


def test_a_failure_half_way_does_not_cost_the_earlier_evaluation(earlier: Path, offline, monkeypatch):
    def full(*_: object):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("defectctl.reports.evaluation_page.evaluation_page", full)
    with pytest.raises(OSError, match="No space"):
        judge_again(load_scored(earlier), QUICK)
    assert load_scored(earlier).table.ids


def test_a_damaged_picture_is_left_out(earlier: Path, offline):
    pictures = sorted((earlier / "pictures").iterdir())
    pictures[0].write_bytes(b"")
    before = embedded(earlier)
    judge_again(load_scored(earlier), QUICK)
    assert 0 < embedded(earlier) < before


def test_a_file_in_the_way_is_named(earlier: Path, offline, tmp_path: Path):
    (tmp_path / "busy").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="busy"):
        judge_again(load_scored(earlier), QUICK, tmp_path / "busy")
    with pytest.raises(InputError, match="--confidence"):
        judge_again(load_scored(earlier), Asked(confidence=1.0))


def test_a_decision_only_model_is_told_again(steel, networks, tmp_path: Path):
    model = networks.write(
        tmp_path / "run" / "m.safetensors", lambda name: nothing_but(0.6, (48, 64)), model="resnet18"
    )
    first = evaluate(model, steel.root, hardware=CPU, asked=QUICK)
    folder = Path(first["out"])
    assert "confusion" not in first["files"] and {p.name[7:] for p in (folder / "pictures").iterdir()} == {"truth.jpg"}
    again = judge_again(load_scored(folder), Asked({"ng": 0.7}, rounds=100), tmp_path / "o")
    assert first["parts"]["overkill"] == 1 and again["parts"]["escapes"] == 3
    assert strict(tmp_path / "o")["metrics"]["defect_iou"] is None
