"""The metadata of ONNX files: read from bytes written here by the rules of protocol buffers, and by onnx itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from defectctl.checkpoints.contract import Contract
from defectctl.checkpoints.onnx_file import read_metadata
from defectctl.checkpoints.runs import find_model
from defectctl.checkpoints.weights import load_model, read_contract
from defectctl.errors import InputError

CONTRACT = Contract({"model": {"name": "unet"}}, ["вмятина", "scratch"], [(255, 0, 0), (0, 255, 0)])


def field(number: int, value: bytes | int) -> bytes:
    """A field of a protocol buffer: bytes with their length, or a number."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    text = bytearray()
    while value > 0x7F:
        text.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*text, value])


def model_bytes(key: str = "defectctl", value: str = CONTRACT.to_json()) -> bytes:
    """As `ModelProto` is laid out: ir_version, producer, a graph of 300 bytes, and the metadata."""
    entry = field(1, key.encode()) + field(2, value.encode())
    odd = varint(99 << 3 | 5) + b"1234" + varint(98 << 3 | 1) + b"12345678"
    return field(1, 10) + field(2, b"somebody") + odd + field(7, b"\xff" * 300) + field(14, entry)


def test_the_contract_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "модель.ONNX"
    path.write_bytes(model_bytes())
    assert read_contract(path).to_json() == CONTRACT.to_json()


def test_every_cut_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path, whole = tmp_path / "model.onnx", model_bytes()
    for length in (*range(0, 40), *range(40, len(whole) - 20, 17), *range(len(whole) - 20, len(whole))):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError) as caught:
            read_contract(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (model_bytes("author", "somebody"), "was not written by defectctl"),
        (model_bytes(value="{"), "not valid JSON"),
        (b"PK\x03\x04" + b"\0" * 500, "not an ONNX file"),
        (b"\xff" * 100, "not an ONNX file"),
        (b"", "not an ONNX file"),
        (field(1, 10) + field(14, field(1, b"defectctl")), "not an ONNX file"),
        (field(7, b"x") + field(14, field(1, b"\xff") + field(2, b"y")), "not an ONNX file"),
    ],
)
def test_what_is_not_ours_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(InputError, match=reason):
        read_contract(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_metadata(tmp_path / "model.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(InputError, match="folder"):
        read_metadata(tmp_path / "folder.onnx")


def test_a_folder_with_only_an_exported_model_means_that(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(model_bytes())
    assert find_model(str(tmp_path))[0] == tmp_path / "model.onnx"
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert find_model(str(tmp_path))[0] == tmp_path / "model.safetensors"


def test_what_needs_weights_says_so(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(model_bytes())
    with pytest.raises(InputError, match="only predict runs"):
        load_model(tmp_path / "model.onnx")


def test_onnx_reads_and_writes_the_same(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    graph = onnx.helper.make_graph([], "g", [], [])
    model = onnx.helper.make_model(graph)
    onnx.helper.set_model_props(model, {"defectctl": CONTRACT.to_json(), "other": "ü"})
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path))
    assert read_metadata(path) == {"defectctl": CONTRACT.to_json(), "other": "ü"}
