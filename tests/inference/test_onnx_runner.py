"""The runner of exported models on networks whose answers are known, and predict with it where torch cannot load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx_toys import BOX, HEIGHT, WIDTH, bright_picture, make_contract, write_toy

from defectctl.errors import InputError, RunError
from defectctl.inference import onnx_runner
from defectctl.inference.load import open_runner
from defectctl.inference.onnx_runner import OnnxRunner, choose_place, load_onnx_runner, thread_count

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; "


@pytest.fixture
def packages() -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, check=False)


def test_the_pipeline_imports_without_torch() -> None:
    modules = ("cli.predict", "inference.predict", "inference.onnx_runner", "inference.load", "checkpoints.weights")
    done = python(WITHOUT_TORCH + "import " + ", ".join(f"defectctl.{name}" for name in modules))
    assert done.returncode == 0, done.stderr


def test_masks_and_decisions_in_the_pictures_own_pixels(tmp_path: Path, packages: None) -> None:
    path = write_toy(tmp_path / "m.onnx", make_contract("segdecnet"), "mask", "decision")
    runner, contract = load_onnx_runner(path)
    assert contract.classes == ["dent"] and str(runner.device) == "cpu"
    plain, bright = np.full((HEIGHT, WIDTH), 20, np.uint8), bright_picture()
    large = cv2.resize(bright, (WIDTH * 3, HEIGHT * 3), interpolation=cv2.INTER_NEAREST)
    found = runner.maps([plain, bright, large])
    assert [maps.class_map.shape for maps in found] == [plain.shape, bright.shape, large.shape]
    assert not found[0].class_map.any()
    assert np.array_equal(found[1].class_map > 0, bright > 127)
    assert ((found[2].class_map > 0) == (large > 127)).mean() > 0.99
    # sigmoid(20 (v - 0.5)) of the brightest pixel
    expected = [1 / (1 + np.exp(-20 * (value / 255 - 0.5))) for value in (20, 250)]
    assert [maps.probability for maps in found[:2]] == pytest.approx(expected, abs=1e-6)
    assert abs(int(found[1].defect.min()) - round(255 * expected[0])) <= 1


def test_boxes_of_a_graph_that_takes_one_image(tmp_path: Path, packages: None) -> None:
    path = write_toy(tmp_path / "m.onnx", make_contract("yolov5s"), "boxes", one_image=True)
    runner, _ = load_onnx_runner(path)
    same, twice = runner.maps([bright_picture(), bright_picture(2 * HEIGHT, 2 * WIDTH)])
    assert not same.has_mask and same.probability is None
    # of two equal boxes one is left; in an image twice as large the box is twice as large
    assert same.boxes.boxes.tolist() == [BOX] and same.boxes.scores.tolist() == pytest.approx([0.9])
    assert twice.boxes.boxes.tolist() == [[2 * edge for edge in BOX]]


def test_tiles_find_what_lies_anywhere(tmp_path: Path, packages: None) -> None:
    path = write_toy(tmp_path / "m.onnx", make_contract("unet", "tile"), "mask")
    runner, _ = load_onnx_runner(path, batch_size=3)
    picture = np.full((100, 130), 20, np.uint8)
    picture[50:60, 35:95] = 250
    assert np.array_equal(runner.maps([picture])[0].class_map > 0, picture > 127)


def test_the_stored_pixel_threshold_counts(tmp_path: Path, packages: None) -> None:
    contract = make_contract("unet", thresholds={"pixel": 1.0})
    runner, _ = load_onnx_runner(write_toy(tmp_path / "m.onnx", contract, "mask"))
    picture = np.full((HEIGHT, WIDTH), 140, np.uint8)  # sigmoid(20 (140 / 255 - 0.5)) = 0.73
    assert not runner.maps([picture])[0].class_map.any()
    runner.pixel_threshold = 0.7
    assert runner.maps([picture])[0].class_map.all()


def test_full_memory_halves_the_batch(capsys: pytest.CaptureFixture[str], tmp_path: Path, packages: None) -> None:
    runner, _ = load_onnx_runner(write_toy(tmp_path / "m.onnx", make_contract("unet"), "mask"))
    sizes: list[int] = []
    inner = runner._pass

    def limited(images: np.ndarray) -> dict[str, np.ndarray]:
        sizes.append(len(images))
        if len(images) > 2:
            raise RuntimeError("bfc_arena.cc: Failed to allocate memory for requested buffer of size 1")
        return inner(images)

    runner._pass = limited  # type: ignore[method-assign]
    assert len(runner.maps([bright_picture()] * 5)) == 5 and sizes == [5, 2, 2, 1]
    assert "out of memory on cpu with 5 pictures" in capsys.readouterr().err
    runner._pass = lambda images: (_ for _ in ()).throw(MemoryError())  # type: ignore[method-assign]
    with pytest.raises(RunError, match="single picture"):
        runner.maps([bright_picture()])


def test_other_errors_are_not_taken_for_full_memory(tmp_path: Path, packages: None) -> None:
    runner, _ = load_onnx_runner(write_toy(tmp_path / "m.onnx", make_contract("unet"), "mask"))
    runner._pass = lambda images: (_ for _ in ()).throw(KeyError("x"))  # type: ignore[method-assign]
    with pytest.raises(KeyError):
        runner.maps([bright_picture()])


def test_a_network_that_does_not_fit_its_contract_is_refused(tmp_path: Path, packages: None) -> None:
    path = write_toy(tmp_path / "m.onnx", make_contract("segdecnet"), "mask")
    with pytest.raises(InputError, match="does not fit its contract"):
        load_onnx_runner(path)


def test_a_damaged_network_is_refused(tmp_path: Path, packages: None) -> None:
    path = write_toy(tmp_path / "m.onnx", make_contract("unet"), "mask")
    path.write_bytes(path.read_bytes().replace(b"Concat", b"Konkat"))
    with pytest.raises(InputError, match="onnxruntime cannot use"):
        load_onnx_runner(path)


def test_what_an_exported_model_cannot_do_is_said(
    tmp_path: Path, packages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_toy(tmp_path / "m.onnx", make_contract("unet"), "mask")
    with pytest.raises(InputError, match="computes in float32"):
        open_runner(path, precision="bf16")
    monkeypatch.setattr(
        onnx_runner, "_onnxruntime", lambda: type("Ort", (), {"get_available_providers": staticmethod(lambda: [])})
    )
    with pytest.raises(InputError, match="onnxruntime-gpu"):
        choose_place("cuda:1")
    with pytest.raises(InputError, match="not known"):
        choose_place("gpu")


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert thread_count() == 3 and thread_count(2) == 2
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(onnx_runner, "allowed_cores", lambda: 8)
    assert thread_count() == 7
    monkeypatch.setattr(onnx_runner, "allowed_cores", lambda: 1)
    assert thread_count() == 1


def test_predict_runs_where_torch_cannot_be_imported(tmp_path: Path, packages: None) -> None:
    model = write_toy(tmp_path / "m.onnx", make_contract("unet"), "mask")
    (tmp_path / "in").mkdir()
    for name in ("a", "б"):
        (tmp_path / "in" / f"{name}.png").write_bytes(cv2.imencode(".png", bright_picture())[1].tobytes())
    code = WITHOUT_TORCH + "from defectctl.cli.app import main; sys.exit(main())"
    arguments = ["predict", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--json", "--model"]
    done = python(code, *arguments, str(model))
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["ng"] == 2 and summary["device"] == "cpu" and summary["precision"] == "float32"
    row = json.loads((tmp_path / "out" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()[1])
    assert row["file"] == "б.png" and [d["box"] for d in row["defects"]] == [[8, 5, 20, 15]]
    weights = tmp_path / "model.safetensors"
    _write_weights(weights)
    done = python(code, *arguments, str(weights))
    assert done.returncode == 2 and "needs torch, which is not installed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_onnxruntime_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match="pip install onnxruntime"):
        onnx_runner._onnxruntime()


def _write_weights(path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"w": np.zeros(2, np.float32)}, str(path), metadata={"defectctl": make_contract("unet").to_json()})


def test_the_runner_keeps_to_the_contracts_input(tmp_path: Path, packages: None) -> None:
    runner, contract = load_onnx_runner(write_toy(tmp_path / "m.onnx", make_contract("unet"), "mask"))
    assert isinstance(runner, OnnxRunner) and runner.input == contract.preset_config().input
