"""Reader of run-lengths in a table, as of Severstal's steel defects: ImageId, ClassId, EncodedPixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from defectctl.errors import InputError
from defectctl.formats.base import Finding, Listing, RawSample, RawShape, RawSource, ReadOptions, Region
from defectctl.formats.readers.label_words import DEFECT, Spelling
from defectctl.formats.readers.names import (
    is_whole,
    order_classes,
    part_of_folders,
    part_of_name,
    settle_parts,
    stem_of,
)
from defectctl.formats.readers.tables import ImageNames, Row, Table, plain, read_head, read_table, table_files
from defectctl.formats.threads import on_threads
from defectctl.imaging.headers import Header, ImageError, read_header
from defectctl.messages import progress

NAME = "rle-csv"
DESCRIPTION = "a CSV of run-lengths (ImageId,ClassId,EncodedPixels or ImageId_ClassId,EncodedPixels), beside images"
SCORE = 0.905
_MOST_LOOKS = 8
_PIXELS = ("encodedpixels", "rle", "rlemask")
_IMAGE = ("imageid", "image", "img", "imagename", "filename", "file")
_CLASS = ("classid", "class", "label", "defectid")
_BOTH = ("imageidclassid", "imageclassid", "imagelabel")
_EMPTY = ("", "nan")


@dataclass(frozen=True, slots=True)
class _Columns:
    """Numbers of a table's columns; `both` is `ImageId_ClassId`, with `image` and `label` None."""

    pixels: int
    image: int | None
    label: int | None
    both: int | None

    def split(self, row: Row) -> tuple[str, str]:
        """Image name and class of a row, as written; the class is "" where the table has none."""
        if self.both is not None:
            image, _, label = row.cells[self.both].rpartition("_")
            return image, label
        assert self.image is not None
        return row.cells[self.image], row.cells[self.label] if self.label is not None else ""


@dataclass(frozen=True, slots=True)
class _Run:
    """One row with a region: the table and line where it stands, the class, the run-length as written."""

    file: str
    line: int
    class_name: str
    text: str


@dataclass(slots=True)
class _Reading:
    """What is gathered over all tables of a folder: image file -> its regions, and where it was named."""

    listing: Listing
    names: ImageNames
    runs: dict[str, list[_Run]] = field(default_factory=dict)
    stated_by: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def note(self, file: str, problem: str, text: str, dropped: bool = True) -> None:
        """Add a finding."""
        self.findings.append(Finding(file, problem, text, dropped))


def recognise(listing: Listing) -> float:
    """Sure where there are images and a table with a column of run-lengths."""
    if not listing.images():
        return 0.0
    heads = (read_head(listing, file) for file in _files(listing)[:_MOST_LOOKS])
    return SCORE if any(head and _find_columns(head.columns) for head in heads) else 0.0


def read(listing: Listing, options: ReadOptions) -> RawSource:
    """Read every table of run-lengths; images beside the named ones that have no region are good parts.

    Run-lengths go down the columns and count from 1 (start and length in turn). Classes are numbers (the place in
    `--classes`, else called `class-1`, …) or names. Where a run-length is broken, nothing is known of its class in
    that image.

    Raises:
        InputError: no table of run-lengths can be read, or `--classes` does not fit their numbers.
    """
    reading = _Reading(listing, ImageNames(listing))
    tables = _tables(reading)
    for table, columns in tables:
        _read_rows(reading, table, columns)
    names, classes = _name_classes(reading, options)
    samples = _samples(reading, names)
    good = Counter(not runs for runs in reading.runs.values())[True]
    absent = len(samples) - len(reading.runs)
    told = ", ".join(f"'{table.file}'" for table, _ in tables)
    layout = f"run-lengths in {told}; good parts: {absent} images without a row, {good} with empty rows"
    layout += settle_parts(samples, reading.findings)
    return RawSource(NAME, layout, listing.root, samples, classes, findings=reading.findings, knows_masks=True)


def _files(listing: Listing) -> list[str]:
    """Tables without samples of submissions, whose run-lengths are made up."""
    return [file for file in table_files(listing) if "submission" not in stem_of(file).casefold()]


def _find_columns(columns: list[str]) -> _Columns | None:
    place = {plain(column): index for index, column in reversed(list(enumerate(columns)))}

    def first(words: Iterable[str]) -> int | None:
        return next((place[word] for word in words if word in place), None)

    pixels, image, both = first(_PIXELS), first(_IMAGE), first(_BOTH)
    if pixels is None or (image is None and both is None):
        return None
    return _Columns(pixels, image, first(_CLASS), None if image is not None else both)


def _tables(reading: _Reading) -> list[tuple[Table, _Columns]]:
    tables, broken = [], []
    for file in _files(reading.listing):
        try:
            table = read_table(reading.listing, file)
        except InputError as error:
            broken.append(error)
            reading.note(file, "unreadable", f"left out: {error}")
            continue
        if columns := _find_columns(table.columns):
            tables.append((table, columns))
    if not tables:
        if broken:
            raise broken[0]
        raise InputError(f"'{reading.listing.root}' holds no table with the columns ImageId, ClassId and EncodedPixels")
    return sorted(tables, key=lambda pair: pair[0].file)


def _read_rows(reading: _Reading, table: Table, columns: _Columns) -> None:
    missing: set[str] = set()
    for line, count in table.odd:
        text = f"line {line} has {count} cells, the header {len(table.columns)}: left out"
        reading.note(table.file, "odd-row", text)
    for row in table.rows:
        name, label = columns.split(row)
        has_class = columns.both is not None or columns.label is not None
        text = row.cells[columns.pixels]
        if not name or (has_class and not label and text.casefold() not in _EMPTY):
            reading.note(table.file, "odd-row", f"line {row.line} names no {'class' if name else 'image'}: left out")
            continue
        found = reading.names.find(name, table.file)
        if len(found) != 1:
            if name not in missing:
                _report_image(reading, table, row, name, found)
            missing.add(name)
            continue
        runs = reading.runs.setdefault(found[0], [])
        reading.stated_by.setdefault(found[0], table.file)
        if text.casefold() not in _EMPTY:
            runs.append(_Run(table.file, row.line, label, text))


def _report_image(reading: _Reading, table: Table, row: Row, name: str, found: list[str]) -> None:
    if found:
        text = f"line {row.line}: '{name}' may be '{found[0]}' or '{found[1]}': its rows are left out"
        reading.note(table.file, "ambiguous-image", text)
    else:
        text = f"line {row.line} names '{name}', which is not in the folder: its rows are left out"
        reading.note(table.file, "no-image", text)


def _name_classes(reading: _Reading, options: ReadOptions) -> tuple[dict[str, str], list[str]]:
    """Class as written -> its name, and the names in order of their index."""
    written = {run.class_name: run.file for runs in reading.runs.values() for run in runs}
    if set(written) <= {""}:
        name = options.classes[0] if len(options.classes) == 1 else DEFECT
        return {"": name}, order_classes({name: written.get("", ".")}, options)
    if not all(is_whole(label) for label in written):
        spelling = Spelling(options)
        names = {label: spelling(label) for label in sorted(written)}
        return names, order_classes({names[label]: file for label, file in written.items()}, options)
    numbers = sorted(written, key=int)
    if not options.classes:
        names = {label: f"class-{int(label)}" for label in numbers}
        return names, list(dict.fromkeys(names.values()))
    first = min(1, int(numbers[0]))
    for label in numbers:
        if int(label) - first >= len(options.classes):
            raise InputError(
                f"'{written[label]}' uses the class {label}, but --classes names {len(options.classes)}, counted from"
                f" {first}; add its name"
            )
    return {label: options.classes[int(label) - first] for label in numbers}, list(options.classes)


def _samples(reading: _Reading, names: dict[str, str]) -> list[RawSample]:
    """Samples of all images in the folders of the named ones; images of other folders are unused."""
    used = {file.rpartition("/")[0] for file in reading.runs}
    idle: Counter[str] = Counter()
    samples = []
    for file in map(str, reading.listing.images()):
        folder = file.rpartition("/")[0]
        if folder not in used:
            idle[folder or "."] += 1
            continue
        stated = reading.stated_by.get(file, "")
        part = part_of_folders(file) or part_of_name(stem_of(stated))
        samples.append(RawSample(file, reading.listing.root / file, shapes=[], part=part))
    for folder, count in sorted(idle.items()):
        text = f"{count} image files, none of them named by a table: left out, not taken for good parts"
        reading.note(folder, "unused-images", text)
    with_runs = [sample for sample in samples if reading.runs.get(sample.id)]
    with closing(on_threads(_header, with_runs)) as results:
        for sample, header in progress(results, len(with_runs), "run-lengths", "image"):
            if header is not None:  # an unreadable image is told when it is prepared
                sample.shapes = _shapes(reading, sample, header, names)
    return samples


def _header(sample: RawSample) -> Header | None:
    try:
        return read_header(sample.image.read_bytes())
    except (OSError, ImageError):
        return None


def _shapes(reading: _Reading, sample: RawSample, header: Header, names: dict[str, str]) -> list[RawShape]:
    width, height = header.upright_size
    if header.orientation != 1:
        text = "turned by its EXIF orientation: the run-lengths are taken to be of the upright picture"
        reading.note(sample.id, "turned", text, False)
    shapes = []
    for run in reading.runs[sample.id]:
        counts, problem = to_counts(run.text, height, width)
        name = names[run.class_name]
        if problem:
            text = f"line {run.line}: {problem}; '{name}' counts as unknown in '{sample.id}'"
            reading.note(run.file, "broken-run-length", text, False)
        # Counts that do not add up make the class unknown in this image, which painting then tells.
        shapes.append(RawShape(name, region=Region(rle={"size": [height, width], "counts": counts})))
    return shapes


def to_counts(text: str, height: int, width: int) -> tuple[list[int], str]:
    """COCO's uncompressed counts of a 1-based run-length `start length start length …` down the columns.

    Returns:
        (counts, ""), which begin with background and add up to all pixels, or ([], what is wrong).
    """
    try:
        numbers = np.array([int(word) for word in text.split()], np.int64)
    except (ValueError, OverflowError):
        return [], f"the run-length '{text[:30]}' holds something else than numbers"
    if len(numbers) % 2:
        return [], f"the run-length has {len(numbers)} numbers; it needs pairs of start and length"
    order = np.argsort(numbers[0::2], kind="stable")
    starts, lengths = numbers[0::2][order] - 1, numbers[1::2][order]
    if (starts < 0).any() or (lengths < 1).any():
        return [], "the run-length has a start or a length below 1"
    if starts[-1] >= height * width or lengths.max() > height * width:
        return [], f"the run-length goes beyond the image's {height * width} pixels"
    ends = starts + lengths
    if (starts[1:] < ends[:-1]).any():
        return [], "the run-length has runs that overlap"
    if ends[-1] > height * width:
        return [], f"the run-length goes beyond the image's {height * width} pixels"
    gaps = starts - np.concatenate([[0], ends[:-1]])
    counts = np.stack([gaps, lengths], axis=1).ravel().tolist()
    return [*counts, height * width - int(ends[-1])], ""
