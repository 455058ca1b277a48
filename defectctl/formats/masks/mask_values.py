"""What the stored values of a folder's pixel masks mean: surveyed over all files before anything is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectctl.dataset.types import MAX_CLASSES, UNKNOWN
from defectctl.errors import InputError
from defectctl.formats.base import Finding
from defectctl.formats.masks.mask_option import parse_mask_values
from defectctl.formats.masks.mask_stored import AUTO, COLOUR, COLOUR_FLAG, INDEX, FileValues, file_values, stored_values
from defectctl.imaging.reader import ImageError

__all__ = [
    "AUTO",
    "COLOUR",
    "INDEX",
    "MaskCoding",
    "MaskSurvey",
    "check_class_names",
    "decide_coding",
    "file_values",
    "parse_mask_values",
    "survey_file",
]

BACKGROUND_NAME = "background"
UNKNOWN_NAME = "unknown"
_FULL = (255, 65535)
_FILES_KEPT = 1000
_MOST_COLOURS = 1024
"""A file with more colours is a photograph, or was smeared by JPEG."""
_COLOURS_SHOWN = 6


@dataclass(slots=True)
class ValueCount:
    """How often one value occurs: in pixels, in flat ones (see `FileValues`), in which files (the first thousand)."""

    pixels: int = 0
    flat: int = 0
    files: list[str] = field(default_factory=list)


@dataclass(slots=True)
class MaskSurvey:
    """The stored values of all masks of a source.

    Attributes:
        values: stored number (read as COLOUR: colour `0xRRGGBB`) -> where it occurs.
        colours: colour `0xRRGGBB` -> where it occurs, in colour pictures not read as COLOUR.
        crowded: masks with more colours than a table could name.
        index_files: palette masks whose palette is not grey.
        jpeg: a mask that is a JPEG, whose values are smeared; "" where there is none.
        see_through: masks with transparent pixels.
    """

    values: dict[int, ValueCount] = field(default_factory=dict)
    colours: dict[int, ValueCount] = field(default_factory=dict)
    crowded: list[str] = field(default_factory=list)
    index_files: int = 0
    jpeg: str = ""
    see_through: int = 0

    def add(self, name: str, kind: str, values: NDArray, pixels: NDArray, flat: NDArray, see_through: bool) -> None:
        """Add one file's values (from `file_values`)."""
        if kind == "colour" and len(values) > _MOST_COLOURS:
            self.crowded.append(name)
            largest = np.sort(np.argsort(-pixels, kind="stable")[:_MOST_COLOURS])
            values, pixels, flat = values[largest], pixels[largest], flat[largest]
        self.index_files += kind == "index"
        self.see_through += see_through
        if name.lower().endswith((".jpg", ".jpeg")):
            self.jpeg = min(self.jpeg or name, name)
        table = self.colours if kind == "colour" else self.values
        for value, count, inside in zip(values.tolist(), pixels.tolist(), flat.tolist(), strict=True):
            entry = table.setdefault(value, ValueCount())
            entry.pixels += count
            entry.flat += inside
            if len(entry.files) < _FILES_KEPT:
                entry.files.append(name)


@dataclass(slots=True)
class MaskCoding:
    """How stored values become class indices.

    Attributes:
        classes: names, index 1 first.
        lookup: `(65536,)` or, for colours, `(2**24,)` uint8, stored value -> class index, 0 background, 255 unknown.
        reading: how files give their stored values, see `stored_values`.
        one_class: whether a defect's class is the sample's (prefix, folder) and the masks are binary.
        notes: what was decided, for the user.
        findings: files with values that were decided about.
    """

    classes: list[str]
    lookup: NDArray[np.uint8]
    reading: str = AUTO
    one_class: bool = False
    notes: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def apply(self, data: bytes, name: str, label: int = 1) -> NDArray[np.uint8]:
        """Read a mask file as class indices `(H, W)` uint8; in binary masks of `one_class` a defect is `label`."""
        mask = self.lookup[stored_values(data, name, self.reading)[0]]
        if self.one_class and label != 1:
            mask[mask == 1] = label
        return mask


def survey_file(root: Path, path: Path, reading: str) -> tuple[str, FileValues | None]:
    """Name and `file_values` of one mask; None where the file cannot be read (the second pass lists it)."""
    name = path.relative_to(root).as_posix()
    try:
        return name, file_values(path.read_bytes(), name, reading)
    except (OSError, ImageError):
        return name, None


def check_class_names(names: Iterable[str]) -> list[str]:
    """Return the names as a list.

    Raises:
        InputError: a name is empty, double (case does not count) or reserved, or there are more than a mask can hold.
    """
    result = list(names)
    seen: set[str] = set()
    for name in result:
        if not name.strip() or name.casefold() in (BACKGROUND_NAME, UNKNOWN_NAME):
            raise InputError(
                f"'{name}' cannot be the name of a defect class (background is not listed as a class);"
                " leave it out or rename it"
            )
        if name.casefold() in seen:
            raise InputError(f"the class '{name}' is named twice (case does not count); name it once")
        seen.add(name.casefold())
    if len(result) > MAX_CLASSES:
        raise InputError(f"{len(result)} classes are more than a mask can hold ({MAX_CLASSES})")
    return result


def decide_coding(
    survey: MaskSurvey, names: list[str], stated: dict[int, str] | None, one_class: bool, reading: str = AUTO
) -> MaskCoding:
    """Decide what the stored values mean, or refuse: a value is never guessed to be "unknown", nor dropped.

    Args:
        names: class names in order of their index, or empty where nobody named them.
        stated: stored value -> class name, background or unknown, from the user or the format; may be partial.
        one_class: whether each mask is binary and its class is known otherwise (prefix, folder).
        reading: how the survey read the files.

    Raises:
        InputError: a mask holds a value that has no certain meaning; the file is named.
    """
    coding = _decide(survey, names, stated or {}, one_class, reading)
    if survey.see_through:
        coding.notes.append(f"masks with transparent pixels: {survey.see_through}; what is transparent is background")
    return coding


def _decide(survey: MaskSurvey, names: list[str], stated: dict[int, str], one_class: bool, reading: str) -> MaskCoding:
    colours = reading == COLOUR
    if survey.crowded:
        raise InputError(
            f"the mask '{survey.crowded[0]}' has more than {_MOST_COLOURS} colours: it is a photograph or was saved"
            " with loss (JPEG); give masks in which every class is one colour, saved as PNG"
        )
    if colours:
        survey = replace(survey, values=survey.values | survey.colours, colours={})
        stated = {value & ~COLOUR_FLAG: name for value, name in stated.items()}
    if not colours or BACKGROUND_NAME not in (name.casefold() for name in stated.values()):
        stated = {0: BACKGROUND_NAME, **stated}
    lookup = np.zeros(1 << 24 if colours else 1 << 16, np.uint8)
    for value, name in stated.items():
        lookup[value] = UNKNOWN if name.casefold() == UNKNOWN_NAME else 0
    if survey.colours:
        return _one_colour(survey, names, one_class)
    named = {v: n for v, n in stated.items() if n.casefold() not in (BACKGROUND_NAME, UNKNOWN_NAME)}
    rest = sorted(value for value in survey.values if value not in stated)
    if named:
        return _by_statement(survey, lookup, names, stated, named, rest, reading)
    coding = MaskCoding(check_class_names(names), lookup, reading, one_class)
    if (one_class or len(names) <= 1) and _is_binary(survey, rest, coding):
        coding.classes = coding.classes or ["defect"]
        return coding
    if one_class:
        raise _doubt(survey, rest, rest[-1], "but with --classes-from every mask must be 0 and one other value")
    _by_number(survey, rest, coding)
    return coding


def _one_colour(survey: MaskSurvey, names: list[str], one_class: bool) -> MaskCoding:
    """Masks of black and one colour are binary; all other pictures need a table."""
    defects = [colour for colour in survey.colours if colour]
    if survey.jpeg:
        raise _jpeg_refused(survey)
    if len(defects) != 1 or set(survey.values) - {0} or (len(names) > 1 and not one_class):
        raise _unnamed_colours(survey)
    lookup = np.zeros(1 << 24, np.uint8)
    lookup[defects[0]] = 1
    coding = MaskCoding(check_class_names(names) or ["defect"], lookup, COLOUR, one_class)
    coding.notes.append(f"masks are black and {_shown(defects[0], COLOUR)}, which is read as the defect")
    return coding


def _unnamed_colours(survey: MaskSurvey) -> InputError:
    pixels = {value * 0x010101: entry.pixels for value, entry in survey.values.items() if value < 256}
    for colour, entry in survey.colours.items():
        pixels[colour] = pixels.get(colour, 0) + entry.pixels
    total = sum(pixels.values())
    order = sorted(pixels, key=lambda colour: (-pixels[colour], colour))
    shown = [f"{_shown(colour, COLOUR)} {pixels[colour] / total:.3%}" for colour in order[:_COLOURS_SHOWN]]
    more = f" and {len(order) - len(shown)} more" if len(order) > len(shown) else ""
    background = 0 if 0 in pixels else order[0]
    classes = [colour for colour in order if colour != background]
    pairs = [f"{_shown(background, COLOUR)}=background"]
    pairs += [f"{_shown(colour, COLOUR)}=class-{i}" for i, colour in enumerate(classes[: _COLOURS_SHOWN - 1], 1)]
    return InputError(
        f"the mask '{min(f for entry in survey.colours.values() for f in entry.files)}' is a colour picture and nothing"
        f" names its colours (colours in all masks, by share: {', '.join(shown)}{more}); name them, for example"
        f' --mask-values "{",".join(pairs)}{",…" if more else ""}", or put a class_dict.csv with the columns'
        " name,r,g,b into the folder"
    )


def _jpeg_refused(survey: MaskSurvey) -> InputError:
    return InputError(
        f"the mask '{survey.jpeg}' is a JPEG, which smears the numbers and colours of classes; save masks of several"
        " classes as PNG from where they were drawn (a PNG made of the JPEG does not help)"
    )


def _by_statement(
    survey: MaskSurvey,
    lookup: NDArray[np.uint8],
    names: list[str],
    stated: dict[int, str],
    named: dict[int, str],
    rest: list[int],
    reading: str,
) -> MaskCoding:
    order = named if reading == COLOUR else sorted(named)  # colours have only the order they are given in
    classes = check_class_names(names or dict.fromkeys(named[value] for value in order))
    for value, name in named.items():
        if name not in classes:
            shown = _shown(value, reading)
            raise InputError(f"the mask value {shown} means '{name}', which is none of: {', '.join(classes)}")
        lookup[value] = classes.index(name) + 1
    coding = MaskCoding(classes, lookup, reading)
    if not rest:
        return coding
    if reading != COLOUR and sorted(stated) == [0, 255] and _soft_edges(survey, sorted({*rest, 255}), coding):
        soft = np.array(rest)
        lookup[soft] = lookup[np.where(soft > 127, 255, 0)]
        return coding
    if survey.jpeg:
        raise _jpeg_refused(survey)
    share = sum(survey.values[value].pixels for value in rest) / sum(e.pixels for e in survey.values.values())
    raise InputError(
        f"the mask '{_file(survey, rest[0])}' holds the value {_shown(rest[0], reading)}, which the mapping does"
        f" not name ({_listed(survey, reading)}; unnamed ones cover {share:.3%}); add it to --mask-values or to the"
        " format's own list"
    )


def _is_binary(survey: MaskSurvey, rest: list[int], coding: MaskCoding) -> bool:
    """Whether defect against background is certain; fills the lookup table if so."""
    if not rest:
        coding.notes.append("no mask holds a defect pixel")
        return True
    if len(rest) == 1 and rest[0] in (1, *_FULL):
        coding.lookup[rest[0]] = 1
        if rest[0] != 1:
            coding.notes.append(f"masks hold 0 and {rest[0]}: {rest[0]} is read as the defect, class index 1")
        return True
    if not _soft_edges(survey, rest, coding):
        return False
    coding.lookup[[value for value in rest if value > 127]] = 1
    return True


def _soft_edges(survey: MaskSurvey, rest: list[int], coding: MaskCoding) -> bool:
    """Whether the values beside 0 are 255 and greys around it, of JPEG or of soft edges; says so if they are."""
    if survey.index_files or rest[-1] > 255:
        return False
    full = sum(entry.pixels for value, entry in survey.values.items() if value >= 224)
    strays = [value for value in rest if value != 255]
    counts = [survey.values[value] for value in strays]
    stray_pixels = sum(entry.pixels for entry in counts)
    # Values under 16 look like class numbers; a few others among many 255 are the drawing tool's soft edges.
    few = 255 in survey.values and strays[:1] >= [16] and stray_pixels * 100 < survey.values[255].pixels
    middle = sum(survey.values[value].pixels for value in strays if 64 <= value < 192)
    smeared = (bool(survey.jpeg) or len(rest) > 32) and full > 0 and middle * 4 < full
    # Around thin defects soft edges are many; but, unlike classes, none is common and none has an inside.
    thin = len(strays) >= 8 and full > 0 and sum(entry.flat for entry in counts) * 20 <= stray_pixels
    thin = thin and max(entry.pixels for entry in counts) * 4 <= full
    if few:
        files = sorted({file for entry in counts for file in entry.files})
        text = f"holds greys between 0 and 255 ({', '.join(map(str, strays[:8]))}): over 127 is read as defect"
        coding.findings += [Finding(file, "odd-mask-values", text) for file in files]
    elif smeared or thin:
        coding.notes.append(f"masks hold smeared greys ({len(rest) + 1} values): over 127 is read as defect")
    return few or smeared or thin


def _by_number(survey: MaskSurvey, rest: list[int], coding: MaskCoding) -> None:
    """Value = class index, where the values leave no doubt."""
    if survey.jpeg:
        raise _jpeg_refused(survey)
    if not coding.classes:
        missing = [value for value in range(1, rest[-1]) if value not in rest]
        if missing or rest[-1] > MAX_CLASSES:
            raise _doubt(survey, rest, rest[-1], f"while no mask holds {missing[0]}" if missing else "")
        coding.classes = [f"class-{value}" for value in rest]
        coding.notes.append(
            f"masks hold the values 0..{rest[-1]} and nothing names them: the classes are called"
            f" {', '.join(coding.classes)} (name them with --classes)"
        )
    strange = [value for value in rest if value > len(coding.classes)]
    if strange:
        count = len(coding.classes)
        raise _doubt(survey, rest, strange[0], f"but there {'is 1 class' if count == 1 else f'are {count} classes'}")
    coding.lookup[rest] = rest
    absent = [name for index, name in enumerate(coding.classes, 1) if index not in rest]
    if absent:
        coding.notes.append(f"no mask holds a pixel of: {', '.join(absent)}")


def _doubt(survey: MaskSurvey, rest: list[int], value: int, why: str) -> InputError:
    if len(rest) > MAX_CLASSES:
        return InputError(
            f"the masks hold {len(rest)} values up to {rest[-1]} ('{_file(survey, rest[-1])}'), more than the"
            f" {MAX_CLASSES} classes a mask can hold: they number single objects or measure something; export masks"
            " whose value is the class"
        )
    if rest[-1] > 255:
        value, why = rest[-1], f"above the {MAX_CLASSES} that a class number may be"
    names = ["unknown" if v == UNKNOWN and len(rest) > 1 else f"class-{i}" for i, v in enumerate(rest[:6], 1)]
    guess = [f"{v}={name}" for v, name in zip(rest, names, strict=False)]
    more = "" if len(rest) <= 6 else ",…"
    reason = f", {why}" if why else ""
    return InputError(
        f"the mask '{_file(survey, value)}' holds the value {value}{reason} ({_listed(survey)});"
        f' say what each value means, for example --mask-values "0=background,{",".join(guess)}{more}"'
    )


def _file(survey: MaskSurvey, value: int) -> str:
    return min(survey.values[value].files)


def _shown(value: int, reading: str) -> str:
    return f"#{value:06x}" if reading == COLOUR else str(value)


def _listed(survey: MaskSurvey, reading: str = AUTO) -> str:
    values = sorted(survey.values)
    shown = ", ".join(_shown(value, reading) for value in values[:12]) + (", …" if len(values) > 12 else "")
    return f"values in all masks: {shown}"
