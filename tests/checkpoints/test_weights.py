"""`model.safetensors`: header without torch, weights there and back, broken files in one sentence."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from defectctl.checkpoints.contract import Contract
from defectctl.checkpoints.weights import (
    METADATA_KEY,
    check_rewritable,
    load_model,
    network_fingerprint,
    read_contract,
    rewrite_contract,
    save_model,
)
from defectctl.config.presets import load_preset, preset_to_dict
from defectctl.errors import InputError


def contract() -> Contract:
    preset = preset_to_dict(load_preset("quick", ["input.size=[64, 64]"]))
    return Contract(preset=preset, classes=["a", "b"], colours=[(1, 2, 3), (4, 5, 6)])


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "Modell ä.safetensors"
    save_model(path, {"weight": torch.arange(12.0).reshape(3, 4)}, contract())
    return path


def test_bytes_depend_on_nothing_else(saved: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    save_model(again, {"weight": torch.arange(12.0).reshape(3, 4).T.contiguous().T}, contract())
    assert saved.read_bytes() == again.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([saved.name, again.name]), "nothing left behind"


def test_header_is_where_the_format_says(saved: Path) -> None:
    data = saved.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    assert Contract.from_json(header["__metadata__"][METADATA_KEY]) == contract() == read_contract(saved)


def test_contract_is_read_without_torch(saved: Path) -> None:
    code = (
        "import sys, pathlib; from defectctl.checkpoints.weights import read_contract; "
        "print(read_contract(pathlib.Path(sys.argv[1])).classes, 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(saved)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "['a', 'b'] False"


@pytest.mark.parametrize("kept", [0, 5, 8, 200, -1])
def test_cut_short(saved: Path, kept: int) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(InputError, match="damaged"):
        read_contract(saved)


@pytest.mark.parametrize(
    "data",
    [b"PK\x03\x04 not a model at all", b"\xff" * 64, struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 7) + b'{"a":1}'],
)
def test_not_safetensors(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(data)
    with pytest.raises(InputError, match="not a safetensors file, or is damaged"):
        read_contract(path)


def test_foreign_weights_missing_file_and_folder(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    foreign = tmp_path / "foreign.safetensors"
    save_file({"w": torch.zeros(2)}, str(foreign), metadata={"format": "pt"})
    with pytest.raises(InputError, match="was not written by defectctl"):
        read_contract(foreign)
    with pytest.raises(InputError, match="does not exist"):
        read_contract(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="is a folder"):
        read_contract(tmp_path)


def test_network_comes_back_with_its_weights(tmp_path: Path) -> None:
    from defectctl.models.registry import build_model

    torch.manual_seed(0)
    written = contract()
    # A run that began with ImageNet weights must load without fetching them again.
    network = build_model(written.preset_config().model, 2, 3).eval()
    written.preset["model"]["weights"] = "imagenet"
    path = tmp_path / "model.safetensors"
    save_model(path, network.state_dict(), written)
    loaded, read = load_model(path, "cpu")
    assert read == written
    assert not loaded.training
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(images).mask_logits, network(images).mask_logits)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    from defectctl.models.registry import build_model

    state = build_model(contract().preset_config().model, 2, 3).state_dict()
    first = next(iter(state))
    state["foreign"] = state.pop(first)
    path = tmp_path / "model.safetensors"
    save_model(path, state, contract())
    with pytest.raises(InputError, match="1 missing, 1 too many, 0 of another shape"):
        load_model(path, "cpu")


def weights_of(path: Path) -> bytes:
    """What follows the header."""
    data = path.read_bytes()
    return data[8 + struct.unpack("<Q", data[:8])[0] :]


def calibrated() -> Contract:
    other = contract()
    other.thresholds, other.calibration = {"ng": 0.25, "pixel": 0.5}, {"notes": ['Riß 划痕 – \\ " 10 %'] * 50}
    return other


def test_another_contract_leaves_every_weight(saved: Path) -> None:
    from safetensors import safe_open

    weights = weights_of(saved)
    rewrite_contract(saved, calibrated())
    assert read_contract(saved) == calibrated() and weights_of(saved) == weights
    assert struct.unpack("<Q", saved.read_bytes()[:8])[0] % 8 == 0, "weights stay aligned"
    with safe_open(str(saved), framework="pt") as stored:
        assert stored.get_tensor("weight").tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
        assert set(stored.metadata()) == {METADATA_KEY}
    rewrite_contract(saved, contract())
    assert read_contract(saved) == contract() and weights_of(saved) == weights


def test_other_metadata_stays(tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = tmp_path / "m.safetensors"
    weights = {"b": torch.zeros(3), "ä": torch.ones(2, 2, dtype=torch.bfloat16), "none": torch.zeros(0)}
    save_file(weights, str(path), metadata={"format": "pt", METADATA_KEY: contract().to_json()})
    rewrite_contract(path, calibrated())
    with safe_open(str(path), framework="pt") as stored:
        assert stored.metadata()["format"] == "pt"
        assert all(torch.equal(stored.get_tensor(name), value) for name, value in weights.items())


@pytest.mark.parametrize("step", ["shutil.copyfileobj", "json.dumps"])
def test_a_rewrite_that_fails_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    before = saved.read_bytes()

    def fail(*_, **__) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"defectctl.checkpoints.weights.{step}", fail)
    with pytest.raises(OSError, match="No space"):
        rewrite_contract(saved, contract())
    assert saved.read_bytes() == before and list(saved.parent.iterdir()) == [saved]


def test_a_damaged_file_is_not_rewritten(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-1])
    before = saved.read_bytes()
    with pytest.raises(InputError, match="damaged"):
        rewrite_contract(saved, calibrated())
    assert saved.read_bytes() == before


def test_the_network_is_known_by_its_weights_and_by_what_finds(saved: Path, tmp_path: Path) -> None:
    network = network_fingerprint(saved, read_contract(saved))
    judged = contract()
    judged.thresholds, judged.calibration, judged.training = {"ng": 0.5, "ok": 0.1}, {"method": "f1"}, {"epoch": 9}
    rewrite_contract(saved, judged)
    assert network_fingerprint(saved, read_contract(saved)) == network
    seen = {network}
    for change in ({"min_area": 5}, {"thresholds": {"pixel": 0.5}}, {"thresholds": {"pixel": 0.25}}, {"preset": {}}):
        other = contract()
        for name, value in change.items():
            setattr(other, name, value)
        rewrite_contract(saved, other)
        seen.add(network_fingerprint(saved, read_contract(saved)))
    trained = tmp_path / "trained.safetensors"
    save_model(trained, {"weight": torch.arange(12.0).reshape(3, 4) + 1}, contract())
    seen.add(network_fingerprint(trained, read_contract(trained)))
    assert len(seen) == 6


def test_a_file_that_could_not_be_rewritten_is_told(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_rewritable(saved)
    assert list(saved.parent.iterdir()) == [saved]
    with pytest.raises(InputError, match="its folder cannot be written"):
        check_rewritable(saved.parent / "gone" / saved.name)
    monkeypatch.setattr("defectctl.checkpoints.weights.os.access", lambda *_: False)
    with pytest.raises(InputError, match="read-only; calibrate a copy"):
        check_rewritable(saved)
