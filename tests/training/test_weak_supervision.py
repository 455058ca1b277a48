"""Training on image labels alone never sees a mask: without the dataset's `masks/` the weights are bit-identical."""

from __future__ import annotations

import shutil

import cv2
import pytest
from safetensors.numpy import load_file

from defectctl.cli.app import main
from defectctl.dataset.splits import split_fingerprint
from defectctl.dataset.types import ClassInfo, Known, Sample, Source, Split
from defectctl.dataset.writer import DatasetWriter
from defectctl.errors import InputError
from defectctl.fileio import sha256_bytes
from defectctl.imaging.masks import encode_mask
from defectctl.imaging.synthetic import make_sample
from defectctl.training.request import TrainOptions, check_request

WEAK = [
    "train.stages.0.updates=3",
    "train.stages.1.updates=2",
    "train.stages.2.updates=1",
    "train.stages.3.updates=2",
    "input.size=[64, 64]",
    "model.width=0.125",
    "train.precision=float32",
]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Sixteen surfaces with one class; every second one is good and has no mask file."""
    root, ids = tmp_path_factory.mktemp("parts") / "data", []
    known = Known(mask=(1,), image=True)
    with DatasetWriter(root, "parts", [ClassInfo("crack", (255, 0, 0))], {"r": Source("r", "r", known)}) as writer:
        for index in range(16):
            image, mask = make_sample(index, size=(64, 64), good_share=float(index % 2))
            data = cv2.imencode(".png", image)[1].tobytes()
            ids.append(f"{index:02d}.png")
            bad = bool((mask > 0).any())
            sample = Sample(
                ids[-1], "", 64, 64, sha256_bytes(data), "r", present=(1,) if bad else (), has_unknown=False
            )
            writer.add(sample, data, encode_mask((mask > 0).astype("uint8"), [(255, 0, 0)]) if bad else None)
        named = {"train": ids[:8], "val": ids[8:12], "test": ids[12:]}
        writer.finish([Split("only", "test", None, named, split_fingerprint(named))], "only", {})
    return root


def train(root, out, *more):
    settings = [word for value in (*WEAK, *more) for word in ("--set", value)]
    return main(
        [
            "train",
            "--preset",
            "weak-lnet-dnet",
            "--data",
            str(root),
            "--out",
            str(out),
            "--threads",
            "1",
            "-q",
            *settings,
        ]
    )


def weights(out):
    return load_file(str(next(out.glob("*/model.safetensors"))))


def test_without_the_masks_the_weights_are_bit_identical(parts, tmp_path, capsys):
    bare = tmp_path / "bare"
    shutil.copytree(parts, bare)
    shutil.rmtree(bare / "masks")
    assert train(parts, tmp_path / "with") == 0 and train(bare, tmp_path / "without") == 0
    first, second = weights(tmp_path / "with"), weights(tmp_path / "without")
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)


def test_selecting_by_masks_is_refused_where_none_is_opened(parts, tmp_path):
    with pytest.raises(InputError, match="never opens; select val/image_ap"):
        check_request(
            TrainOptions(preset="weak-lnet-dnet", data=parts, overrides=("train.select=val/defect_iou",), out=tmp_path)
        )


def test_predict_gives_a_defect_map_and_the_score_of_the_decision(parts, tmp_path, capsys):
    import json

    assert train(parts, tmp_path / "runs") == 0
    model = next((tmp_path / "runs").glob("*/model.safetensors"))
    options = ["--model", str(model), "--threads", "1", "--write", "defect-maps", "-q"]
    code = main(["predict", str(parts / "images"), "--out", str(tmp_path / "out"), *options])
    rows = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text("utf-8").splitlines()]
    images = [row for row in rows if "verdict" in row]
    assert code == 0 and len(images) == 16
    for row in images:
        assert row["score"] == pytest.approx(row["probability"], abs=1e-5)
        assert row["verdict"] == ("NG" if row["probability"] >= 0.5 else "OK")
    assert len(list((tmp_path / "out").rglob("*.png"))) == 16
