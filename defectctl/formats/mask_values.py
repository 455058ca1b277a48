"""What the stored values of a folder's pixel masks mean: surveyed over all files before anything is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectctl.dataset.types import MAX_CLASSES, UNKNOWN
from defectctl.errors import InputError
from defectctl.formats.base import Finding
from defectctl.imaging.masks import decode_index, read_mask
from defectctl.imaging.reader import ImageError

BACKGROUND_NAME = "background"
UNKNOWN_NAME = "unknown"
AUTO, INDEX, COLOUR = "auto", "index", "colour"
_FULL = (255, 65535)
_FILES_KEPT = 1000


@dataclass(slots=True)
class ValueCount:
    """How often one stored value occurs: in pixels, in files, and in which (the first thousand)."""

    pixels: int = 0
    count: int = 0
    files: list[str] = field(default_factory=list)


@dataclass(slots=True)
class MaskSurvey:
    """The stored values of all masks of a source.

    Attributes:
        values: stored value -> where it occurs.
        colour_files: masks that are colour pictures.
        index_files: palette masks whose palette is not grey.
        jpeg: whether any mask is a JPEG, whose values are smeared.
    """

    values: dict[int, ValueCount] = field(default_factory=dict)
    colour_files: list[str] = field(default_factory=list)
    index_files: int = 0
    jpeg: bool = False

    def add(self, name: str, kind: str, values: NDArray, counts: NDArray) -> None:
        """Add one file's values (from `file_values`)."""
        if kind == "colour":
            self.colour_files.append(name)
        self.index_files += kind == "index"
        self.jpeg |= name.lower().endswith((".jpg", ".jpeg"))
        for value, pixels in zip(values.tolist(), counts.tolist(), strict=True):
            entry = self.values.setdefault(value, ValueCount())
            entry.pixels += pixels
            entry.count += 1
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


def parse_mask_values(text: str) -> dict[int, str]:
    """Read `--mask-values`: "0=background,1=scratch,255=unknown", or the name of a YAML or JSON file with such pairs.

    Raises:
        InputError: it is neither.
    """
    if text.lower().endswith((".yaml", ".yml", ".json")):
        pairs = _mapping_file(Path(text)).items()
    else:
        pairs = [pair.split("=", 1) for pair in text.split(",") if pair.strip()]
    values: dict[int, str] = {}
    for pair in pairs:
        try:
            number, name = int(str(pair[0]).strip()), str(pair[1]).strip()
        except (ValueError, IndexError) as error:
            raise InputError(f'--mask-values "{text}" is not like "0=background,1=scratch,255=unknown"') from error
        if not 0 <= number <= 65535 or not name:
            raise InputError(f"--mask-values: {number}={name} is no mask value (0..65535) with a name")
        values[number] = name
    if not values:
        raise InputError('--mask-values is empty; write for example "0=background,1=scratch,255=unknown"')
    return values


def _mapping_file(path: Path) -> dict[Any, Any]:
    import yaml  # JSON is YAML too

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"the mapping file '{path}' cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the mapping file '{path}' is neither YAML nor JSON: {reason}") from error
    if not isinstance(values, dict):
        raise InputError(f"the mapping file '{path}' must hold pairs like `255: unknown`")
    return values


def stored_values(data: bytes, name: str, reading: str) -> tuple[NDArray, str]:
    """A mask file's stored values `(H, W)` and their kind (see `imaging.masks.MaskImage`).

    Args:
        reading: AUTO, a palette of greys is looked up; INDEX, palette indices count whatever the palette;
            COLOUR, values are `0xRRGGBB`.
    """
    if reading == INDEX:
        return decode_index(data, name), "index"
    image = read_mask(data, name)
    if reading != COLOUR:
        return image.values, image.kind
    if image.colours is None:
        return image.values.astype(np.uint32) * 0x010101, "index"
    red, green, blue = (image.colours[:, :, channel].astype(np.uint32) for channel in range(3))
    return (red << 16) | (green << 8) | blue, "index"


def file_values(data: bytes, name: str, reading: str) -> tuple[str, NDArray, NDArray]:
    """Kind, stored values that occur (ascending) and their pixel counts of one mask file."""
    pixels, kind = stored_values(data, name, reading)
    if reading == COLOUR:
        return kind, *np.unique(pixels, return_counts=True)
    counts = np.bincount(pixels.ravel())
    values = np.flatnonzero(counts)
    return kind, values, counts[values]


def survey_file(root: Path, path: Path, reading: str) -> tuple[str, tuple[str, NDArray, NDArray] | None]:
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
            raise InputError(f"'{name}' cannot be the name of a defect class (background is not listed as a class)")
        if name.casefold() in seen:
            raise InputError(f"the class '{name}' is named twice")
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
    if survey.colour_files:
        raise InputError(
            f"the mask '{survey.colour_files[0]}' is a colour picture; masks must hold one number a pixel"
            " (grey levels or palette indices)"
        )
    stated = {0: BACKGROUND_NAME, **(stated or {})}
    lookup = np.zeros(1 << 24 if reading == COLOUR else 1 << 16, np.uint8)
    for value, name in stated.items():
        lookup[value] = UNKNOWN if name.casefold() == UNKNOWN_NAME else 0
    named = {v: n for v, n in stated.items() if n.casefold() not in (BACKGROUND_NAME, UNKNOWN_NAME)}
    rest = sorted(value for value in survey.values if value not in stated)
    if named:
        return _by_statement(survey, lookup, names, named, rest, reading)
    coding = MaskCoding(check_class_names(names), lookup, reading, one_class)
    if (one_class or len(names) <= 1) and _is_binary(survey, rest, coding):
        coding.classes = coding.classes or ["defect"]
        return coding
    if one_class:
        raise _doubt(survey, rest, rest[-1], "but with --classes-from every mask must be 0 and one other value")
    _by_number(survey, rest, coding)
    return coding


def _by_statement(
    survey: MaskSurvey,
    lookup: NDArray[np.uint8],
    names: list[str],
    named: dict[int, str],
    rest: list[int],
    reading: str,
) -> MaskCoding:
    if rest:
        raise InputError(
            f"the mask '{_file(survey, rest[0])}' holds the value {_shown(rest[0], reading)}, which the mapping does"
            f" not name ({_listed(survey, reading)}); add it to --mask-values or to the format's own list"
        )
    classes = check_class_names(names or dict.fromkeys(named[value] for value in sorted(named)))
    for value, name in named.items():
        if name not in classes:
            raise InputError(f"the mask value {value} means '{name}', which is none of: {', '.join(classes)}")
        lookup[value] = classes.index(name) + 1
    return MaskCoding(classes, lookup, reading)


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
    if survey.index_files or rest[-1] > 255:
        return False
    full = sum(entry.pixels for value, entry in survey.values.items() if value >= 224)
    strays = [value for value in rest if value != 255]
    stray_pixels = sum(survey.values[value].pixels for value in strays)
    # Values under 16 look like class numbers; a few others among many 255 are the drawing tool's soft edges.
    few = 255 in rest and strays[:1] >= [16] and stray_pixels * 100 < survey.values[255].pixels
    middle = sum(survey.values[value].pixels for value in strays if 64 <= value < 192)
    smeared = (survey.jpeg or len(rest) > 32) and full > 0 and middle * 4 < full
    if not few and not smeared:
        return False
    coding.lookup[[value for value in rest if value > 127]] = 1
    if few:
        files = sorted({file for value in strays for file in survey.values[value].files})
        text = f"holds greys between 0 and 255 ({', '.join(map(str, strays[:8]))}): over 127 is read as defect"
        coding.findings += [Finding(file, "odd-mask-values", text) for file in files]
    else:
        coding.notes.append(f"masks hold smeared greys ({len(rest) + 1} values): over 127 is read as defect")
    return True


def _by_number(survey: MaskSurvey, rest: list[int], coding: MaskCoding) -> None:
    """Value = class index, where the values leave no doubt."""
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
