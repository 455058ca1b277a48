"""`defectctl evaluate --calibrate` as a user calls it: exit codes, messages, JSON, and what a mistake leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from calibration_toys import Bench, Line

from defectctl.checkpoints.weights import read_contract
from defectctl.cli.app import main

FAST = ["--device", "cpu", "--threads", "1"]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    return Line(tmp_path_factory.mktemp("line") / "data")


@pytest.fixture
def bench(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEFECTCTL_MODEL", raising=False)
    monkeypatch.setattr("defectctl.evaluation.evaluate.write_sheet", lambda *_: None)
    monkeypatch.setattr("defectctl.evaluation.evaluate.draw_pictures", lambda *_: {})
    return Bench([line], tmp_path, monkeypatch)


def test_a_promise_is_stored_told_and_obeyed_by_the_next_evaluation(line, bench, capsys):
    path = bench.model()
    data = ["--data", str(line.root), *FAST]
    arguments = ["--calibrate", "--max-escape", "0.1", "--max-overkill", "0.1"]
    assert main(["evaluate", str(path), *arguments, *data]) == 0
    out, err = capsys.readouterr()
    assert "split 'official', part 'calibration': 150 images" in out
    assert "escapes: at most 10 % of defective groups below" in err and "are UNSURE and go to a person" in err
    thresholds = read_contract(path).thresholds
    assert set(thresholds) == {"ok", "ng"} and f"stored in '{path}': ok" in err
    assert main(["evaluate", str(path), "--split", "official", "--json", *data]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["thresholds"] == thresholds and result["calibration"]["promises"]["escape"]["limit"] == 0.1


def test_json_is_one_document_with_the_calibration(line, bench, capsys):
    path = bench.model()
    arguments = ["--calibrate", "--max-escape", "0.1", "--json", "--data", str(line.root), *FAST]
    assert main(["evaluate", "--model", str(path), *arguments]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["calibration"] == read_contract(path).calibration
    assert result["calibration"]["thresholds"] == result["thresholds"] == read_contract(path).thresholds
    stored = json.loads(Path(result["files"]["metrics"]).read_text(encoding="utf-8"))
    assert stored["calibration"] == result["calibration"]
    assert "stored in" in err
    bench.broken = True  # from here on only saved tables
    again = ["evaluate", result["out"], "--calibrate", "--max-overkill", "0.2", "--json", "--quiet"]
    assert main(again) == 0
    out, err = capsys.readouterr()
    assert err == "" and json.loads(out)["calibration"]["asked"] == {"max_overkill": 0.2, "confidence": 0.95}
    assert read_contract(path).calibration == json.loads(out)["calibration"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--max-escape", "0.01"], "only --calibrate does: add it"),
        (["--max-missed-pixels", "0.01"], "only --calibrate does: add it"),
        (["--unseen"], "only --calibrate does"),
        (["--calibrate", "--max-escape", "0.01"], "60 defective groups (80 parts) carry 4.88 %"),
        (["--calibrate", "--max-escape", "5"], "--max-escape must lie between 0 and 1"),
        (["--calibrate", "--part", "test"], "for testing"),
        (["--calibrate", "--part", "train"], "trained on 6 of the 6"),
        (["--calibrate", "--max-escape", "0.1", "--part", "val"], "8 of the 8 did"),
        (["--calibrate", "--max-escape", "0.1", "--split", "plain"], "--calibration 0.2"),
        (["--calibrate", "--max-escape", "0.1", "--split", "good"], "there is no defective part"),
        (["--calibrate", "--max-missed-pixels", "0.01"], "carry 4.88 % at best"),
        (["--calibrate", "--split", "bad"], "there is no good part among the calibration parts"),
        (["--calibrate", "--cost-escape", "10"], "--cost-escape needs --cost-overkill"),
        (["--calibrate", "--prevalence", "0.1"], "--cost-escape and --cost-overkill, too"),
        (["--calibrate", "--threshold", "0.5"], "--threshold gives one: not both"),
        (["--calibrate", "--max-escape", "0.1", "--masks", "m"], "--masks stands alone"),
    ],
)
def test_a_mistake_is_one_sentence_and_stores_nothing(line, bench, capsys, arguments, words):
    path = bench.model()
    before, files = path.read_bytes(), sorted(Path().rglob("*"))
    model = [] if "--masks" in arguments else ["--model", str(path)]
    assert main(["evaluate", *model, *arguments, "--data", str(line.root), *FAST, "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert words in err and err.startswith("error: ") and len(err.splitlines()) == 1 and out == ""
    assert path.read_bytes() == before and sorted(Path().rglob("*")) == files
