"""What all target forms share: the plan of an export, one picture of it, and the count of what a form cannot hold."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from defectctl.dataset.ids import safe_id
from defectctl.dataset.types import Dataset, Sample
from defectctl.formats.exports.truth import Truth
from defectctl.imaging.headers import Header

UNUSED = "unused"
"""The part that samples go to which are in no part of the split."""

PATCHES = "{n} objects in {images} images are patches of the mask, as the dataset states none of their classes"
"""What `count_patches` counts, as the forms tell it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written, and where.

    Attributes:
        dataset: the prepared dataset.
        folder: the folder in which the export stands until it is whole.
        parts: part -> its samples, in the split's order, `UNUSED` last.
        names: sample id -> file name below its part's folder, POSIX, with the image's ending.
        class_names: as the form can write them, index 1 first.
        segment: whether outlines are asked for where the form has boxes too.
    """

    dataset: Dataset
    folder: Path
    parts: dict[str, list[Sample]]
    names: dict[str, str]
    class_names: list[str]
    segment: bool = False

    def write(self, name: str, data: bytes) -> None:
        """Write a file of the export."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def write_lines(self, name: str, lines: Iterable[str]) -> None:
        """Write a text file of one item a line, UTF-8."""
        self.write(name, "".join(line + "\n" for line in lines).encode("utf-8"))


@dataclass(frozen=True, slots=True)
class Picture:
    """One sample, read and checked: the bytes of its image, their header, its truth."""

    sample: Sample
    part: str
    name: str
    data: bytes
    header: Header
    truth: Truth


@dataclass(slots=True)
class Tally:
    """What could not be held, by key: how often, and in how many images."""

    things: Counter[str] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)

    def add(self, key: str, count: int = 1) -> None:
        """Count something of the image at hand; nothing happens where there is none."""
        if count:
            self.things[key] += count
            self.images[key] += 1

    def merge(self, other: Tally) -> None:
        """Add the counts of another image, or of several."""
        self.things += other.things
        self.images += other.images

    def notes(self, texts: dict[str, str]) -> list[str]:
        """The sentences of the keys that occurred; `{n}` and `{images}` in them stand for the counts."""
        return [
            text.format(n=f"{self.things[key]:,}", images=f"{self.images[key]:,}")
            for key, text in texts.items()
            if self.things[key]
        ]


@dataclass(slots=True)
class Written:
    """What came of one picture.

    Attributes:
        objects: class index -> objects written.
        lost: what the form cannot hold.
        record: the form's own, for `Form.finish_part`.
        turned: whether the image file carries an EXIF turn.
        deep: whether it has more than 8 bits a sample.
    """

    objects: Counter[int] = field(default_factory=Counter)
    lost: Tally = field(default_factory=Tally)
    record: Any = None
    turned: bool = False
    deep: bool = False


class Form(Protocol):
    """A target form. `picture` may run on several threads at once; `finish_part` follows the pictures of each part."""

    ENDINGS: frozenset[str]
    """Endings of images that the form's usual tools read."""
    LOSSES: dict[str, str]
    """Key of `Tally` -> sentence."""
    HOLDS_UNKNOWN: bool
    """Whether an image of which nothing is known can be told from a good one."""

    def __init__(self, plan: Plan) -> None:
        """Refuses with InputError a dataset of which the form could hold nothing."""

    def picture(self, picture: Picture) -> Written:
        """Write one picture's own files."""

    def finish_part(self, part: str, written: Sequence[tuple[Sample, Written]]) -> None:
        """Write the files that speak of a whole part."""

    def finish(self) -> list[str]:
        """Write the files that speak of everything; returns notes."""


def file_names(
    ids: Sequence[str], flat: Iterable[str] = (), unique_stems: bool = False, shunned: Iterable[str] = ()
) -> dict[str, str]:
    """Name every image of an export.

    Args:
        ids: sample ids, unique when case is folded.
        flat: ids whose folders become part of the name, joined by `__`.
        unique_stems: whether no two names may differ in their ending alone.
        shunned: folder names that mean something else in the form; they get `_` at their end.

    Returns:
        id -> name; names that would meet (case does not count) get `~2`, `~3`, … before the ending.
    """
    flattened, avoid = set(flat), {name.casefold() for name in shunned}
    wanted = {i: _wanted(i, i in flattened, avoid) for i in ids}
    taken: set[str] = set()
    names = {}
    for own in sorted(ids, key=lambda i: (wanted[i] != i, i)):
        path = PurePosixPath(wanted[own])
        candidate, number = path, 1
        while (key := str(candidate.with_suffix("") if unique_stems else candidate).casefold()) in taken:
            number += 1
            candidate = path.with_name(f"{path.stem}~{number}{path.suffix}")
        taken.add(key)
        names[own] = str(candidate)
    return names


def ambiguous(ids: Sequence[str]) -> set[str]:
    """The ids that end like another whole one (`a/1.png` beside `1.png`), which tools that look for files confuse."""
    whole = {own.casefold() for own in ids}
    steps = {own: own.casefold().split("/") for own in ids}
    return {own for own, path in steps.items() if any("/".join(path[i:]) in whole for i in range(1, len(path)))}


def _wanted(own: str, flat: bool, avoid: set[str]) -> str:
    *folders, name = own.split("/")
    if flat:
        return safe_id("__".join([*folders, name]))
    return "/".join([*(f + "_" if f.casefold() in avoid else f for f in folders), name])


def line_names(names: Sequence[str]) -> list[str]:
    """Class names that can stand in a line `name:red,green,blue`; still unique when case is folded."""
    taken: set[str] = set()
    result = []
    for name in names:
        plain = re.sub(r"[:\x00-\x1f\x7f\u0085\u2028\u2029]", "_", name).strip()
        plain = "_" + plain[1:] if plain.startswith("#") else plain
        candidate, number = plain, 1
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{plain}~{number}"
        taken.add(candidate.casefold())
        result.append(candidate)
    return result


def label_map(plan: Plan) -> list[str]:
    """The lines of `labelmap.txt` as CVAT writes them: the colour that each class has in the palette of the masks."""
    pairs = zip(plan.class_names, plan.dataset.classes, strict=True)
    colours = [f"{name}:{','.join(map(str, info.colour))}::" for name, info in pairs]
    return ["# label:color_rgb:parts:actions", "background:0,0,0::", *colours]


def names_csv(plan: Plan) -> str:
    """The text of `names.csv`: which sample each file of another name is."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["part", "file", "id"])
    rows.writerows(
        (part, plan.names[sample.id], sample.id)
        for part, samples in plan.parts.items()
        for sample in samples
        if plan.names[sample.id] != sample.id
    )
    return text.getvalue()
