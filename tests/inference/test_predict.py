"""The pipeline itself: interruption, errors on threads, and memory that stays flat."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from inference_toys import Bright, BrightBox, BrightJudge, Everything
from journal_toys import read_journal
from torch import nn

from defectctl.checkpoints.contract import Contract
from defectctl.config.schema import InputConfig, PredictConfig
from defectctl.dataset.types import ClassInfo, Dataset, Known, Sample, Source
from defectctl.imaging.masks import decode_index
from defectctl.imaging.reader import decode_image
from defectctl.inference import predict as predict_module
from defectctl.inference.maps import Maps
from defectctl.inference.options import PredictOptions, parse_kinds, parse_threshold
from defectctl.inference.predict import predict_files
from defectctl.inference.runner import TorchRunner
from defectctl.inference.scoring import score_samples
from defectctl.inference.sources import InputFile, list_inputs
from defectctl.inference.writers import ResultWriter
from defectctl.metrics.table import count_image


class Interrupted(TorchRunner):
    """Gets Ctrl-C after some images."""

    left = 10**9

    def maps(self, pictures: list[np.ndarray]) -> list[Maps]:
        self.left -= len(pictures)
        if self.left < 0:
            raise KeyboardInterrupt
        return super().maps(pictures)


def make_inputs(root: Path, count: int) -> list[InputFile]:
    root.mkdir()
    for n in range(count):
        pixels = np.full((32, 40), 20, np.uint8)
        pixels[5:10, 5 : 6 + n % 20] = 250
        (root / f"{n:03}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return list_inputs([str(root)], root.parent / "out")


def make_runner() -> Interrupted:
    return Interrupted(Bright(), InputConfig(size=[32, 40], colour="grey"), torch.device("cpu"))


@pytest.fixture
def parts(tmp_path: Path) -> tuple[list[InputFile], Path, Contract, Path]:
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"weights")
    return (
        make_inputs(tmp_path / "in", 20),
        tmp_path / "out",
        Contract({"model": {"name": "unet"}}, ["dent"], [(255, 0, 0)]),
        model,
    )


def test_every_defect_is_found_in_its_place(parts: tuple) -> None:
    inputs, out, contract, model = parts
    seen: list[str] = []
    summary = predict_files(
        inputs,
        out,
        make_runner(),
        contract,
        model,
        PredictOptions(min_area=10, batch_size=3),
        lambda row: seen.append(row["file"]),
    )
    assert seen == [item.file for item in inputs] == list(read_journal(out / "predictions.jsonl"))
    assert summary.images == 20 and summary.verdicts["OK"] == 1 and summary.removed == 1
    for n, row in enumerate(read_journal(out / "predictions.jsonl").values()):
        boxes = [(d["box"], d["area"], d["class"]) for d in row["defects"]]
        assert boxes == ([] if n == 0 else [([5, 5, 6 + n, 10], 5 * (n + 1), "dent")])


def test_written_masks_are_what_validation_scores(parts: tuple) -> None:
    inputs, out, contract, model = parts
    predict_files(inputs, out, make_runner(), contract, model, PredictOptions(min_area=10, batch_size=4))
    samples = [Sample(item.file, item.file, 40, 32, "", "all") for item in inputs]
    sources = {"all": Source("all", "test", Known(mask=(1,)))}
    dataset = Dataset(out, "test", [ClassInfo("dent", (255, 0, 0))], samples, sources, "", [], "")
    truth = np.zeros((32, 40), np.uint8)
    truth[4:9, 5:12] = 1

    class Pictures:
        """Pictures from disk, one truth for all."""

        def picture(self, sample: Sample) -> np.ndarray:
            return decode_image((inputs[0].path.parent / sample.id).read_bytes(), "grey")

        def mask(self, sample: Sample) -> np.ndarray:
            return truth

    table = score_samples(make_runner(), dataset, samples, Pictures(), min_area=10)
    for item, confusion in zip(inputs, table.confusion, strict=True):
        mask = decode_index((out / item.result).read_bytes(), item.result)
        assert np.array_equal(confusion, count_image(truth, mask, np.array([True, True])).confusion)


def test_interrupted_run_keeps_whole_rows_and_can_go_on(parts: tuple) -> None:
    inputs, out, contract, model = parts
    runner = make_runner()
    runner.left = 9
    with pytest.raises(KeyboardInterrupt):
        predict_files(inputs, out, runner, contract, model, PredictOptions(batch_size=4))
    rows = read_journal(out / "predictions.jsonl")
    assert len(rows) == 8 and all((out / row["mask"]).is_file() for row in rows.values())
    summary = predict_files(inputs, out, make_runner(), contract, model, PredictOptions(batch_size=4, skip_done=True))
    assert (summary.skipped, summary.images) == (8, 12)
    assert len(read_journal(out / "predictions.jsonl")) == 20


def test_full_disk_ends_the_run_and_rows_have_their_files(parts: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, out, contract, model = parts
    write = ResultWriter.write

    def full(self: ResultWriter, item: InputFile, *rest: object) -> dict[str, str]:
        if item.file == "010.png":
            raise OSError(28, "No space left on device")
        return write(self, item, *rest)

    monkeypatch.setattr(ResultWriter, "write", full)
    with pytest.raises(OSError, match="No space"):
        predict_files(inputs, out, make_runner(), contract, model, PredictOptions(batch_size=4))
    rows = read_journal(out / "predictions.jsonl")
    assert "010.png" not in rows and len(rows) >= 10
    assert all((out / row["mask"]).is_file() for row in rows.values())


def test_only_a_few_pictures_are_alive_at_once(parts: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, out, contract, model = parts
    alive: weakref.WeakSet[Handle] = weakref.WeakSet()
    most = 0

    class Handle:
        """Lives as long as the picture that holds it."""

    class Tracked(np.ndarray):
        """A picture that can hold a handle."""

    def tracked(*arguments: Any) -> np.ndarray:
        nonlocal most
        picture = decode_image(*arguments).view(Tracked)
        picture.handle = Handle()
        alive.add(picture.handle)
        most = max(most, len(alive))
        return picture

    monkeypatch.setattr(predict_module, "decode_image", tracked)
    predict_files(inputs * 5, out, make_runner(), contract, model, PredictOptions(batch_size=2))
    gc.collect()
    assert most <= 16, most
    assert len(alive) <= 1


def test_options_are_read() -> None:
    assert parse_kinds("overlays, masks,overlays") == ("overlays", "masks")
    assert parse_threshold(None) is None and parse_threshold("0.25") == {"ng": 0.25}
    assert parse_threshold("0.2,0.7") == {"ok": 0.2, "ng": 0.7}


def predict_with(network: nn.Module, name: str, parts: tuple, **options: Any) -> tuple[Any, list[dict], Path]:
    """Predict all inputs with a network that stands for the registry's model `name`."""
    inputs, out, _, model = parts
    config = InputConfig(size=[32, 40], colour="grey")
    runner = TorchRunner(network, config, torch.device("cpu"), predict=PredictConfig(box_score=0.5))
    contract = Contract({"model": {"name": name}}, ["dent", "scratch"], [(255, 0, 0), (0, 255, 0)])
    summary = predict_files(inputs, out, runner, contract, model, PredictOptions(**options))
    return summary, list(read_journal(out / "predictions.jsonl").values()), out


def test_a_detector_writes_boxes_and_overlays_and_says_that_it_has_no_masks(parts: tuple, capsys) -> None:
    summary, rows, out = predict_with(BrightBox(), "yolov5s", parts, write=("masks", "overlays"), batch_size=6)
    for n, row in enumerate(rows):
        assert row["boxes"] == [{"class": "dent", "score": 0.9, "box": [5, 5, 6 + n, 10]}]
        assert row["defects"] == [] and row["verdict"] == "NG" and row["score"] == pytest.approx(0.9)
        assert row["mask"] is None and (out / row["overlay"]).is_file() and row["thresholds"] == {"ng": 0.5}
        assert "probability" not in row
    overlay = cv2.imread(str(out / rows[19]["overlay"]))[..., ::-1].astype(int)
    assert (np.abs(overlay - (255, 0, 0)).sum(axis=2) < 120).any(), "the box is drawn in its class's colour"
    assert summary.defects == {"dent": 20, "scratch": 0} and not list(out.glob("*.png"))
    assert capsys.readouterr().err.count("finds boxes, not masks") == 1
    again, _, _ = predict_with(BrightBox(), "yolov5s", parts, write=("masks", "overlays"), skip_done=True)
    assert again.skipped == 20, "masks that are never written are not missed"


def test_a_part_without_boxes_is_ok(parts: tuple) -> None:
    inputs, *rest = parts
    dark = inputs[0].path.parent / "dark.png"
    dark.write_bytes(cv2.imencode(".png", np.full((32, 40), 20, np.uint8))[1].tobytes())
    _, rows, _ = predict_with(BrightBox(), "yolov5s", (list_inputs([str(dark)], rest[0]), *rest))
    assert rows[0]["verdict"] == "OK" and rows[0]["boxes"] == [] and rows[0]["score"] == 0.0


def test_a_decision_writes_its_probability_and_decides_at_one_half(parts: tuple) -> None:
    summary, rows, out = predict_with(BrightJudge(), "resnet18", parts)
    assert summary.verdicts["NG"] == 20 and {row["probability"] for row in rows} == {0.75}
    assert "boxes" not in rows[0] and rows[0]["score"] == 0.75 and rows[0]["thresholds"] == {"ng": 0.5}
    assert sorted(p.name for p in out.iterdir()) == ["predictions.jsonl"]


def test_masks_boxes_and_decision_stand_side_by_side(parts: tuple) -> None:
    _, rows, out = predict_with(Everything(), "segdecnet", parts, min_area=60)
    assert rows[19]["defects"][0]["area"] == 100 and len(rows[19]["boxes"]) == 1 and rows[19]["probability"] == 0.75
    assert rows[3]["defects"] == [] and rows[3]["verdict"] == "NG", "the decision decides, not the small component"
    assert decode_index((out / rows[19]["mask"]).read_bytes(), "mask").sum() == 100
