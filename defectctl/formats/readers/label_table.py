"""Reader of a table that names images and their labels: good or bad, 0 or 1, or a class; CSV or TSV with a header."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from defectctl.errors import InputError
from defectctl.formats.base import Finding, Listing, RawSample, RawSource, ReadOptions
from defectctl.formats.readers.finer_truth import BESIDE_FINER_TRUTH, holds_finer_truth
from defectctl.formats.readers.label_words import DEFECTIVE, GOOD, Spelling, meaning, settle_classes, told_labels
from defectctl.formats.readers.names import part_of_folders, part_of_name, set_list_parts, settle_parts, stem_of
from defectctl.formats.readers.table_columns import Columns, find_columns
from defectctl.formats.readers.tables import ImageNames, Row, Table, read_head, read_table, table_files

NAME = "label-table"
DESCRIPTION = "a CSV or TSV table of image names and labels (file,label), with a split column or not"
SCORE = 0.84
_MOST_LOOKS = 8
_MOST_ROWS = 500
_MISSING = ("", "nan", "na", "n/a", "null", "?", "-", "unknown", "unlabelled", "unlabeled")
_TRUE = ("1", "1.0", "true", "yes", "y", "ja")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_FALSE = ("0", "0.0", "false", "no", "n", "nein")


@dataclass(slots=True)
class _Reading:
    """What is gathered over all tables of a folder."""

    listing: Listing
    names: ImageNames
    spelling: Spelling
    options: ReadOptions
    samples: dict[str, RawSample] = field(default_factory=dict)
    spoken_of: set[str] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def note(self, file: str, problem: str, text: str, dropped: bool = True) -> None:
        """Add a finding."""
        self.findings.append(Finding(file, problem, text, dropped))


def recognise(listing: Listing) -> float:
    """Sure where a table has a column of image names and one of labels, and no finer truth is there."""
    if not listing.images():
        return 0.0
    names = ImageNames(listing)
    shares = [_share(listing, file, names) for file in table_files(listing)[:_MOST_LOOKS]]
    best = max(shares, default=0.0)
    if not best:
        return 0.0
    score = SCORE * min(1.0, 0.5 + best)
    return score * BESIDE_FINER_TRUTH if holds_finer_truth(listing) else score


def _share(listing: Listing, file: str, names: ImageNames) -> float:
    """The share of a table's first rows that name an image; 0 where it is no table of labels."""
    table = read_head(listing, file)
    if table is None:
        return 0.0
    try:
        columns = find_columns(table, names)
    except InputError:
        return 0.0
    found = [bool(names.find(row.cells[columns.name], file)) for row in table.rows[:_MOST_ROWS]]
    return sum(found) / len(found) if found else 0.0


def read(listing: Listing, options: ReadOptions) -> RawSource:
    """Read every table of labels; an image without a label is left out.

    Labels are words for good and defective, names of classes, 0 and 1 (1 is defective, unless the column says
    `good` or the like), or, with `--classes`, class numbers from 1 with 0 for good.

    Raises:
        InputError: no table can be used, or a name or a label has no certain meaning.
    """
    reading = _Reading(listing, ImageNames(listing), Spelling(options), options)
    refused: dict[str, InputError] = {}
    files = table_files(listing)
    for file in files:
        try:
            table = read_table(listing, file)
            columns = find_columns(table, reading.names)
        except InputError as error:
            refused[file] = error
            continue
        _read_rows(reading, table, columns)
    if not reading.told:
        if refused:
            raise next(iter(refused.values()))
        raise InputError(f"'{listing.root}' holds no table (.csv or .tsv) of image names and labels")
    for file, error in refused.items():
        reading.note(file, "no-table", f"passed over: {error}", False)
    _report_unlabelled(reading)
    samples = [reading.samples[file] for file in sorted(reading.samples)]
    if not any(sample.part for sample in samples):
        set_list_parts(listing, samples, reading.findings)
    classes = settle_classes(samples, options)
    layout = f"{'; '.join(reading.told)} ({told_labels(samples)})" + settle_parts(samples, reading.findings)
    return RawSource(NAME, layout, listing.root, samples, classes, findings=reading.findings)


def _read_rows(reading: _Reading, table: Table, columns: Columns) -> None:
    column = table.columns[columns.label]
    labels = _labels(table, columns, reading)
    numbers = " (1 is good)" if labels.get("1") == GOOD else " (1 is defective)" if "1" in labels else ""
    reading.told.append(
        f"image labels from '{table.file}', names in '{table.columns[columns.name]}', labels in '{column}'{numbers}"
    )
    for line, count in table.odd:
        text = f"line {line} has {count} cells, the header {len(table.columns)}: left out"
        reading.note(table.file, "odd-row", text)
    for row in table.rows:
        file = _image_of(reading, table, row, columns)
        if file is None:
            continue
        reading.spoken_of.add(file)
        label = labels[_key(row.cells[columns.label])]
        if label is None:
            reading.note(file, "no-label", f"'{table.file}', line {row.line} gives it no label: left out")
            continue
        sample = RawSample(file, reading.listing.root / file, label=label, part=_part(table, row, columns, file))
        _add(reading, table, row, sample)


def _key(text: str) -> str:
    return text.strip().casefold()


def _labels(table: Table, columns: Columns, reading: _Reading) -> dict[str, str | None]:
    """Case-folded cell -> its label, None where it is none.

    Raises:
        InputError: numbers that nothing explains, or a word of two meanings.
    """
    column = table.columns[columns.label]
    found = dict.fromkeys(row.cells[columns.label] for row in table.rows)
    missing = {_key(text): None for text in found if _key(text) in _MISSING}
    words = {_key(text): text.strip() for text in reversed(found) if _key(text) not in _MISSING}
    if words and all(word in (*_TRUE, *_FALSE) for word in words):
        one, zero = (GOOD, DEFECTIVE) if _says_good(column) else (DEFECTIVE, GOOD)
        return {**missing, **{word: one if word in _TRUE else zero for word in words}}
    numbers = [word for word in words if _NUMBER.fullmatch(word)]
    if numbers:
        return {**missing, **_numbered(table, column, words, numbers, reading.options)}
    if "none" in words:
        raise InputError(
            f"'{table.file}', column '{column}': 'none' may mean no defect or no label; write 'good' or leave it empty"
        )
    return {**missing, **{word: meaning(text) or reading.spelling(text) for word, text in words.items()}}


def _says_good(column: str) -> bool:
    name = column.casefold().removeprefix("is").strip("_ ")
    return meaning(name) == GOOD


def _numbered(
    table: Table, column: str, words: dict[str, str], numbers: list[str], options: ReadOptions
) -> dict[str, str | None]:
    """Class numbers from 1 in the user's classes; 0 is good."""
    where = f"'{table.file}', column '{column}'"
    if len(numbers) < len(words):
        word = next(text for word, text in words.items() if word not in numbers)
        raise InputError(f"{where} holds numbers and words ('{words[numbers[0]]}', '{word}'); write one or the other")
    result: dict[str, str | None] = {}
    for word in sorted(numbers, key=float, reverse=True):
        number = int(float(word)) if float(word).is_integer() else -1
        if not 0 <= number <= len(options.classes):
            raise InputError(
                f"{where} holds the label '{words[word]}', and nothing says what its numbers mean; write class names"
                " into it, or name the classes 1, 2, … with --classes (0 is good)"
            )
        result[word] = options.classes[number - 1] if number else GOOD
    return result


def _part(table: Table, row: Row, columns: Columns, file: str) -> str | None:
    if columns.part is not None:
        return part_of_name(row.cells[columns.part])
    return part_of_name(stem_of(table.file)) or part_of_folders(file)


def _image_of(reading: _Reading, table: Table, row: Row, columns: Columns) -> str | None:
    """The image that a row names; None, with a finding, where there is none.

    Raises:
        InputError: it may be one of several.
    """
    name = row.cells[columns.name]
    if not name:
        reading.note(table.file, "no-image", f"line {row.line} names no image: left out")
        return None
    part = part_of_name(row.cells[columns.part]) if columns.part is not None else None
    near = f"{part}/{table.file}" if part else table.file
    found = reading.names.find(name, near)
    if len(found) > 1:
        raise InputError(
            f"'{table.file}', line {row.line}: '{name}' may be '{found[0]}' or '{found[1]}'; write the folder too"
        )
    if not found:
        reading.note(table.file, "no-image", f"line {row.line} names '{name}', which is not in the folder: left out")
        return None
    return found[0]


def _add(reading: _Reading, table: Table, row: Row, sample: RawSample) -> None:
    """Take a sample, or bring its label together with the one that the image has."""
    other = reading.samples.setdefault(sample.id, sample)
    if other is sample:
        return
    where = f"'{table.file}', line {row.line}"
    if other.label == sample.label:
        reading.note(sample.id, "duplicate-row", f"{where} names it again with the same label: counted once", False)
    elif GOOD in (other.label, sample.label):
        text = f"{where} says {sample.label}, a row before it {other.label}: taken as defective; correct the table"
        reading.note(sample.id, "contradictory", text, False)
        other.label = sample.label if other.label == GOOD else other.label
    else:
        text = f"{where} says {sample.label}, a row before it {other.label}: kept as defective without a class"
        reading.note(sample.id, "several-labels", text, False)
        other.label = DEFECTIVE


def _report_unlabelled(reading: _Reading) -> None:
    """One finding for each image that no table names; one for a whole folder of which none is named."""
    used = {file.rpartition("/")[0] for file in reading.spoken_of}
    idle: Counter[str] = Counter()
    for file in map(str, reading.listing.images()):
        folder = file.rpartition("/")[0]
        if folder not in used:
            idle[folder or "."] += 1
        elif file not in reading.spoken_of:
            reading.note(file, "no-label", "an image that no table names: left out")
    for folder, count in sorted(idle.items()):
        reading.note(folder, "unused-images", f"{count} image files that no table names: left out")
