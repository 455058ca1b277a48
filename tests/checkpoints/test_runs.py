"""Run folders: numbering, status, and which model a command means."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from defectctl.checkpoints.runs import (
    MODEL_FILE,
    STATE_FILE,
    environment,
    find_model,
    find_run,
    mark_run,
    new_run,
    read_run,
)
from defectctl.errors import InputError
from defectctl.fileio import read_json, write_text


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DEFECTCTL_MODEL", raising=False)
    monkeypatch.chdir(tmp_path)


def finish(run: Path) -> Path:
    (run / MODEL_FILE).write_bytes(b"weights")
    mark_run(run, "finished")
    return run / MODEL_FILE


def test_runs_are_numbered_per_preset(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    assert [new_run(root, name).name for name in ("quick", "quick", "sme-deeplab", "quick")] == [
        "quick-001",
        "quick-002",
        "sme-deeplab-001",
        "quick-003",
    ]
    (root / "quick-041").mkdir()
    assert new_run(root, "quick").name == "quick-042"


def test_odd_preset_names_stay_inside(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    for name in ("../../up", "a/b", r"c:\d", "..", "", "Prüfung 1"):
        assert new_run(root, name).parent == root


def test_no_two_runs_share_a_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: new_run(tmp_path / "runs", "quick"), range(40)))
    assert len(set(runs)) == 40


def test_status(tmp_path: Path) -> None:
    run = new_run(tmp_path / "runs", "quick")
    assert read_run(run)["status"] == "running"
    mark_run(run, "stopped")
    assert read_run(run)["status"] == "stopped"
    assert read_run(run)["ended"] > read_run(run)["started"]
    with pytest.raises(ValueError, match="status must be one of"):
        mark_run(run, "done")


def test_newest_finished_run_is_the_model(tmp_path: Path) -> None:
    first, second, third, fourth = (new_run(Path("runs"), "quick") for _ in range(4))
    finish(second)
    model = finish(first)
    (third / MODEL_FILE).write_bytes(b"half a training")
    mark_run(third, "stopped")
    mark_run(fourth, "finished")
    assert find_model(None) == (model, "newest finished run")


def test_no_finished_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished run lies under 'runs'; train one first"):
        find_model(None)
    new_run(Path("runs"), "quick")
    with pytest.raises(InputError, match="quick-001 is running"):
        find_model(None)


def test_named_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = finish(new_run(Path("runs"), "quick"))
    for name in (str(model), str(model.parent), "quick-001"):
        assert find_model(name) == (model, "--model")
    with pytest.raises(InputError, match="--model names 'quick-01', which does not exist; did you mean 'quick-001'"):
        find_model("quick-01")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no model\.safetensors"):
        find_model("empty")
    monkeypatch.setenv("DEFECTCTL_MODEL", "gone.safetensors")
    with pytest.raises(InputError, match=r"\$DEFECTCTL_MODEL names 'gone.safetensors'"):
        find_model(None)
    monkeypatch.setenv("DEFECTCTL_MODEL", str(model))
    assert find_model(None) == (model, "$DEFECTCTL_MODEL")


def test_run_to_resume() -> None:
    first, second, third = (new_run(Path("runs"), "quick") for _ in range(3))
    with pytest.raises(InputError, match="no unfinished run with a saved state"):
        find_run(None)
    for run in (first, second, third):
        (run / STATE_FILE).write_bytes(b"state")
    mark_run(third, "finished")
    assert find_run(None) == second
    assert find_run("quick-001") == first
    assert find_run(str(third)) == third
    with pytest.raises(InputError, match="run 'quick-009' does not exist; did you mean 'quick-00"):
        find_run("quick-009")


def test_foreign_and_damaged_run_folders(tmp_path: Path) -> None:
    (tmp_path / "runs" / "notes").mkdir(parents=True)
    with pytest.raises(InputError, match="is not a run of defectctl"):
        find_run("notes")
    run = new_run(Path("runs"), "quick")
    write_text(run / "run.json", "{}")
    with pytest.raises(InputError, match="is damaged"):
        read_run(run)


def test_environment_names_the_versions() -> None:
    found = environment()
    assert found["packages"]["torch"].startswith(("2.", "3."))
    assert found["python"].startswith("3.")


def test_run_file_is_plain_json() -> None:
    run = new_run(Path("runs"), "quick")
    assert set(read_json(run / "run.json", "run file")) == {"status", "preset", "started", "ended"}


def test_a_damaged_run_is_left_out_with_a_warning_and_hides_no_other(tmp_path, capsys):
    good, bad = new_run(tmp_path, "quick"), new_run(tmp_path, "quick")
    (good / MODEL_FILE).write_bytes(b"")
    mark_run(good, "finished")
    (bad / "run.json").write_text("{", encoding="utf-8")
    assert find_model(None, tmp_path) == (good / MODEL_FILE, "newest finished run")
    assert str(bad / "run.json") in capsys.readouterr().err
