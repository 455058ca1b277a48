"""`defectctl predict` from the command line to files, journal and exit codes, with a small untrained network."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from defectctl.cli.app import main

PRESET = {
    "name": "tiny",
    "description": "a small network for tests",
    "model": {"name": "sme-deeplab", "backbone": "starnet_s050"},
    "input": {"size": [64, 64]},
    "train": {
        "batch_size": 2,
        "stages": [
            {
                "name": "all",
                "epochs": 1,
                "losses": {"ce": 1},
                "optimiser": {"name": "adamw", "lr": 0.001},
                "schedule": {"name": "constant"},
            },
        ],
    },
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from defectctl.checkpoints.contract import Contract
    from defectctl.checkpoints.weights import save_model
    from defectctl.config.presets import check_preset, preset_to_dict
    from defectctl.models.registry import build_model

    preset = check_preset(PRESET, "test")
    torch.manual_seed(3)
    network = build_model(preset.model, 2, 3)
    contract = Contract(preset_to_dict(preset), ["вмятина", "scratch"], [(255, 0, 0), (0, 255, 0)])
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, network.state_dict(), contract)
    return path


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    monkeypatch.setenv("DEFECTCTL_MODEL", str(model))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def make_image(path: Path, height: int = 48, width: int = 64, seed: int = 0, exif: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    tags = image.getexif()
    if exif:
        tags[0x0112] = 6
    image.save(path, exif=tags)
    return path


def rows_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


def predict(*arguments: object) -> int:
    return main(["predict", *map(str, arguments), "--device", "cpu"])


def test_masks_rows_and_pictures_of_every_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: Path
) -> None:
    images, out = tmp_path / "снимки 图", tmp_path / "вы ход"
    make_image(images / "a.png", seed=1)
    make_image(images / "sub dir" / "деталь 图.jpg", 40, 90, exif=True)
    cv2_bytes = cv2.imencode(".tif", np.arange(48 * 64, dtype=np.uint16).reshape(48, 64))[1].tobytes()
    (images / "b.tif").write_bytes(cv2_bytes)
    code = predict(images, "--out", out, "--write", "masks,overlays,defect-maps", "--json", "--precision", "float32")
    captured = capsys.readouterr()
    assert code == 0, captured.err
    document = json.loads(captured.out)
    assert document["images"] == 3 and document["unreadable"] == 0
    assert str(model) in captured.err and "$DEFECTCTL_MODEL" in captured.err
    assert captured.err.count("16-bit") == 1 and "3071" in captured.err
    rows = rows_of(out)
    assert [row["file"] for row in rows] == ["a.png", "b.tif", "sub dir/деталь 图.jpg"]
    assert [(row["width"], row["height"]) for row in rows] == [(64, 48), (64, 48), (40, 90)]
    for row in rows:
        with Image.open(out / row["mask"]) as mask:
            assert mask.mode == "P" and mask.size == (row["width"], row["height"])
            values = np.asarray(mask)
        counted = {name: int((values == n).sum()) for n, name in enumerate(["вмятина", "scratch"], 1)}
        areas = dict.fromkeys(counted, 0)
        for defect in row["defects"]:
            areas[defect["class"]] += defect["area"]
        assert areas == counted
        assert row["verdict"] == ("NG" if row["defects"] else "OK")
        assert (out / row["overlay"]).is_file() and (out / row["defect_map"]).is_file()
    assert document["defects"] == {
        name: sum(d["class"] == name for row in rows for d in row["defects"]) for name in ("вмятина", "scratch")
    }


def test_corrupt_image_is_reported_and_the_rest_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    (images).mkdir()
    (images / "a.png").write_bytes(b"no image")
    make_image(images / "b.png")
    assert predict(images, "--out", out) == 3
    captured = capsys.readouterr()
    assert "'a.png'" in captured.err and "UNREADABLE" in captured.out
    first, second = rows_of(out)
    assert first["verdict"] == "UNREADABLE" and first["reason"] and first["mask"] is None
    assert second["verdict"] in ("OK", "NG") and sorted(p.name for p in out.iterdir()) == ["b.png", "predictions.jsonl"]


def test_nothing_readable_is_wrong_input_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    images.mkdir()
    assert predict(images, "--out", out) == 2
    (images / "a.png").write_bytes(b"no image")
    assert predict(images, "--out", out) == 2
    assert "none of the 1 images could be read" in capsys.readouterr().err
    assert not out.exists()


def test_skip_done_goes_on_and_replace_starts_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    make_image(images / "a.png")
    assert predict(images, "--out", out) == 0
    make_image(images / "b.png", seed=2)
    capsys.readouterr()

    def run(*more: object) -> tuple[int, int]:
        assert predict(images, "--out", out, "--json", *more) == 0
        document = json.loads(capsys.readouterr().out)
        return document["images"], document["skipped"]

    assert run("--skip-done") == (1, 1) and len(rows_of(out)) == 2
    assert run("--skip-done") == (0, 2) and len(rows_of(out)) == 2
    (out / "a.png").unlink()
    assert run("--skip-done") == (1, 1)
    make_image(images / "b.png", 50, 50, seed=3)
    assert run("--skip-done") == (1, 1) and len(rows_of(out)) == 4
    assert run("--skip-done", "--min-area", 7) == (2, 0)
    assert run() == (2, 0) and len(rows_of(out)) == 2


def test_thresholds_decide_and_defects_can_fail_the_command(tmp_path: Path) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    make_image(images / "a.png")
    expected = {"0": ("NG", 4), "1": ("OK", 0), "0,1": ("UNSURE", 4)}
    for text, (decision, code) in expected.items():
        assert predict(images, "--out", out, "--threshold", text, "--fail-on-defect") == code
        assert rows_of(out)[0]["verdict"] == decision
        assert rows_of(out)[0]["thresholds"]["ng"] == float(text.split(",")[-1])


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["--device", "gpu"], "device 'gpu' is not known"),
        (["--precision", "int4"], "precision 'int4'"),
        (["--write", "mask"], "did you mean 'masks'"),
        (["--threshold", "2"], "--threshold '2'"),
        (["--threshold", "0.8,0.2"], "--threshold"),
        (["--batch-size", "0"], "batch-size"),
        (["--model", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--precision", "fp16"], "fp16"),
        (["--out", "{images}"], "input folder itself"),
        (["--out", "{images}/a.png"], "is a file"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    make_image(images / "a.png")
    filled = [a.replace("{images}", str(images)) for a in arguments]
    assert main(["predict", str(images), "--device", "cpu", "--out", str(out), *filled]) == 2
    captured = capsys.readouterr()
    assert text in captured.err and captured.out == ""
    assert len([line for line in captured.err.splitlines() if line.startswith("error:")]) == 1
    assert not out.exists()


def test_input_folder_named_like_a_result_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_image(tmp_path / "in" / "overlays" / "a.png")
    make_image(tmp_path / "in" / "a.png")
    assert predict(tmp_path / "in", "--out", tmp_path / "out", "--write", "masks,overlays") == 2
    assert "'overlays'" in capsys.readouterr().err
    assert predict(tmp_path / "in", "--out", tmp_path / "out") == 0


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        (["segmentation", "detection"], ["defects: scratch"]),
        (["detection"], ["boxes: scratch"]),
        (["decision"], []),
    ],
)
def test_the_summary_counts_what_the_model_delivers(tasks, words, capsys):
    from defectctl.cli.predict import _report
    from defectctl.inference.predict import Summary

    summary = Summary({"OK": 1, "NG": 0}, {"scratch": 2}, seconds=1.0)
    _report(summary, {"out": "masks", "min_area": 0, "tasks": tasks}, as_json=False)
    assert [
        line.rsplit(maxsplit=1)[0].strip() for line in capsys.readouterr().out.splitlines() if ": " in line
    ] == words
