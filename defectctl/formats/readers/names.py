"""What file and folder names tell: official parts, hints, class prefixes, and which of several files is meant."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import TypeVar

from defectctl.errors import InputError
from defectctl.formats.base import Finding, Listing, RawSample, ReadOptions

T = TypeVar("T")

PART_WORDS = {
    "train": "train",
    "training": "train",
    "trainval": "train",
    "trn": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
    "tst": "test",
}
"""Words for the official parts of a split, whole words only, any case, a year at the end allowed (`train2017`)."""

MASK_HINT = re.compile(r"mask|label|annot|ground.?truth|truth|segm?entation|(^|[^a-z])(gt|seg|lbl)s?([^a-z]|$)", re.I)
SECOND_HINT = re.compile(r"object|instance|visuali[sz]|(^|[^a-z])viz?([^a-z]|$)|overlay|preview|colou?r", re.I)
_FOR_ALL = re.compile(r"(jpeg)?im(a)?g(e)?s?|jpegs?|pictures?|pics?|photos?|raw|data|source", re.I)
"""Folder names that tell nothing of the class below or above them (`MT_Crack/Imgs`)."""
IMAGE_HINT = re.compile(r"image|img|source|photo|picture|(^|[^a-z])raw([^a-z]|$)", re.I)


def part_of_name(name: str) -> str | None:
    """The official part (`train`, `val`, `test`) that a folder or file name states, or None."""
    words = {re.sub(r"(19|20)\d\d$", "", word) for word in re.split(r"[\W_]+", name.casefold())}
    found = {PART_WORDS[word] for word in words if word in PART_WORDS}
    return found.pop() if len(found) == 1 else None


def part_of_folders(file: str) -> str | None:
    """The official part that the first telling folder of a POSIX path names, or None."""
    return next((part for folder in file.split("/")[:-1] if (part := part_of_name(folder))), None)


def stem_of(file: str) -> str:
    """File name without folders and without its last ending."""
    name = file.rpartition("/")[2]
    return name.rpartition(".")[0] or name


def settle_parts(samples: list[RawSample], findings: list[Finding]) -> str:
    """Keep official parts only where they make a split, and return half a sentence that says so.

    A source with a single part, or without a training part, counts as unsplit: `part` becomes None everywhere.
    Samples outside every part of a real split are reported.
    """
    counts = Counter(sample.part for sample in samples if sample.part)
    if len(counts) < 2 or "train" not in counts:
        for sample in samples:
            sample.part = None
        only = " and ".join(f"'{part}'" for part in sorted(counts))
        return f"; official part {only} alone makes no split, so it counts as unsplit" if counts else ""
    for sample in samples:
        if sample.part is None:
            findings.append(Finding(sample.id, "no-part", "in none of the official parts: kept, but unused by them"))
    return "; official parts " + ", ".join(f"{p} {counts[p]}" for p in ("train", "val", "test") if p in counts)


def set_list_parts(listing: Listing, samples: list[RawSample], findings: list[Finding]) -> None:
    """Take official parts from lists of names (`ImageSets/*/train.txt` and the like) where there are any.

    Of several folders with lists, the one that speaks of these samples best is taken. `trainval` counts only where
    there is no `train`. A name in two parts keeps the first of test, val, train.
    """
    by_stem: dict[str, list[RawSample]] = {}
    for sample in samples:
        by_stem.setdefault(stem_of(sample.id).casefold(), []).append(sample)
    best: tuple[float, dict[str, tuple[str, list[str]]]] = (0.0, {})
    for lists in _part_lists(listing).values():
        lines = [line for _, content in lists.values() for line in content]
        hits = sum(_meant(line, by_stem) is not None for line in lines)
        score = hits / max(1, len(lines)) + hits / max(1, len(samples))
        if hits * 2 >= len(lines) and score > best[0]:
            best = (score, lists)
    if not best[1]:
        return
    taken: dict[str, str] = {}
    for sample in samples:
        sample.part = None
    for part in ("test", "val", "train"):
        file, lines = best[1].get(part, ("", []))
        for line in lines:
            _assign(line, part, file, by_stem, taken, findings)


def _assign(
    line: str, part: str, file: str, by_stem: dict[str, list[RawSample]], taken: dict[str, str], findings: list[Finding]
) -> None:
    named = _meant(line, by_stem)
    if named is None:
        findings.append(
            Finding(
                file,
                "no-image",
                f"lists '{line}', which is no annotated image: passed over; add the image or take out the line",
            )
        )
        return
    fitting = same_case(by_stem[named], line, lambda sample: stem_of(sample.id))
    sample = fitting[best_match([s.id for s in fitting], line)[0]]
    if taken.setdefault(sample.id, part) != part:
        kept = taken[sample.id]
        findings.append(Finding(sample.id, "in-two-parts", f"listed in {kept} and in {part}: kept in {kept}"))
        return
    sample.part = part


def _part_lists(listing: Listing) -> dict[str, dict[str, tuple[str, list[str]]]]:
    """Folder -> part -> (list file, its lines), for text files whose whole name is the name of a part."""
    folders: dict[str, dict[str, tuple[str, list[str]]]] = {}
    for file in listing.files:
        word = file.stem.casefold()
        if file.suffix.lower() != ".txt" or word not in PART_WORDS:
            continue
        lists = folders.setdefault(str(file.parent), {})
        if word == "trainval" and "train" in lists:
            continue
        text = decode_text(listing.path(file).read_bytes())
        lines = [name for line in text.splitlines() if (name := line.strip().strip('"').strip())]
        if word != "trainval" or PART_WORDS[word] not in lists:
            lists[PART_WORDS[word]] = (str(file), lines)
    return folders


def _meant(line: str, by_stem: dict[str, list[RawSample]]) -> str | None:
    """The stem that a line of a list names: the whole line, or its first word, with or without ending and folders."""
    for text in (line, line.split()[0]):
        name = text.replace("\\", "/").rpartition("/")[2].casefold()
        for stem in (name, stem_of(name)):
            if stem in by_stem:
                return stem
    return None


def same_case(candidates: list[T], text: str, name_of: Callable[[T], str]) -> list[T]:
    """Of candidates whose names differ in case only those that `text` spells exactly; all where it spells none."""
    name = text.replace("\\", "/").rpartition("/")[2].strip()
    exact = [c for c in candidates if name_of(c) in (name, stem_of(name), name.split(" ")[0])]
    return exact or candidates


def best_match(candidates: list[str], near: str) -> list[int]:
    """Indices of the candidate paths that share most folder names with the path `near` (several where equal).

    A folder of the same official part counts as shared, whatever its spelling.
    """
    if len(candidates) == 1:
        return [0]
    wanted = set(near.casefold().split("/")[:-1])
    part = part_of_name(stem_of(near)) or part_of_folders(near)
    scores = [
        len(wanted & set(c.casefold().split("/")[:-1])) + (part is not None and part == part_of_folders(c))
        for c in candidates
    ]
    return [i for i, score in enumerate(scores) if score == max(scores)]


def is_whole(text: str) -> bool:
    """Whether a text is a whole number in plain digits, of a length that is no mistake (`²` is a digit to Python)."""
    return text.isascii() and text.isdigit() and len(text) <= 18


def decode_text(data: bytes) -> str:
    """Text of unknown encoding: UTF-8 with or without byte-order mark, UTF-16 with one, else Latin-1."""
    marked = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        return data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def class_from_prefix(file: str) -> str:
    """The class that a file name begins with, before its number: `rolled-in_scale_20` -> `rolled-in_scale`."""
    match = re.match(r"(.*?)[\W_]*\d+(?:[\W_].*)?$", stem_of(file))
    return (match.group(1) if match else stem_of(file)).strip("_-. ")


def class_of(file: str, options: ReadOptions, ignored: Iterable[str] = ()) -> str | None:
    """The one class of an image where `--classes-from` says to read it from its prefix or folder, else None.

    Args:
        ignored: folder names that hold images of all classes (those of official parts are ignored anyway).

    Raises:
        InputError: the name has no prefix, or no folder is left that could name a class.
    """
    if options.classes_from is None:
        return None
    if options.classes_from == "prefix":
        name = class_from_prefix(file)
    else:
        folders = [f for f in PurePosixPath(file).parts[:-1] if f not in set(ignored) and not part_of_name(f)]
        telling = [f for f in folders if not _FOR_ALL.fullmatch(f)] or folders
        name = telling[-1] if telling else ""
    if not name:
        source = options.classes_from
        remedy = "put it into a folder of its class" if source == "folder" else "name it like scratch_1"
        raise InputError(f"--classes-from {source}: '{file}' has no {source} that names a class; {remedy}")
    return name


def order_classes(found: dict[str, str], options: ReadOptions, key: Iterable[str] | None = None) -> list[str]:
    """Class names in the order of their index: the user's, else `key`'s, else alphabetical.

    Args:
        found: class name -> a file in which it occurs.

    Raises:
        InputError: `--classes` leaves out a class that the folder uses.
    """
    if not options.classes:
        return list(key) if key is not None else sorted(found)
    for name, file in found.items():
        if name not in options.classes:
            raise InputError(f"'{file}' uses the class '{name}', which --classes does not name; add it to the list")
    return list(options.classes)


class Spelling:
    """Keeps one spelling of class names that differ in case only: the user's, else the first met.

    Args:
        wanted: the names of `--classes`.
    """

    def __init__(self, wanted: Iterable[str] = ()) -> None:
        self._known = {name.casefold(): name for name in wanted}
        self._told: set[str] = set()

    def take(self, name: str, file: str, findings: list[Finding]) -> str:
        """The spelling to use; where it is another one, a finding tells once."""
        known = self._known.setdefault(name.casefold(), name)
        if known != name and name not in self._told:
            self._told.add(name)
            text = f"the class '{name}' differs from '{known}' in case only: taken as '{known}'"
            findings.append(Finding(file, "case-differs", text))
        return known
