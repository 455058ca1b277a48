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
from torch import nn

from defectctl.checkpoints.contract import Contract
from defectctl.config.schema import InputConfig
from defectctl.dataset.types import ClassInfo, Dataset, Known, Sample, Source
from defectctl.imaging.masks import decode_index
from defectctl.imaging.reader import decode_image
from defectctl.inference import predict as predict_module
from defectctl.inference.journal import read_journal
from defectctl.inference.options import PredictOptions, parse_kinds, parse_threshold
from defectctl.inference.predict import predict_files
from defectctl.inference.runner import Maps, TorchRunner
from defectctl.inference.scoring import score_samples
from defectctl.inference.sources import InputFile, list_inputs
from defectctl.inference.writers import ResultWriter
from defectctl.metrics.table import count_image
from defectctl.models.output import Output


class Bright(nn.Module):
    """Class 1 where the grey level is over one half."""

    def forward(self, images: torch.Tensor) -> Output:
        return Output(mask_logits=torch.cat([0.5 - images, images - 0.5], dim=1) * 20)


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
    return make_inputs(tmp_path / "in", 20), tmp_path / "out", Contract({}, ["dent"], [(255, 0, 0)]), model


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
