"""`defectctl demo`, much shortened: every step runs and the places it prints are there."""

import json

import pytest

from defectctl.cli import demo
from defectctl.cli.app import main


@pytest.fixture
def short(monkeypatch):
    """A demo of seconds: its steps are the same, its model is worthless."""
    monkeypatch.setattr(demo, "PICTURES", 20)
    monkeypatch.setattr(demo, "SIDE", 64)
    stage = "{name: all, updates: 2, losses: {ce: 1}, optimiser: {name: adamw, lr: 0.001}}"
    monkeypatch.setattr(demo, "OVERRIDES", (
        "model={name: sme-deeplab, backbone: starnet_s050}", "input.size=[64, 64]", "train.batch_size=4",
        f"train.stages=[{stage}]",
    ))  # fmt: skip


def test_every_step_runs_and_tells_where_its_files_are(short, tmp_path, capsys):
    out = tmp_path / "my demo"
    code, printed = main(["demo", "--out", str(out), "--device", "cpu", "--json"]), capsys.readouterr()
    assert code == 0
    result = json.loads(printed.out)
    assert set(result["files"]) == {"raw_images", "dataset", "model", "evaluation", "masks", "overlays"}
    assert len(list((out / "masks").rglob("*.png"))) == 3  # 15 % of 20
    assert (out / "masks" / "overlays").is_dir() and (out / "data" / "dataset.yaml").is_file()
    assert 0 <= result["metrics"]["defect_iou"] <= 1


def test_without_json_the_figures_and_the_places_are_tables(short, tmp_path, capsys):
    code, printed = main(["demo", "--out", str(tmp_path / "d"), "--device", "cpu"]), capsys.readouterr()
    assert code == 0, printed.err
    assert "defect IoU" in printed.out and "report.html" in printed.out


def test_a_folder_in_use_is_refused_and_left_alone(short, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    code, printed = main(["demo", "--out", str(tmp_path)]), capsys.readouterr()
    assert code == 2 and "is not an empty folder" in printed.err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
