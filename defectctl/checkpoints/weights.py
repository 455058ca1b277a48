"""`model.safetensors`: weights with the contract in the header; an exported model has it too. Read without torch."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defectctl.checkpoints.contract import Contract
from defectctl.checkpoints.onnx_file import is_onnx, read_metadata
from defectctl.errors import InputError
from defectctl.fileio import atomic_path

if TYPE_CHECKING:
    import torch
    from torch import nn

METADATA_KEY = "defectctl"
"""Key of the contract in the safetensors header's `__metadata__`."""

MAX_HEADER = 100_000_000
"""Longest header in bytes that the safetensors format allows."""

NOT_SAFETENSORS = "model '{}' is not a safetensors file, or is damaged; give a run's model.safetensors"


def save_model(path: Path, state_dict: dict[str, torch.Tensor], contract: Contract) -> None:
    """Write weights and contract to `path` atomically; equal input gives equal bytes."""
    from safetensors.torch import save_file

    # safetensors wants dense tensors that share no memory; channels-last weights and tied ones are copied.
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in state_dict.items()}
    with atomic_path(path) as temporary:
        save_file(weights, str(temporary), metadata={METADATA_KEY: contract.to_json()})


def read_contract(path: Path) -> Contract:
    """Read the contract from the header of a weights file or the metadata of an ONNX file, without the weights.

    Raises:
        InputError: no such file, neither safetensors nor ONNX, cut short, or not written by defectctl.
    """
    if is_onnx(path):
        return read_onnx_contract(path)
    metadata = _read_header(path).get("__metadata__", {})
    text = metadata.get(METADATA_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise InputError(f"'{path}' holds weights but was not written by defectctl; give a run's model.safetensors")
    return Contract.from_json(text, f"'{path}'")


def read_onnx_contract(path: Path) -> Contract:
    """Read the contract from the metadata of an ONNX file, whatever the file is called.

    Raises:
        InputError: no such file, not ONNX, cut short, or not written by `defectctl export`.
    """
    text = read_metadata(path).get(METADATA_KEY)
    if text is None:
        raise InputError(f"'{path}' was not written by defectctl; give a file made by `defectctl export`")
    return Contract.from_json(text, f"'{path}'")


def rewrite_contract(path: Path, contract: Contract) -> None:
    """Put another contract into the header of a weights file, atomically; the weights stay as they are, byte by byte.

    Raises:
        InputError: as `read_contract`.
    """
    header = _read_header(path)
    header["__metadata__"] = {**header.get("__metadata__", {}), METADATA_KEY: contract.to_json()}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)  # the format keeps the weights aligned to eight bytes
    with atomic_path(path) as temporary, open(temporary, "wb") as target, open(path, "rb") as source:
        target.write(struct.pack("<Q", len(text)) + text)
        source.seek(8 + struct.unpack("<Q", source.read(8))[0])
        shutil.copyfileobj(source, target)


def check_rewritable(path: Path) -> None:
    """Refuse a weights file whose contract `rewrite_contract` could not change, before anything is computed.

    Raises:
        InputError: no file can be written beside it, or it is marked read-only.
    """
    try:
        with tempfile.NamedTemporaryFile(prefix=".defectctl-", dir=path.parent):
            pass
        writable = os.access(path, os.W_OK)
        reason = "it is marked read-only"
    except OSError as error:
        writable, reason = False, f"its folder cannot be written ({error.strerror or error})"
    if not writable:
        raise InputError(f"no threshold can be stored in model '{path}': {reason}; calibrate a copy of it")


def network_fingerprint(path: Path, contract: Contract) -> str:
    """Hash of all that decides what is found in a picture; the same before and after thresholds are calibrated.

    Args:
        contract: of this file.
    """
    digest = hashlib.sha256(contract.found_by().encode("utf-8"))
    with open(path, "rb") as handle:
        handle.seek(8 + struct.unpack("<Q", handle.read(8))[0])
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load_model(path: Path, device: torch.device | str = "cpu") -> tuple[nn.Module, Contract]:
    """Build the network that the contract names, with the file's weights, in evaluation mode on `device`.

    Raises:
        InputError: the file is unusable, is an exported model, or its weights do not fit the network of this version
            of defectctl.
    """
    if is_onnx(path):
        raise InputError(
            f"'{path}' is an exported model, which only predict runs; give the model.safetensors that it was made from"
        )
    contract = read_contract(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from defectctl.models.registry import build_model

    preset = contract.preset_config()
    config = preset.model.model_copy(update={"weights": "none"})
    channels = 1 if preset.input.colour == "grey" else 3
    model = build_model(config, len(contract.classes), channels)
    try:
        weights = load_file(str(path), device="cpu")
    except (SafetensorError, OSError) as error:
        raise InputError(f"the weights in '{path}' cannot be read: {error}") from error
    _fill(model, weights, path)
    return model.to(device).eval(), contract


def _fill(model: nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    own = model.state_dict()
    missing, foreign = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    odd = sorted(k for k in own.keys() & weights.keys() if own[k].shape != weights[k].shape)
    if missing or foreign or odd:
        counts = f"{len(missing)} missing, {len(foreign)} too many, {len(odd)} of another shape"
        raise InputError(
            f"the weights in '{path}' do not fit the network ({counts}; first: {(missing + foreign + odd)[0]}); "
            "the file was changed or comes from another version of defectctl"
        )
    model.load_state_dict(weights)


def _read_header(path: Path) -> dict[str, Any]:
    """The JSON header of a safetensors file: an unsigned 64-bit little-endian length, then so many bytes of JSON."""
    if path.is_dir():
        raise InputError(f"model '{path}' is a folder; give the weights file in it")
    try:
        size = path.stat().st_size
        with open(path, "rb") as handle:
            start = handle.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            text = handle.read(length) if 0 < length <= min(MAX_HEADER, size - 8) else b""
    except FileNotFoundError as error:
        raise InputError(f"model '{path}' does not exist") from error
    except OSError as error:
        raise InputError(f"model '{path}' cannot be read: {error.strerror or error}") from error
    try:
        header = json.loads(text.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(NOT_SAFETENSORS.format(path)) from error
    if not isinstance(header, dict):
        raise InputError(NOT_SAFETENSORS.format(path))
    _check_length(path, header, size - 8 - length)
    return header


def _check_length(path: Path, header: dict[str, Any], stored: int) -> None:
    """Refuse a file whose weights do not fill it exactly, e.g. a copy that was cut short."""
    try:
        expected = max((entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"), default=0)
    except (TypeError, KeyError, IndexError) as error:
        raise InputError(NOT_SAFETENSORS.format(path)) from error
    if expected != stored:
        raise InputError(f"model '{path}' is damaged: {stored} bytes of weights where {expected} are expected")
