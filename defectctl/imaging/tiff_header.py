"""Reads the first directory of a TIFF file or EXIF block: sizes, sample layout, orientation; decodes no pixels."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value of each field type (TIFF 6.0, section 2; 16 to 18 are BigTIFF's)."""
_CODES = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""`struct` letters of the unsigned integer types, the only ones that are read here."""

WIDTH, HEIGHT, BITS, PHOTOMETRIC, ORIENTATION, CHANNELS = 256, 257, 258, 262, 274, 277
EXTRA_SAMPLES, SAMPLE_FORMAT = 338, 339
STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES = 273, 279, 324, 325


class TiffError(ValueError):
    """The block is not a readable TIFF directory."""


@dataclass(frozen=True, slots=True)
class Field:
    """Unsigned integer values of one tag, the byte offset in the block where they lie, and their `struct` letter."""

    values: tuple[int, ...]
    offset: int
    code: str


@dataclass(frozen=True, slots=True)
class Directory:
    """First image directory: tag -> field, and the byte order as `struct` writes it (`<` or `>`)."""

    fields: dict[int, Field]
    order: str

    def first(self, tag: int, default: int) -> int:
        """First value of a tag, or `default` where the tag is absent or empty."""
        field = self.fields.get(tag)
        return field.values[0] if field and field.values else default

    def all(self, tag: int) -> tuple[int, ...]:
        """All values of a tag; empty where it is absent."""
        field = self.fields.get(tag)
        return field.values if field else ()


def read_directory(block: bytes | memoryview) -> Directory:
    """Parse the first directory of a classic TIFF, a BigTIFF, or an EXIF block that begins with a TIFF header.

    Raises:
        TiffError: wrong signature, or the directory lies outside the block.
    """
    order = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]))
    try:
        if order is None:
            raise TiffError("no TIFF header")
        version = struct.unpack_from(order + "H", block, 2)[0]
        if version == 42:
            return Directory(_entries(block, order, struct.unpack_from(order + "I", block, 4)[0], False), order)
        if version == 43:
            return Directory(_entries(block, order, struct.unpack_from(order + "Q", block, 8)[0], True), order)
    except struct.error as error:
        raise TiffError("the TIFF directory lies beyond the end of the data") from error
    raise TiffError(f"TIFF version {version} is unknown")


def _entries(block: bytes | memoryview, order: str, start: int, big: bool) -> dict[int, Field]:
    counter, entry, inline = ("Q", "HHQ", 8) if big else ("H", "HHI", 4)
    (count,) = struct.unpack_from(order + counter, block, start)
    head = struct.calcsize(order + entry)
    position = start + struct.calcsize(order + counter)
    fields: dict[int, Field] = {}
    for _ in range(count):
        tag, kind, number = struct.unpack_from(order + entry, block, position)
        offset = position + head
        if number * _WIDTHS.get(kind, 1) > inline:
            (offset,) = struct.unpack_from(order + ("Q" if big else "I"), block, offset)
        if kind in _CODES:
            code = _CODES[kind]
            fields[tag] = Field(struct.unpack_from(f"{order}{number}{code}", block, offset), offset, code)
        position += head + inline
    return fields


def with_values(data: bytes, changes: dict[int, int]) -> bytes:
    """The file with the first value of some tags of its first directory overwritten; absent tags stay absent."""
    directory = read_directory(data)
    patched = bytearray(data)
    for tag, value in changes.items():
        if field := directory.fields.get(tag):
            struct.pack_into(directory.order + field.code, patched, field.offset, value)
    return bytes(patched)


def orientation_of(block: bytes | memoryview) -> int:
    """EXIF orientation 1..8 of a block; 1 where it has none or cannot be parsed (a broken tag turns no picture)."""
    try:
        value = read_directory(block).first(ORIENTATION, 1)
    except TiffError:
        return 1
    return value if 1 <= value <= 8 else 1
