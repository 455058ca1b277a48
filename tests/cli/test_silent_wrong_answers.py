"""The wrong answers that users of other tools get without a word: each must be right here, or one loud sentence."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest

from defectctl.cli.app import main

IMAGES, SIDE = 8, 32


@pytest.fixture
def data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A dataset from masks of 0 and 255: in each image a defect of 8x8 = 64 of 1,024 pixels."""
    write_raw(tmp_path / "raw")
    assert main(["prepare", str(tmp_path / "raw"), "--out", str(tmp_path / "data")]) == 0
    assert "255" in capsys.readouterr().err, "what 255 was taken for must be said"
    return tmp_path / "data"


def write_raw(raw: Path, images: int = IMAGES, top: int = 255, dtype: type = np.uint8) -> None:
    rng = np.random.default_rng(0)
    for number in range(images):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[4:12, 2 * number : 2 * number + 8] = 255
        write_png(raw / "images" / f"{number}.png", rng.integers(0, top + 1, (SIDE, SIDE)).astype(dtype))
        write_png(raw / "masks" / f"{number}.png", mask)


def write_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def evaluate_blank_masks(data: Path, *more: str) -> int:
    """Score a prediction that finds nothing anywhere."""
    blank = data.parent / "blank"
    for image in (data / "images").rglob("*.png"):
        write_png(blank / image.relative_to(data / "images"), np.zeros((SIDE, SIDE), np.uint8))
    return main(["evaluate", "--masks", str(blank), "--data", str(data), "--out", str(data.parent / "scores"), *more])


def test_1_masks_of_0_and_255_keep_every_defect_pixel(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from defectctl.imaging.masks import decode_index

    stored = list((data / "masks").rglob("*.png"))
    assert len(stored) == IMAGES
    for path in stored:
        assert np.bincount(decode_index(path.read_bytes(), path.name).ravel()).tolist() == [SIDE * SIDE - 64, 64]
    assert evaluate_blank_masks(data, "--json") == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics["defect_iou"] == 0
    assert metrics["pixel_accuracy"] == pytest.approx(1 - 64 / SIDE**2)


def test_2_the_headline_is_the_defect_not_the_background(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate_blank_masks(data, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert next(iter(document["metrics"])) == "defect_iou"
    assert document["metrics"]["defect_iou"] == 0 and document["metrics"]["miou"] > 0.45
    assert evaluate_blank_masks(data) == 0
    lines = capsys.readouterr().out.splitlines()
    figures = [line.split() for line in lines if "IoU" in line and any(c.isdigit() for c in line)]
    assert figures[0][:3] == ["defect", "IoU", "0.000"]
    assert any("escapes" in line for line in lines[:6])


def test_3_twelve_bits_in_sixteen_bit_files_keep_their_levels(tmp_path: Path) -> None:
    write_raw(tmp_path / "raw", top=4095, dtype=np.uint16)
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    write_png(tmp_path / "raw" / "images" / "0.png", ramp)
    write_png(tmp_path / "raw" / "masks" / "0.png", np.pad(np.full((8, 8), 255, np.uint8), (0, 56)))
    assert main(["prepare", str(tmp_path / "raw"), "--out", str(tmp_path / "data")]) == 0
    import torch

    from defectctl.config.schema import InputConfig
    from defectctl.dataset.store import load_dataset
    from defectctl.loading.network_input import to_network
    from defectctl.loading.pictures import PictureStore

    dataset = load_dataset(tmp_path / "data")
    sample = next(s for s in dataset.samples if s.id.endswith("0.png"))
    picture = PictureStore(dataset, "grey").picture(sample)
    batch = to_network([picture], InputConfig(size=[64, 64], colour="grey"), torch.device("cpu"))[0]
    levels = torch.unique(batch)
    assert len(levels) == 4096
    assert (levels[0], levels[-1]) == (pytest.approx(0, abs=1e-3), pytest.approx(1, abs=1e-3))


def test_4_a_folder_in_which_nothing_is_readable_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_raw(tmp_path / "raw")
    images = sorted((tmp_path / "raw" / "images").iterdir())
    prepare = ["prepare", str(tmp_path / "raw"), "--out"]
    images[0].write_bytes(b"no image")
    assert main([*prepare, str(tmp_path / "one"), "--strict"]) == 3, "one bad file does not end the work, but is told"
    assert images[0].name in capsys.readouterr().err
    for image in images:
        image.write_bytes(b"no image")
    assert main([*prepare, str(tmp_path / "none")]) == 2
    assert images[0].name in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    # The same of `predict`: test_predict_command.py, test_nothing_readable_is_wrong_input_and_leaves_nothing.


def test_7_no_network_is_one_sentence_after_the_arguments_were_checked(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("timm")
    from huggingface_hub import constants

    asked: list[str] = []

    def no_network(host: str, *rest: object, **named: object) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty cache"))
    runs = tmp_path / "runs"
    train = ["train", "--preset", "sme-deeplab", "--set", "model.weights=imagenet", "--set", "input.size=[64,64]"]
    place = ["--out", str(runs), "--device", "cpu", "--threads", "1"]
    for wrong in (["--data", "nowhere"], ["--data", str(data), "--set", "train.batch=2"]):
        assert main([*train, *place, *wrong]) == 2
    assert not asked, "the network is the last thing to be asked"
    capsys.readouterr()
    assert main([*train, *place, "--data", str(data)]) == 2
    captured = capsys.readouterr()
    assert len(asked) == 1, "and it is asked once, not five times"
    errors = [line for line in captured.err.splitlines() if "error:" in line]
    assert len(errors) == 1 and "does not answer" in errors[0] and "model.weights=FILE" in errors[0]
    assert "Traceback" not in captured.err and "Retry" not in captured.err and captured.out == ""
    assert not runs.exists()


@pytest.mark.parametrize("command", [["train", "--preset", "quick"], ["evaluate", "--masks", "."], ["predict"]])
def test_8_a_missing_data_folder_is_called_that(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    place = ["nowhere", "--out", "out"] if command == ["predict"] else ["--data", "nowhere"]
    assert main([*command, *place]) == 2
    captured = capsys.readouterr()
    assert "'nowhere' does not exist" in captured.err and "key" not in captured.err
    assert len(captured.err.splitlines()) == 1 and captured.out == "" and not list(tmp_path.iterdir())
