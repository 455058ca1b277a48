"""`train` of a network that detects: boxes from objects or from mask components reach its losses and its validation."""

from __future__ import annotations

import csv

import cv2
import pytest

from defectctl.cli.app import main
from defectctl.config.presets import load_preset
from defectctl.dataset.splits import split_fingerprint
from defectctl.dataset.types import ClassInfo, Known, Object, Sample, Source, Split
from defectctl.dataset.writer import DatasetWriter
from defectctl.fileio import sha256_bytes
from defectctl.imaging.components import find_components
from defectctl.imaging.masks import encode_mask
from defectctl.imaging.synthetic import make_sample

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def dataset(root, truth: str):
    """Eight surfaces; `truth` is what is known of them: `masks`, `boxes`, or `both` (half of them each)."""
    kinds = {"masks": Known(mask=(1, 2, 3), image=True), "boxes": Known(boxes=(1, 2, 3), image=True)}
    sources = {name: Source(name, name, known) for name, known in kinds.items()}
    classes = [ClassInfo(name, colour) for name, colour in zip("abc", COLOURS, strict=True)]
    ids = []
    with DatasetWriter(root, "parts", classes, sources) as writer:
        for index in range(8):
            image, mask = make_sample(index, size=(64, 64), good_share=0.0)
            data = cv2.imencode(".png", image)[1].tobytes()
            kind = truth if truth != "both" else ("masks", "boxes")[index % 2]
            ids.append(f"{index}.png")
            sample = Sample(ids[-1], "", 64, 64, sha256_bytes(data), kind)
            if kind == "boxes":
                sample.objects = [Object(c.label, c.box) for c in find_components(mask)[1]]
            writer.add(sample, data, encode_mask(mask, COLOURS) if kind == "masks" else None)
        parts = {"train": ids[:6], "val": ids[6:]}
        writer.finish([Split("only", "test", None, parts, split_fingerprint(parts))], "only", {})
    return root


def train(root, out, preset, *more):
    settings = ["input.size=[64, 64]", "model.width=0.25", "train.batch_size=2", "augment=[]", *more]
    words = [word for value in settings for word in ("--set", value)]
    return main(["train", "--preset", preset, "--data", str(root), "--out", str(out), "--threads", "1", "-q", *words])


def history(out):
    with open(next(out.glob("*/history.csv")), encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.parametrize("truth", ["masks", "boxes"])
def test_a_detector_learns_from_objects_and_from_components(truth, tmp_path, capsys):
    assert train(dataset(tmp_path / "d", truth), tmp_path / "runs", "yolov5s", "train.stages.0.epochs=1") == 0
    (row,) = history(tmp_path / "runs")
    assert float(row["loss/box"]) > 0 and float(row["loss/class"]) > 0
    assert row["val/map50"] != "" and "val/defect_iou" not in row


def test_all_strategies_run_to_their_last_stage_on_masks_of_some_and_boxes_of_others(tmp_path, capsys):
    root = dataset(tmp_path / "d", "both")
    for name in ("multitask", "multitask-end-to-end", "multitask-rotation", "multitask-detection-first"):
        stages = load_preset(name).train.stages
        short = [f"train.stages.{i}.epochs={2 if stage.turns else 1}" for i, stage in enumerate(stages)]
        assert train(root, tmp_path / name, name, *short) == 0
        rows = history(tmp_path / name)
        assert [row["stage"] for row in rows] == [s.name for s in stages for _ in range(2 if s.turns else 1)]
        last = rows[-1] if name != "multitask-rotation" else {**rows[0], **{k: v for k, v in rows[1].items() if v}}
        assert float(last["loss/box"]) > 0 and float(last["loss/bce"]) > 0


def test_data_without_what_the_losses_learn_from_are_refused(tmp_path, capsys):
    root = dataset(tmp_path / "d", "boxes")
    assert main(["train", "--preset", "quick", "--data", str(root), "--out", str(tmp_path / "runs")]) == 2
    assert "has masks, and preset 'quick' learns from masks" in capsys.readouterr().err


def test_class_weights_that_leave_nothing_to_learn_are_refused(tmp_path, capsys):
    root = dataset(tmp_path / "d", "masks")
    assert train(root, tmp_path / "runs", "multitask", "train.class_weights=[0, 0, 0, 0]") == 2
    assert "no pixel would count" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("preset", "losses", "words"),
    [
        ("quick", "{image_bce: 1}", "'image_bce' needs a model that gives a verdict; this one gives segmentation"),
        ("yolov5s", "{ce: 1}", "'ce' needs a model that gives masks; this one gives detection"),
        ("quick", "{box: 1}", "there is no loss 'box'"),
    ],
)
def test_a_loss_on_what_the_model_does_not_deliver_is_refused_at_once(preset, losses, words, tmp_path, capsys):
    root, out = dataset(tmp_path / "d", "masks"), tmp_path / "runs"
    given = ["--preset", preset, "--data", str(root), "--out", str(out), "--set", f"train.stages.0.losses={losses}"]
    assert main(["train", *given]) == 2
    assert words in capsys.readouterr().err and not out.exists()


def test_more_classes_than_a_model_tells_are_refused_at_once(tmp_path, capsys):
    root, out = dataset(tmp_path / "d", "masks"), tmp_path / "runs"
    assert main(["train", "--preset", "weak-lnet-dnet", "--data", str(root), "--out", str(out), "--dry-run"]) == 2
    assert "tells 1 class of defects, and" in capsys.readouterr().err and not out.exists()


def test_specks_in_the_masks_are_no_boxes_of_a_detector_either(tmp_path, capsys):
    """Boxes made of mask components leave out what `predict.min_area` does, which the masks give here too."""
    root = dataset(tmp_path / "d", "masks")
    assert train(root, tmp_path / "runs", "yolov5s", "train.stages.0.epochs=1") == 0
    resolved = load_preset(str(next((tmp_path / "runs").glob("*/preset.yaml"))))
    assert isinstance(resolved.predict.min_area, int)
