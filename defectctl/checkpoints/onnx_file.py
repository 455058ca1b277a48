"""The metadata of an ONNX file, read without onnx, onnxruntime or the weights.

ONNX is a protocol buffer. Its top level is a row of fields, each a tag (number << 3 | kind) and a value; the network is
one field, which is skipped, and the metadata are fields 14 with a key (field 1) and a value (field 2).
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO

from defectctl.errors import InputError

ONNX_ENDING = ".onnx"

GRAPH, METADATA = 7, 14
"""Numbers of the fields of `ModelProto` that hold the network and an entry of the metadata."""

NUMBER, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5
"""Kinds of a value."""

MOST_METADATA = 100_000_000
"""Bytes of one entry of the metadata that are read at most."""


def is_onnx(path: Path) -> bool:
    """Whether the file is called like an exported model."""
    return path.suffix.lower() == ONNX_ENDING


def read_metadata(path: Path) -> dict[str, str]:
    """Read the texts that an ONNX file carries beside its network.

    Raises:
        InputError: no such file, not ONNX, or cut short.
    """
    if path.is_dir():
        raise InputError(f"model '{path}' is a folder; give the exported file in it")
    try:
        size = path.stat().st_size
        with open(path, "rb") as handle:
            return _read_fields(handle, size)
    except FileNotFoundError as error:
        raise InputError(f"model '{path}' does not exist") from error
    except OSError as error:
        raise InputError(f"model '{path}' cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError) as error:  # UnicodeDecodeError is a ValueError
        raise InputError(
            f"model '{path}' is not an ONNX file, or is damaged; export it again with `defectctl export`"
        ) from error


def _read_fields(handle: BinaryIO, size: int) -> dict[str, str]:
    """The metadata of a file of `size` bytes; ValueError or KeyError where it is no whole ONNX file."""
    found: dict[str, str] = {}
    has_graph = False
    while handle.tell() < size:
        tag = _varint(handle)
        number, kind = tag >> 3, tag & 7
        if kind != BYTES:
            _skip(handle, kind)
            continue
        length = _varint(handle)
        if length > size - handle.tell():
            raise ValueError("a field is longer than the file")
        has_graph |= number == GRAPH
        if number == METADATA and length <= MOST_METADATA:
            key, value = _entry(handle.read(length))
            found[key] = value
        else:
            handle.seek(length, os.SEEK_CUR)
    if not has_graph or handle.tell() != size:
        raise ValueError("no network in the file")
    return found


def _entry(data: bytes) -> tuple[str, str]:
    handle, parts = io.BytesIO(data), {1: b"", 2: b""}
    while handle.tell() < len(data):
        tag = _varint(handle)
        if tag & 7 != BYTES:
            raise ValueError("an entry of the metadata is no text")
        length = _varint(handle)
        parts[tag >> 3] = handle.read(length)
    return parts[1].decode("utf-8"), parts[2].decode("utf-8")


def _skip(handle: BinaryIO, kind: int) -> None:
    if kind == NUMBER:
        _varint(handle)
    else:
        handle.seek({EIGHT_BYTES: 8, FOUR_BYTES: 4}[kind], os.SEEK_CUR)


def _varint(handle: BinaryIO) -> int:
    """A number of 7 bits a byte, the lowest first; the highest bit of a byte says that another follows."""
    value = 0
    for shift in range(0, 70, 7):
        byte = handle.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("the file ends within a number")
