"""`defectctl predict` in a script: tables, limits, hostile names, a second process, and what a run leaves behind."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from defectctl.cli.app import main
from defectctl.imaging.masks import decode_index
from defectctl.inference.journal import Journal, last_rows

CLASSES = ["=вмятина", "scratch"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from defectctl.checkpoints.contract import Contract
    from defectctl.checkpoints.weights import save_model
    from defectctl.config.presets import load_preset, preset_to_dict
    from defectctl.models.registry import build_model

    preset = load_preset("sme-deeplab", ["input.size=[64, 64]", "model.backbone=starnet_s050"])
    torch.manual_seed(3)
    network = build_model(preset.model, 2, 3).eval()
    last = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d) and layer.out_channels == 3][-1]
    with torch.inference_mode():  # balanced, so that patches of both classes are found
        last.bias -= network(torch.rand(4, 3, 64, 64)).mask_logits.mean(dim=(0, 2, 3))
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, network.state_dict(), Contract(preset_to_dict(preset), CLASSES, [(255, 0, 0), (0, 255, 0)]))
    return path


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    monkeypatch.setenv("DEFECTCTL_MODEL", str(model))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def make_image(path: Path, seed: int = 0, height: int = 48) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8))
    coarse.resize((64, height)).save(path)
    return path


def predict(*arguments: object) -> int:
    return main(["predict", *map(str, arguments), "--device", "cpu", "--precision", "float32"])


def rows_of(out: Path) -> list[dict]:
    return list(last_rows(out / "predictions.jsonl"))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as handle:
        return list(csv.DictReader(handle))


def test_tables_say_what_the_masks_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    for n in range(5):
        make_image(images / f"деталь {n}.png", seed=n, height=40 + n)
    (images / "empty.png").write_bytes(b"")
    assert predict(images, "--out", out, "--write", "masks,csv,coco,summary", "--json") == 3
    printed = json.loads(capsys.readouterr().out)
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    assert summary["defects"] == printed["defects"] and sum(summary["defects"].values()) > 0
    assert {name.lower(): n for name, n in summary["verdicts"].items()} == {
        name: printed[name] for name in ("ok", "ng", "unsure", "unreadable")
    }
    assert summary["unreadable_files"] == printed["unreadable_files"] and summary["last_run"]["finished"]
    loaded = COCO(out / "predictions.coco.json")
    by_file = {image["file_name"]: image["id"] for image in loaded.dataset["images"]}
    lines, defects = read(out / "predictions.csv"), read(out / "defects.csv")
    assert [line["file"] for line in lines] == [row["file"] for row in rows_of(out)] and len(lines) == 6
    for line in lines:
        if line["verdict"] == "UNREADABLE":
            assert line["file"] not in by_file and line["reason"]
            continue
        mask = decode_index((out / line["mask"]).read_bytes())
        assert int(line["defect_area"]) == (mask > 0).sum()
        drawn = np.zeros_like(mask)
        for found in loaded.loadAnns(loaded.getAnnIds(by_file[line["file"]])):
            drawn[loaded.annToMask(found) > 0] = found["category_id"]
        assert np.array_equal(drawn, mask)
        assert sum(one["file"] == line["file"] for one in defects) == int(line["defects"])
    assert "'=вмятина" in {one["class"] for one in defects}


def test_tables_alone_can_be_asked_for_and_added_later(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    make_image(images / "a.png", seed=1)
    assert predict(images, "--out", out, "--write", "csv") == 0
    assert sorted(path.name for path in out.iterdir()) == ["defects.csv", "predictions.csv", "predictions.jsonl"]
    capsys.readouterr()

    def skipped(write: str) -> int:
        assert predict(images, "--out", out, "--write", write, "--skip-done", "--json") == 0
        return json.loads(capsys.readouterr().out)["skipped"]

    assert skipped("csv,summary") == 1 and (out / "summary.json").is_file()
    assert skipped("coco") == 0, "the row has no run-lengths yet"
    assert skipped("coco") == 1
    assert skipped("masks") == 0


def test_interrupted_run_leaves_tables_of_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from defectctl.inference import predict as module

    images, out = tmp_path / "in", tmp_path / "out"
    for n in range(6):
        make_image(images / f"{n}.png", seed=n)
    record = module.Run._record

    def stop(self: object, row: dict) -> None:
        record(self, row)
        if row["file"] == "2.png":
            raise KeyboardInterrupt

    monkeypatch.setattr(module.Run, "_record", stop)
    assert predict(images, "--out", out, "--write", "masks,csv,coco,summary", "--batch-size", 1) == 130
    monkeypatch.undo()
    done = [row["file"] for row in rows_of(out)]
    assert "2.png" in done and len(COCO(out / "predictions.coco.json").imgs) == len(done)
    assert [line["file"] for line in read(out / "predictions.csv")] == done
    assert json.loads((out / "summary.json").read_text("utf-8"))["last_run"]["finished"] is False
    assert not list(out.glob(".*"))


def test_a_resumed_run_fails_for_defects_that_were_found_before(tmp_path: Path) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    make_image(images / "a.png", seed=1)
    both = ("--fail-on-defect", "--skip-done", "--threshold", 0)
    assert predict(images, "--out", out, *both) == 4
    assert predict(images, "--out", out, *both) == 4
    (images / "b.png").write_bytes(b"")
    assert predict(images, "--out", out, *both) == 4, "goes before 3"
    assert predict(images, "--out", out, "--skip-done", "--threshold", 0) == 3


def test_the_first_images_of_the_list(tmp_path: Path) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.bmp", "a.png", "b.png"):
        make_image(images / name)
    assert predict(images, "--out", out, "--limit", 1) == 0
    assert predict(images, "--out", out, "--limit", 2, "--skip-done") == 0
    # Names as in the run of all, so that it can go on.
    assert [(row["file"], row["mask"]) for row in rows_of(out)] == [("a.bmp", "a.bmp.png"), ("a.png", "a.png.png")]
    assert predict(images, "--out", out, "--limit", 0) == 2


def test_images_over_the_limit_are_unreadable(tmp_path: Path) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    make_image(images / "a.png")
    make_image(images / "b.png", height=160)
    assert predict(images, "--out", out, "--max-mpx", 0.01) == 3
    assert "64x160 pixels (0.01024 Mpx), more than the limit of 0.01 Mpx" in rows_of(out)[1]["reason"]
    assert predict(images, "--out", out, "--skip-done", "--max-mpx", 0.02) == 0


HOSTILE = ["=1+1.png", "@x.png", "line\nbreak.png", "CON.png", "aux/d.png", "a?.png", "a*.png", "C:\\x.png", "..x.png",
           "x..\\..\\y.png", "Case.png", "case.png", "dot./b .png", "A.jpg.png", "A.jpg/b.png", "é.png", "e\u0301.png",
           "n" * 250 + ".png"]  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_whatever_inputs_are_called_results_lie_below_out(tmp_path: Path) -> None:
    images, out = tmp_path / "in", tmp_path / "deep" / "out"
    made = 0
    for n, name in enumerate(HOSTILE):
        try:
            make_image(images / name, seed=n)
            made += not name.startswith(".")
        except OSError:
            continue
    before = set(tmp_path.rglob("*"))
    assert predict(images, "--out", out, "--write", "masks,overlays,defect-maps,csv,coco,summary") == 0
    rows = rows_of(out)
    assert len(rows) == len({row["mask"].casefold() for row in rows}) >= min(made, len(rows)) >= 10
    for row in rows:
        assert row["file"] in [*HOSTILE, *(name.replace("\\", "/") for name in HOSTILE)]
        for key in ("mask", "overlay", "defect_map"):
            assert (out / row[key]).resolve().is_relative_to(out.resolve()) and (out / row[key]).is_file()
    new = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(out.parent) for path in new)
    assert {line["file"] for line in read(out / "predictions.csv")} >= {"./=1+1.png", "./@x.png", "line\nbreak.png"}


def test_a_new_image_does_not_take_the_mask_of_an_older_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first, second = (
        make_image(tmp_path / "in" / "a.bmp", seed=1),
        make_image(tmp_path / "in" / "a.png", seed=2, height=50),
    )
    assert predict(first, "--out", out) == 0
    assert predict(second, "--out", out, "--skip-done") == 0
    assert [(row["file"], row["mask"], row["height"]) for row in rows_of(out)] == [
        ("a.bmp", "a.png", 48),
        ("a.png", "a~2.png", 50),
    ]
    assert decode_index((out / "a.png").read_bytes()).shape == (48, 64)


def test_a_second_process_on_the_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    make_image(images / "a.png")
    with Journal(out) as other:
        other.append({"file": "theirs", "verdict": "OK", "defects": [], "removed_small": 0})
        assert predict(images, "--out", out) == 2
        assert predict(images, "--out", out, "--skip-done") == 2
    assert capsys.readouterr().err.count("is being written by another defectctl") == 2
    assert [row["file"] for row in rows_of(out)] == ["theirs"], "nothing of it was replaced"


def test_an_input_that_vanishes_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from defectctl.inference.sources import InputFile

    images, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", "b.png", "c.png"):
        make_image(images / name)
    assert predict(images, "--out", out) == 0
    stamp = InputFile.stamp

    def gone(self: InputFile) -> dict[str, int]:
        (images / "b.png").unlink(missing_ok=True)
        return stamp(self)

    monkeypatch.setattr(InputFile, "stamp", gone)
    assert predict(images, "--out", out, "--skip-done") == 3
    rows = {row["file"]: row for row in rows_of(out)}
    assert rows["b.png"]["verdict"] == "UNREADABLE" and "No such file" in rows["b.png"]["reason"]
    assert rows["a.png"]["mask"] == "a.png" and rows["c.png"]["verdict"] != "UNREADABLE"


def test_files_still_being_written_are_unreadable_and_taken_when_whole(tmp_path: Path) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", "b.jpg", "c.bmp", "d.tif"):
        make_image(images / name, seed=3)
    make_image(images / "e.png")
    whole = {name: (images / name).read_bytes() for name in ("a.png", "b.jpg", "c.bmp", "d.tif")}
    for share in (0, 0.5, 0.98):
        for name, data in whole.items():
            (images / name).write_bytes(data[: int(share * len(data))])
        assert predict(images, "--out", out, "--skip-done") == 3
        assert [row["verdict"] for row in rows_of(out)].count("UNREADABLE") == 4
    for name, data in whole.items():
        (images / name).write_bytes(data)
    assert predict(images, "--out", out, "--skip-done") == 0
    assert len(rows_of(out)) == 5


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_does_not_stop_the_run(tmp_path: Path) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    make_image(images / "a.png")
    os.mkfifo(images / "b.png")
    assert predict(images, "--out", out) == 3
    assert "not a file" in rows_of(out)[1]["reason"]


def test_lists_on_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    paths = [make_image(tmp_path / "in" / name) for name in ("a.png", "деталь 2.png")]
    for end in (b"\n", b"\r\n", b"\0"):
        data = end.join(os.fsencode(path) for path in paths) + end
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert predict("-", "--out", out) == 0
        assert [row["file"] for row in rows_of(out)] == ["a.png", "деталь 2.png"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_killed_fifty_times_and_resumed_every_image_has_one_whole_result() -> None:
    script = Path(__file__).parents[1] / "bench" / "kill_and_resume.py"
    done = subprocess.run([sys.executable, str(script), "--kills", "50"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("50 kills")
