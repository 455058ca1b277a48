"""Which columns of a table hold image names, labels and official parts: told by contents and by usual words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from defectctl.errors import InputError
from defectctl.formats.readers.label_words import meaning
from defectctl.formats.readers.tables import ImageNames, Table, plain


def _words(text: str) -> list[str]:
    return text.split()


NAME_WORDS = _words(
    "filename filepath file imagename imagepath imagefile image imageid img imgpath path picture photo name id"
)
LABEL_WORDS = _words(
    "label labels class classname classid category target defect defecttype defectclass defective isdefective"
    " result verdict quality status grade judgement judgment anomaly good isgood ok isok pass passed ng bad"
)
PART_WORDS = _words("split part set subset partition phase")
_BOXES = frozenset(_words("xmin ymin xmax ymax x1 y1 x2 y2 bbox bndbox"))
_REGIONS = frozenset(_words("encodedpixels rle rlemask regionshapeattributes"))
_LOOKS = 50
_ENOUGH = 0.5
"""Share of a column's cells that name images from which it counts as the column of names."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Numbers of a table's columns: image names, labels, official parts (or None)."""

    name: int
    label: int
    part: int | None


def find_columns(table: Table, names: ImageNames) -> Columns:
    """Tell the columns of a table of labels.

    Raises:
        InputError: they cannot be told, or the table holds boxes or regions.
    """
    words = {plain(column) for column in table.columns}
    if found := words & (_BOXES | _REGIONS):
        raise InputError(
            f"'{table.file}' is no table of image labels: its column '{min(found)}' holds boxes or regions"
        )
    name = _name_column(table, names)
    part = next((i for i, column in enumerate(table.columns) if i != name and plain(column) in PART_WORDS), None)
    return Columns(name, _label_column(table, {name, part}), part)


def _name_column(table: Table, names: ImageNames) -> int:
    """The column whose cells name images; of several the one that names them most surely, then by its word."""
    ranked = []
    for index, column in enumerate(table.columns):
        cells = [row.cells[index] for row in table.rows if row.cells[index]][:_LOOKS]
        found = [len(names.find(cell, table.file)) for cell in cells]
        if cells and sum(map(bool, found)) >= _ENOUGH * len(cells):
            ranked.append((-sum(count == 1 for count in found) / len(cells), _rank(column, NAME_WORDS), index))
    ranked.sort()
    if not ranked:
        raise InputError(
            f"no column of '{table.file}' names image files of the folder (columns: {table.told_columns()}); it needs a"
            " header and a column such as 'file' beside one such as 'label'"
        )
    if len(ranked) > 1 and ranked[0][:2] == ranked[1][:2]:
        first, second = (table.columns[ranked[i][2]] for i in (0, 1))
        raise InputError(
            f"the columns '{first}' and '{second}' of '{table.file}' both name image files; call the right one 'file'"
        )
    return ranked[0][2]


def _label_column(table: Table, taken: set[int | None]) -> int:
    rest = [index for index in range(len(table.columns)) if index not in taken]
    ranked = sorted((_rank(table.columns[index], LABEL_WORDS), index) for index in rest)
    ranked = [entry for entry in ranked if entry[0] < _NO_WORD]
    if not ranked and len(rest) == 1:
        return rest[0]
    if not ranked or (len(ranked) > 1 and ranked[0][0] == ranked[1][0]):
        raise InputError(
            f"which column of '{table.file}' holds the labels cannot be told (columns: {table.told_columns()}); call it"
            " 'label'"
        )
    return ranked[0][1]


_NO_WORD = 1000


def _rank(column: str, words: list[str]) -> int:
    """Place of a column's name among usual words; those that only contain one come after."""
    name = plain(column)
    if name in words:
        return words.index(name)
    inside = [words.index(word) for word in re.split(r"[\W_]+", column.casefold()) if word in words]
    if inside:
        return len(words) + min(inside)
    return len(words) if words is LABEL_WORDS and meaning(column) else _NO_WORD
