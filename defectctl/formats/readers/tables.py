"""Tables of text, CSV and the like: encoding and delimiter found, rows with their line; and the images they name."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

from defectctl.errors import InputError
from defectctl.formats.base import IMAGE_ENDINGS, Listing
from defectctl.formats.readers.names import best_match, part_of_folders, stem_of

ENDINGS = (".csv", ".tsv")
DELIMITERS = (",", ";", "\t")
HEAD_BYTES = 1 << 18
"""How much of a table is read to recognise it."""
_LONGEST_CELL = 2**31 - 1
_SAMPLE_ROWS = 50


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the line of the file at which it begins, from 1, and its cells, stripped, as many as the header has."""

    line: int
    cells: list[str]


@dataclass(slots=True)
class Table:
    """A table with a header.

    Attributes:
        file: path below the raw folder, POSIX.
        columns: names as written.
        rows: in the file's order, empty ones left out.
        odd: (line, number of cells) of rows with more cells than the header; they are not among `rows`.
    """

    file: str
    columns: list[str]
    rows: list[Row] = field(default_factory=list)
    odd: list[tuple[int, int]] = field(default_factory=list)

    def told_columns(self) -> str:
        """The columns' names for a message."""
        return ", ".join(f"'{name}'" for name in self.columns[:12]) + (", …" if len(self.columns) > 12 else "")


def table_files(listing: Listing) -> list[str]:
    """Tables of a raw folder, largest first."""
    files = [str(file) for file in listing.files if file.suffix.lower() in ENDINGS]
    return sorted(files, key=lambda file: (-(listing.root / file).stat().st_size, file))


def plain(name: str) -> str:
    """A column's name without case, blanks and separators: `Image_ID` -> `imageid`."""
    return re.sub(r"[\W_]+", "", name.casefold())


def read_table(listing: Listing, file: str) -> Table:
    """Read a whole table.

    Raises:
        InputError: it cannot be read, is empty, has one column only, or its quotes do not close.
    """
    try:
        data = (listing.root / file).read_bytes()
    except OSError as error:
        raise InputError(f"the table '{file}' cannot be read: {error.strerror or error}") from error
    return parse_table(data, file)


def read_head(listing: Listing, file: str) -> Table | None:
    """The first rows of a table, whose end may be missing; None where it is no table."""
    try:
        with open(listing.root / file, "rb") as handle:
            data = handle.read(HEAD_BYTES)
        if len(data) == HEAD_BYTES:
            data = data[: data.rfind(b"\n") + 1]
        return parse_table(data, file)
    except (OSError, InputError):
        return None


def parse_table(data: bytes, file: str) -> Table:
    """The table in a file's bytes; delimiter comma, semicolon or tab, in quotes or not, with or without BOM.

    Raises:
        InputError: as in `read_table`.
    """
    text = _decode(data, file)
    first, _, rest = text.partition("\n")
    skipped = 0
    if first.strip().lower() in ("sep=,", "sep=;", "sep=\\t", "sep=\t"):  # a line for Excel
        text, skipped = rest, 1
    delimiter = _delimiter(text)
    rows = []
    try:
        with _long_cells():
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
            end = 0
            for cells in reader:
                rows.append(Row(end + 1 + skipped, [cell.strip() for cell in cells]))
                end = reader.line_num
    except csv.Error as error:
        line = end + 1 + skipped
        raise InputError(f"'{file}' is no readable table from line {line} on ({error}); check its quotes") from error
    rows = [row for row in rows if any(row.cells)]
    if not rows:
        raise InputError(f"the table '{file}' is empty")
    columns = rows[0].cells
    if len(columns) < 2:
        raise InputError(f"the table '{file}' has one column only ('{columns[0][:60]}'); it needs names and labels")
    return _fill(Table(file, columns), rows[1:])


def _decode(data: bytes, file: str) -> str:
    """UTF-8 with or without byte-order mark, UTF-16 with one, else the Windows code page of western Europe."""
    try:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return data[: len(data) // 2 * 2].decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    if b"\0" in data:
        raise InputError(f"'{file}' is no table: it holds bytes that are no text")
    return data.decode("cp1252", errors="replace")


def _delimiter(text: str) -> str:
    """The delimiter by which the first rows have the most equal numbers of columns."""

    def fit(delimiter: str) -> tuple[float, int]:
        with _long_cells():
            rows = islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), _SAMPLE_ROWS)
            widths = [len(row) for row in rows if row]
        if not widths or widths[0] < 2:
            return 0.0, 0
        return sum(width == widths[0] for width in widths) / len(widths), widths[0]

    try:
        return max(DELIMITERS, key=fit)
    except csv.Error:
        return ","


@contextmanager
def _long_cells() -> Iterator[None]:
    """Run-lengths of large defects are longer than the 128 KiB that the csv module allows."""
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _fill(table: Table, rows: list[Row]) -> Table:
    width = len(table.columns)
    for row in rows:
        if any(row.cells[width:]):
            table.odd.append((row.line, len(row.cells)))
        else:
            table.rows.append(Row(row.line, (row.cells + [""] * width)[:width]))
    return table


class ImageNames:
    """Finds the image files that names in a table mean: with or without folders and ending, case folded."""

    def __init__(self, listing: Listing) -> None:
        self._by_name: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        for file in map(str, listing.images()):
            name = _normal(file).rpartition("/")[2]
            self._by_name.setdefault(name, []).append(file)
            self._by_stem.setdefault(stem_of(name), []).append(file)

    def find(self, name: str, near: str) -> list[str]:
        """The image files that a name may mean, best ones only: none, one, or several that fit equally.

        Args:
            near: a path in whose folders the image should rather lie (the table's file).
        """
        wanted = _normal(name.strip().replace("\\", "/")).removeprefix("./")
        last = wanted.rpartition("/")[2]
        found = self._by_name.get(last) or self._by_stem.get(last)
        if not found and last.endswith(IMAGE_ENDINGS):
            found = self._by_stem.get(stem_of(last))  # written with an ending that the file no longer has
        part = part_of_folders(wanted)
        found = [file for file in found or [] if part in (None, part_of_folders(file) or part)]
        if len(found) < 2:
            return found
        folders = wanted.split("/")[:-1]
        shared = [_shared_tail(_normal(file).split("/")[:-1], folders) for file in found]
        exact = [file for file in found if _normal(file).split("/")[:-1] == folders] if folders else []
        best = exact or [file for file, tail in zip(found, shared, strict=True) if tail == max(shared)]
        return [best[i] for i in best_match(best, near)]


def _normal(file: str) -> str:
    return unicodedata.normalize("NFC", file).casefold()


def _shared_tail(path: list[str], wanted: list[str]) -> int:
    shared = 0
    for own, other in zip(reversed(path), reversed(wanted), strict=False):
        if own != other:
            break
        shared += 1
    return shared
