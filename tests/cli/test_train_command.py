"""`defectctl train` from the command line: mistakes cost no torch, a run is whole, deployable and can be resumed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from defectctl.cli.app import main
from defectctl.dataset.types import ClassInfo, Known, Sample, Source, Split
from defectctl.dataset.writer import DatasetWriter
from defectctl.fileio import sha256_bytes
from defectctl.imaging.masks import encode_mask
from defectctl.imaging.synthetic import make_sample

CLASSES = ("inclusion", "patches", "scratches")
SMALL = [
    "--preset",
    "sme-deeplab",
    "--device",
    "cpu",
    "--threads",
    "1",
    "--set",
    "input.size=[64, 64]",
    "--set",
    "model.backbone=starnet_s050",
    "--set",
    "model.shallow_attention=none",
    "--set",
    "train.select=val/defect_iou",
    "--set",
    "train.batch_size=4",
    "--set",
    "train.precision=float32",
    "--set",
    "train.stages.0.epochs=2",
    "--set",
    "augment=[]",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Twelve synthetic images: eight to train on, four to validate."""
    root = tmp_path_factory.mktemp("data") / "steel"
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    classes = [ClassInfo(name, colour) for name, colour in zip(CLASSES, colours, strict=True)]
    sources = {"raw": Source("raw", "mask-folders", Known(mask=(1, 2, 3), image=False))}
    ids = []
    with DatasetWriter(root, "steel", classes, sources) as writer:
        for index in range(12):
            image, mask = make_sample(index, size=(64, 64), good_share=0.0)
            data = cv2.imencode(".png", image)[1].tobytes()
            ids.append(f"{index:02d}.png")
            sample = Sample(ids[-1], f"images/{ids[-1]}", 64, 64, sha256_bytes(data), "raw")
            writer.add(sample, data, encode_mask(mask, colours))
        parts = {"train": ids[:8], "val": ids[8:]}
        writer.finish([Split("random", "test", 0, parts), Split("bare", "test", 0, {"train": ids})], "random", {})
    return root


def test_a_run_is_whole_and_deployable(data, tmp_path, capsys):
    from defectctl.checkpoints.weights import load_model

    assert main(["train", *SMALL, "--data", str(data), "--out", str(tmp_path / "runs"), "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    run = Path(result["run"])
    names = {
        "preset.yaml",
        "model.safetensors",
        "state.pt",
        "history.csv",
        "curves.png",
        "log.txt",
        "environment.json",
        "run.json",
    }
    assert {p.name for p in run.iterdir()} == names
    assert captured.err.count("\nepoch ") == 2 and "split 'random' (8 train, 4 val)" in captured.err
    about = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert about["status"] == "finished" and about["split"] == "random"
    model, contract = load_model(Path(result["model"]))
    assert contract.classes == list(CLASSES) and contract.training["metric"] == "val/defect_iou" and not model.training
    assert contract.min_area >= 1 and contract.preset["predict"]["min_area"] == contract.min_area
    assert contract.dataset["fingerprint"] == about["fingerprint"]

    assert main(["train", "--resume", str(run), "--device", "cpu", "--threads", "1"]) == 2
    assert "is finished" in capsys.readouterr().err
    longer = ["train", "--resume", str(run), "--device", "cpu", "--threads", "1", "--set", "train.stages.0.epochs=3"]
    assert main([*longer, "--json", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["epochs"] == 3 and "epoch 3" not in captured.err


def test_the_same_seed_gives_the_same_model_and_another_one_does_not(data, tmp_path, capsys):
    found = []
    for seed in ("1", "1", "2"):
        fast = ["--set", "train.stages.0.epochs=1", "--seed", seed, "--json", "--quiet"]
        assert main(["train", *SMALL, *fast, "--data", str(data), "--out", str(tmp_path)]) == 0
        import torch

        state = Path(json.loads(capsys.readouterr().out)["run"]) / "state.pt"
        found.append(torch.load(state, weights_only=True)["model"])
    assert all(torch.equal(found[0][k], found[1][k]) for k in found[0])
    assert not all(torch.equal(found[0][k], found[2][k]) for k in found[0])


def test_dry_run_trains_nothing(data, tmp_path, capsys):
    assert main(["train", *SMALL, "--data", str(data), "--out", str(tmp_path / "runs"), "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["images"] == {"train": 8, "val": 4} and plan["stages"] == [{"name": "all", "epochs": 2}]
    assert not (tmp_path / "runs").exists()


MISTAKES = [
    (["--preset", "sme-deplab"], "did you mean 'sme-deeplab'"),
    ([], "name a preset with --preset"),
    (["--preset", "quick", "--device", "gpu"], "device 'gpu'"),
    (["--preset", "quick", "--data", "/no/such"], "does not exist"),
    (["--preset", "quick", "--split", "nosuch"], "nosuch"),
    (["--preset", "quick", "--split", "bare"], "no images in a part 'val'"),
    (["--preset", "quick", "--set", "train.epochs=3"], "train.epochs"),
    (["--preset", "quick", "--set", "train.select=val/defect_io"], "did you mean 'val/defect_iou'"),
    (["--preset", "quick", "--set", "train.stages.0.losses={dise: 1}"], "did you mean 'dice'"),
    (["--preset", "quick", "--set", "train.loss_options={focal: {gama: 1}}"], "did you mean 'gamma'"),
    (["--preset", "quick", "--set", "model.encoder=resnet19"], "resnet19"),
    (["--preset", "quick", "--set", "model.weights=missing.pth"], "missing.pth"),
    (["--preset", "quick", "--set", "train.class_weights=[1, 2]"], "class_weights has 2"),
    (["--resume", "nosuch"], "run 'nosuch' does not exist"),
    (["--preset", "quick", "--resume", "x"], "not both"),
    (["--preset", "quick", "--out", __file__], "is a file"),
]


@pytest.mark.parametrize(("arguments", "sentence"), MISTAKES)
def test_a_mistake_is_one_sentence_and_leaves_nothing(data, tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    base = [] if "--data" in arguments else ["--data", str(data)]
    assert main(["train", *arguments, *base]) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and sentence in errors[0] and captured.out == ""
    assert list(tmp_path.iterdir()) == []


def heavy_after(arguments: list[str]) -> tuple[str, set[str]]:
    script = (
        "import sys, json\nfrom defectctl.cli.app import main\ncode = main(json.loads(sys.argv[1]))\n"
        "print('\\n#', code, *({'torch', 'cv2', 'scipy', 'matplotlib', 'timm'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(arguments)], capture_output=True, text=True, encoding="utf-8"
    )
    text, _, last = done.stdout.rpartition("\n# ")
    return text + done.stderr, set(last.split())


def test_checks_and_the_list_do_not_import_torch(data, tmp_path):
    text, loaded = heavy_after(["train", "--list"])
    assert loaded == {"0"} and "sme-deeplab" in text and "quick" in text and "deeplabv3plus" in text
    _, loaded = heavy_after(["train", "--preset", "quick", "--data", str(data), "--dry-run", "--out", str(tmp_path)])
    assert loaded == {"0"}


def test_a_damaged_image_stops_the_training_with_its_name(data, tmp_path, capsys):
    import shutil

    copy = tmp_path / "steel"
    shutil.copytree(data, copy)
    (copy / "images" / "03.png").write_bytes(b"broken")
    assert main(["train", *SMALL, "--data", str(copy), "--out", str(tmp_path / "runs")]) == 2
    assert "03.png" in capsys.readouterr().err
    [run] = (tmp_path / "runs").iterdir()
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["status"] == "stopped"


def test_a_resumed_run_equals_an_unbroken_one_with_real_batches_bit_for_bit(data, tmp_path, capsys):
    import torch

    changes = ["--set", "train.stages.0.schedule={name: constant}", "--set", "augment=[{hflip: 0.5}, {rot90: 1.0}]"]
    base = ["train", *SMALL, *changes, "--data", str(data), "--out", str(tmp_path), "--json", "--quiet"]
    found = []
    for epochs in ("2", "1"):
        assert main([*base, "--set", f"train.stages.0.epochs={epochs}"]) == 0
        run = json.loads(capsys.readouterr().out)["run"]
        if epochs == "1":
            longer = ["--device", "cpu", "--threads", "1", "--set", "train.stages.0.epochs=2"]
            assert main(["train", "--resume", run, *longer, "--quiet"]) == 0
        state = Path(run) / "state.pt"
        found.append(torch.load(state, weights_only=True)["model"])
    assert all(torch.equal(found[0][k], found[1][k]) for k in found[0])


def test_the_smallest_area_asked_for_anew_on_resume_is_a_number_again(data, tmp_path, capsys):
    base = ["train", *SMALL, "--data", str(data), "--out", str(tmp_path), "--json", "--quiet"]
    assert main([*base, "--set", "train.stages.0.epochs=1", "--set", "predict.min_area=7"]) == 0
    run = json.loads(capsys.readouterr().out)["run"]
    more = ["--set", "train.stages.0.epochs=2", "--set", "predict.min_area=auto", "--device", "cpu", "--threads", "1"]
    assert main(["train", "--resume", run, *more, "--quiet"]) == 0
    assert "min_area: auto" not in (Path(run) / "preset.yaml").read_text(encoding="utf-8")
