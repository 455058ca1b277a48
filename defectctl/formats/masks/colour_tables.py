"""Tables that name a mask's colours or numbers: CVAT's labelmap.txt, class_dict.csv, label_colors.txt, _classes.csv."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from defectctl.errors import InputError
from defectctl.formats.base import Listing
from defectctl.formats.masks.mask_stored import COLOUR_FLAG
from defectctl.formats.readers.names import decode_text, is_whole

Colour = tuple[int, int, int]

_UNKNOWN_WORDS = {"unknown", "void", "ignore"}
_CSV_HEADS = ({"name", "class", "label", "class_name"}, {"r", "red"}, {"g", "green"}, {"b", "blue"})


@dataclass(frozen=True, slots=True)
class ClassTable:
    """What a table file says.

    Attributes:
        file: path below the raw folder.
        colours: class name -> RGB, in the file's order; empty where it names numbers.
        numbers: stored number -> class name; empty where it names colours.
    """

    file: str
    colours: dict[str, Colour]
    numbers: dict[int, str]


def find_table(listing: Listing) -> ClassTable | None:
    """The folder's table of mask colours or numbers, or None.

    Raises:
        InputError: a line of it cannot be understood, or two tables contradict each other.
    """
    first: ClassTable | None = None
    for file in listing.files:
        name = file.name.casefold()
        if name not in ("labelmap.txt", "label_colors.txt") and not (name.endswith(".csv") and "class" in name):
            continue
        text = decode_text(listing.path(file).read_bytes())
        if name == "labelmap.txt":
            table = ClassTable(str(file), read_label_map(text, str(file)), {})
        elif name == "label_colors.txt":
            table = ClassTable(str(file), _read_label_colours(text, str(file)), {})
        else:
            table = read_class_csv(text, str(file))
        if table is None or not (table.colours or table.numbers):
            continue
        if first and (first.colours, first.numbers) != (table.colours, table.numbers):
            raise InputError(f"'{first.file}' and '{table.file}' name the mask classes differently; keep one of them")
        first = first or table
    return first


def read_label_map(text: str, file: str) -> dict[str, Colour]:
    """Class name -> RGB colour from CVAT's `label:r,g,b:parts:actions` lines.

    Raises:
        InputError: a line is not of that form, or names a class or a colour again.
    """
    pairs = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, rest = line.partition(":")
        pairs.append((name, _colour(name, rest.split(":")[0].split(","), line, file, "name:red,green,blue::")))
    return _table(pairs, file)


def _read_label_colours(text: str, file: str) -> dict[str, Colour]:
    pairs = []
    for line in text.splitlines():
        if line.strip():
            parts = line.split()
            pairs.append((" ".join(parts[3:]), _colour(line, parts[:3], line, file, "red green blue name")))
    return _table(pairs, file)


def read_class_csv(text: str, file: str) -> ClassTable | None:
    """A table with the columns name, r, g, b, or with the columns pixel value and class; None where it is neither.

    Raises:
        InputError: a line does not fit its heading.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    mark = max(",;\t", key=lines[0].count)
    head = [cell.strip().strip('"').casefold() for cell in lines[0].split(mark)]
    rows = [([cell.strip().strip('"') for cell in line.split(mark)], line) for line in lines[1:]]
    columns = [next((i for i, cell in enumerate(head) if cell in words), None) for words in _CSV_HEADS]
    if None not in columns:
        need = max(columns)
        pairs = []
        for cells, line in rows:
            cells += [""] * (need + 1 - len(cells))
            numbers = [cells[i] for i in columns[1:]]
            pairs.append((cells[columns[0]], _colour(cells[columns[0]], numbers, line, file, mark.join(head))))
        return ClassTable(file, _table(pairs, file), {})
    if len(head) == 2 and head[0] in ("pixel value", "value", "pixel_value") and head[1] in _CSV_HEADS[0]:
        return ClassTable(file, {}, _numbers(rows, file))
    return None


def _numbers(rows: Iterable[tuple[list[str], str]], file: str) -> dict[int, str]:
    numbers: dict[int, str] = {}
    for cells, line in rows:
        if len(cells) < 2 or not is_whole(cells[0]) or int(cells[0]) > 65535 or not cells[1]:
            raise InputError(f"'{file}' has the line '{line.strip()}', which is not a pixel value and a class; mend it")
        if int(cells[0]) in numbers:
            raise InputError(f"'{file}' names the pixel value {cells[0]} twice; mend it")
        numbers[int(cells[0])] = plain_name(cells[1])
    return numbers


def _colour(name: str, numbers: list[str], line: str, file: str, form: str) -> Colour:
    if not name.strip() or len(numbers) != 3 or not all(is_whole(n.strip()) and int(n) < 256 for n in numbers):
        raise InputError(f"'{file}' has the line '{line.strip()}', which is not of the form {form}; mend the line")
    return (int(numbers[0]), int(numbers[1]), int(numbers[2]))


def _table(pairs: Iterable[tuple[str, Colour]], file: str) -> dict[str, Colour]:
    colours: dict[str, Colour] = {}
    for name, colour in pairs:
        name = name.strip()
        if name in colours:
            raise InputError(f"'{file}' names the class '{name}' twice; give each class one line")
        if colour in colours.values():
            other = next(key for key, value in colours.items() if value == colour)
            raise InputError(f"'{file}' gives '{other}' and '{name}' the same colour {colour}; give each its own")
        colours[name] = colour
    return colours


def plain_name(name: str) -> str:
    """`background` and `unknown` as the rest of `prepare` writes them (void and ignore are unknown); others as is."""
    bare = name.strip().casefold().strip("_-. ")
    if bare == "background":
        return bare
    return "unknown" if bare in _UNKNOWN_WORDS else name.strip()


def colour_values(colours: dict[str, Colour]) -> dict[int, str]:
    """Stored value (`COLOUR_FLAG | 0xRRGGBB`) -> class name, background or unknown."""
    named = {key: plain_name(name) for name, key in ((n, colour_key(c)) for n, c in colours.items())}
    if "background" not in named.values() and colours:
        black = next((name for name, colour in colours.items() if colour == (0, 0, 0)), None)
        if black is not None and re.fullmatch(r"unlabell?ed|none|other", black.casefold()):
            named[colour_key((0, 0, 0))] = "background"
    return named


def colour_key(colour: Colour) -> int:
    """`COLOUR_FLAG | 0xRRGGBB`."""
    red, green, blue = colour
    return COLOUR_FLAG | (red << 16) | (green << 8) | blue


def place_values(colours: dict[str, Colour]) -> dict[int, str]:
    """Stored number -> class name for masks that store the place in the table instead of the colour."""
    return {place: plain_name(name) for place, name in enumerate(colours)}


def class_names(values: dict[int, str]) -> list[str]:
    """The defect classes among the values' names, in order, each once."""
    return list(dict.fromkeys(name for name in values.values() if name not in ("background", "unknown")))


def parse_colour(text: str) -> int | None:
    """`#ff0000`, `#f00` or `0xff0000` as `COLOUR_FLAG | 0xRRGGBB`; None where the text is no colour."""
    match = re.fullmatch(r"(?:#|0x)([0-9a-f]{6})|#([0-9a-f]{3})", text.strip().casefold())
    if not match:
        return None
    digits = match.group(1) or "".join(2 * digit for digit in match.group(2))
    return COLOUR_FLAG | int(digits, 16)
