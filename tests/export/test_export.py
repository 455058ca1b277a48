"""Exports of small networks: what comes out agrees, keeps its contract, and a file that disagrees is not written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from onnx_toys import make_contract, write_toy
from small_models import SMALL, classes_of
from torch import nn

from defectctl.checkpoints.contract import Contract
from defectctl.checkpoints.weights import read_contract, save_model
from defectctl.cli.app import main
from defectctl.config.presets import check_preset, preset_to_dict
from defectctl.errors import InputError, RunError
from defectctl.export import export as export_module
from defectctl.export import graph as graph_module
from defectctl.imaging.synthetic import SyntheticSurface
from defectctl.models.catalogue import REGISTRY
from defectctl.models.output import Output
from defectctl.models.registry import build_model

HAS_PYTHON = "DEFECTCTL_PYTHON_WITHOUT_TORCH"
"""Environment variable: an interpreter that has onnxruntime and what predict needs, and no torch."""


@pytest.fixture(autouse=True)
def packages() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed")


def make_model(folder: Path, name: str, options: dict, mode: str = "resize", colour: str = "rgb") -> Path:
    """A network with random weights for inputs of 32 x 48 pixels."""
    stage = {
        "name": "all",
        "epochs": 1,
        "losses": {"ce": 1},
        "optimiser": {"name": "adamw", "lr": 0.001},
        "schedule": {"name": "constant"},
    }
    preset = check_preset(
        {
            "name": name,
            "description": "small",
            "model": {"name": name, **options},
            "input": {"size": [32, 48], "mode": mode, "colour": colour},
            "train": {"batch_size": 2, "stages": [stage]},
        },
        "test",
    )
    torch.manual_seed(4)
    classes = classes_of(name)
    network = build_model(preset.model, classes, 1 if colour == "grey" else 3)
    names, colours = [f"класс {n}" for n in range(classes)], [(255, 0, 0)] * classes
    contract = Contract(preset_to_dict(preset), names, colours, thresholds={"ng": 0.5}, min_area=3)
    save_model(folder / "model.safetensors", network.state_dict(), contract)
    return folder / "model.safetensors"


def export(*arguments: object) -> int:
    return main(["export", *map(str, arguments)])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small U-Net and what `defectctl export` made of it, and its JSON."""
    folder = tmp_path_factory.mktemp("unet")
    make_model(folder, "unet", {"width": 4})
    arguments = ["export", str(folder), "--json", "--threads", "1"]
    code = f"import sys; from defectctl.cli.app import main; sys.exit(main({arguments!r}))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    (folder / "told.json").write_bytes(done.stdout)
    return folder


@pytest.mark.slow
def test_the_contract_and_what_is_told(exported: Path) -> None:
    told = json.loads((exported / "told.json").read_text(encoding="utf-8"))
    assert told["outputs"] == ["mask_logits"] and told["opset"] == 18
    assert told["parity"]["same_pixels"] >= 0.999 and told["tried_on"] == "generated steel surfaces"
    assert told["bytes"] == (exported / "model.onnx").stat().st_size
    first, second = (read_contract(exported / name) for name in ("model.safetensors", "model.onnx"))
    assert first.to_json() == second.to_json()


@pytest.mark.slow
def test_the_graph_tells_nothing_of_the_machine_that_made_it(exported: Path) -> None:
    import onnx

    data = (exported / "model.onnx").read_bytes()
    assert str(Path(torch.__file__).parent).encode() not in data and b"site-packages" not in data
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    assert model.producer_name == "defectctl" and [o.version for o in model.opset_import if not o.domain] == [18]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    batch, *size = model.graph.input[0].type.tensor_type.shape.dim
    assert batch.dim_param and [side.dim_value for side in size] == [3, 32, 48]


@pytest.mark.slow
def test_predict_gives_the_same_files_with_both(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, size in enumerate(((40, 60), (32, 48), (64, 40), (20, 90))):
        picture, _ = SyntheticSurface(size=size).sample(number)
        (tmp_path / "in" / f"{number}.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    for model in ("model.safetensors", "model.onnx"):
        arguments = [tmp_path / "in", "--out", tmp_path / model, "--model", exported / model, "--device", "cpu"]
        assert main(["predict", *map(str, arguments), "--precision", "float32", "--write", "masks,defect-maps"]) == 0
    rows, rows_too = (
        [json.loads(line) for line in (tmp_path / name / "predictions.jsonl").read_text().splitlines()]
        for name in ("model.safetensors", "model.onnx")
    )
    for one, other in zip(rows, rows_too, strict=True):
        assert one["verdict"] == other["verdict"] and one["thresholds"] == other["thresholds"]
        assert other["score"] == pytest.approx(one["score"], abs=0.005)
        for name in (one["mask"], one["defect_map"]):
            a, b = (
                cv2.imdecode(np.fromfile(tmp_path / model / name, np.uint8), cv2.IMREAD_UNCHANGED).astype(int)
                for model in ("model.safetensors", "model.onnx")
            )
            assert (np.abs(a - b) <= (0 if name == one["mask"] else 1)).mean() >= 0.999


class BrightLogits(nn.Module):
    """The network of `onnx_toys.write_toy`, in torch."""

    def forward(self, images: torch.Tensor) -> Output:
        logit = (images - 0.5) * 20
        return Output(mask_logits=torch.cat([logit * 0, logit], dim=1))


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights in a folder of their own; written as ONNX node by node, which takes no seconds."""
    folder = tmp_path / "model"
    folder.mkdir()
    save_model(folder / "model.safetensors", {"unused": torch.zeros(1)}, make_contract("unet"))
    monkeypatch.setattr(export_module, "write_graph", lambda network, contract, path: write_toy(path, contract, "mask"))
    monkeypatch.setattr(export_module, "load_model", lambda path: (BrightLogits(), read_contract(path)))
    return folder


def test_what_agrees_is_written_and_told(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(toy, "--json", "--threads", 1) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["file"] == str(toy / "model.onnx") and told["bytes"] == (toy / "model.onnx").stat().st_size
    assert told["parity"]["images"] == 12 and told["parity"]["same_pixels"] >= 0.999
    assert told["parity"]["defect_iou"] >= 0.99 and told["tried_on"] == "generated steel surfaces"
    assert export(toy, "--out", toy / "again.onnx", "--threads", 1) == 0
    assert "agrees with PyTorch" in capsys.readouterr().out
    assert (toy / "again.onnx").read_bytes() == (toy / "model.onnx").read_bytes()


def test_it_is_tried_on_the_validation_part_of_a_dataset(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, data = toy.parent / "raw", toy.parent / "data"
    write_demo_dataset(raw)
    assert main(["prepare", str(raw), "--out", str(data), "--quiet"]) == 0
    capsys.readouterr()
    assert export(toy, "--json", "--data", data, "--images", 3, "--threads", 1) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parity"]["images"] == 3 and "part 'val'" in told["tried_on"]


def write_demo_dataset(folder: Path) -> None:
    """Twenty surfaces with their masks."""
    for number in range(20):
        picture, mask = SyntheticSurface(size=(40, 50), classes=("dent",)).sample(number)
        for name, array in (("images", picture), ("masks", mask * 255)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name / f"{number:02}.png").write_bytes(cv2.imencode(".png", array)[1].tobytes())


def test_a_file_that_disagrees_is_not_written(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Shifted(BrightLogits):
        def forward(self, images: torch.Tensor) -> Output:
            return super().forward(images * 0.97)

    monkeypatch.setattr(export_module, "load_model", lambda path: (Shifted(), read_contract(path)))
    out = toy / "out.onnx"
    out.write_bytes(b"what was there")
    assert export(toy, "--out", out, "--threads", 1) == 1
    told = capsys.readouterr().err
    assert "disagrees" in told and "is not written" in told and "of the pixels" in told
    assert out.read_bytes() == b"what was there"
    assert sorted(path.name for path in toy.iterdir()) == ["model.safetensors", "out.onnx"]


def test_what_torch_cannot_export_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise ValueError("several\nlines")

    monkeypatch.setattr(graph_module, "_export", fail)
    with pytest.raises(RunError, match="torch cannot export 'unet' to ONNX: several lines"):
        graph_module.write_graph(BrightLogits(), make_contract("unet"), tmp_path / "m.onnx")


def test_wrong_arguments_are_refused_before_torch_works(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_toy(toy / "model.onnx", make_contract("unet"), "mask")
    for arguments, words in (
        ([toy, "--out", tmp_path / "model.pt"], "does not end in .onnx"),
        ([toy / "model.onnx"], "is an exported model already"),
        ([toy, "--data", tmp_path / "none", "--out", tmp_path / "m.onnx"], "does not exist"),
        ([tmp_path / "none"], "does not exist"),
    ):
        assert export(*arguments) == 2
        told = capsys.readouterr().err
        assert words in told and "Traceback" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "NEEDED", ("onnx", "no_such_package"))
    with pytest.raises(InputError, match=r"needs no_such_package.*pip install 'defectctl\[export\]'"):
        export_module.check_packages()


@pytest.mark.slow
@pytest.mark.parametrize("name", list(REGISTRY))
def test_every_network_of_the_registry_agrees(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing is resized here: on a smooth surface, the classes of an untrained network hang on the last digit.
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (32, 48, 3), dtype=np.uint8) for _ in range(6)]
    monkeypatch.setattr(export_module, "generated_pictures", lambda contract: pictures)
    make_model(tmp_path, name, SMALL.get(name, {}))
    assert export(tmp_path, "--threads", 1, "--quiet") == 0
    assert read_contract(tmp_path / "model.onnx").preset["model"]["name"] == name


@pytest.mark.slow
@pytest.mark.parametrize(("name", "colour"), [("segdecnet", "grey"), ("unet", "grey"), ("yolov5s", "rgb")])
def test_tiles_agree(name: str, colour: str, tmp_path: Path) -> None:
    make_model(tmp_path, name, SMALL[name], "tile", colour)
    assert export(tmp_path, "--threads", 1, "--quiet") == 0


@pytest.mark.slow
def test_predict_where_torch_is_not_installed(exported: Path, tmp_path: Path) -> None:
    python = os.environ.get(HAS_PYTHON)
    if not python:
        pytest.skip(f"{HAS_PYTHON} names no Python without torch")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([python, *arguments], capture_output=True, text=True, env=environment, check=False)

    assert "No module named 'torch'" in run("-c", "import torch").stderr
    picture, _ = SyntheticSurface(size=(40, 60)).sample(1)
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    command = ["-m", "defectctl", "predict", str(tmp_path / "a.png"), "--write", "masks,overlays,defect-maps"]
    done = run(*command, "--out", str(tmp_path / "out"), "--model", str(exported / "model.onnx"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 1 and (tmp_path / "out" / "a.png").is_file()
    refused = run(*command, "--out", str(tmp_path / "no"), "--model", str(exported / "model.safetensors"))
    assert refused.returncode == 2 and "needs torch" in refused.stderr
