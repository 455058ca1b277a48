"""One raw folder opened: recognised and read, what its mask values mean, and its classes in the dataset's numbers."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectctl.dataset.types import UNKNOWN, Known
from defectctl.errors import InputError
from defectctl.formats.base import UNREAD_ENDINGS, Finding, RawSample, RawSource, ReadOptions
from defectctl.formats.masks.mask_values import (
    AUTO,
    COLOUR,
    INDEX,
    MaskCoding,
    MaskSurvey,
    check_class_names,
    decide_coding,
    survey_file,
)
from defectctl.formats.registry import list_folder, recognise
from defectctl.formats.threads import on_threads
from defectctl.messages import progress


@dataclass(slots=True)
class Opened:
    """A raw folder, ready to be translated.

    Attributes:
        handle: how `--map` and other options call the source: its folder's name.
        name: its key among the dataset's sources.
        told: what stands before its file names in findings and notes where there are several sources, else "".
        raw: what the reader understood.
        coding: meaning of stored mask values, or None where there are no mask files.
        own_classes: class names as the folder has them, index 1 first.
        labels: own class name -> class index in the dataset; set by `number_classes`.
        names: own class name -> class name in the dataset.
        excluded: samples left out on the user's word.
    """

    handle: str
    name: str
    told: str
    raw: RawSource
    coding: MaskCoding | None
    own_classes: list[str]
    labels: dict[str, int] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    excluded: int = 0

    def number_classes(self, names: dict[str, str], class_names: list[str]) -> None:
        """Say which of the dataset's classes each own class is."""
        self.names = names
        self.labels = {own: class_names.index(name) + 1 for own, name in names.items()}

    @property
    def known(self) -> Known:
        """What the source's labels speak of by default, in the dataset's class indices."""
        every = tuple(sorted(set(self.labels.values())))
        masks, boxes = self.raw.knows_masks, self.raw.knows_boxes
        image = masks or boxes or any(sample.label is not None for sample in self.raw.samples)
        return Known(every if masks else (), every if boxes else (), image)

    def lookup(self) -> NDArray[np.uint8]:
        """`(256,)` uint8: own mask index -> class index in the dataset, 0 and 255 as they are."""
        table = np.zeros(256, np.uint8)
        table[UNKNOWN] = UNKNOWN
        for index, name in enumerate(self.own_classes, 1):
            table[index] = self.labels[name]
        return table

    def file(self, name: str) -> str:
        """A file name as findings tell it."""
        return self.told + name


@dataclass(frozen=True, slots=True)
class View:
    """One raw sample of one source."""

    source: Opened
    raw: RawSample


def open_source(
    root: Path, handle: str, format: str | None, read: ReadOptions, exclude: list[str], alone: bool
) -> tuple[Opened, set[str]]:
    """Read a raw folder's annotations and decide what its masks' values mean; no image is opened.

    Args:
        exclude: patterns of ids to leave out.
        alone: whether it is the dataset's only source.

    Returns:
        The source, and the patterns that hit something.

    Raises:
        InputError: layout, options or mask values are unusable, or no image is left.
    """
    listing = list_folder(root)
    source = recognise(listing, format).read(listing, read)
    source.findings += listing.findings
    source.findings += [
        Finding(file.as_posix(), "unreadable", f"{file.suffix} files are not read; save it as PNG or TIFF", True)
        for file in listing.files
        if file.suffix.lower() in UNREAD_ENDINGS
    ]
    before = len(source.samples)
    hit = _exclude(source, exclude)
    if not source.samples:
        if before:
            raise InputError(f"--exclude leaves out every image of '{root}'; give a narrower pattern")
        raise nothing_usable([source], source.findings)
    _check_options(source, read)
    coding = _survey(source, read)
    classes = coding.classes if coding else check_class_names(source.classes)
    if not classes:
        raise InputError(f"'{root}' names no defect class; name them with --classes")
    told = "" if alone else handle + "/"
    for findings in (source.findings, coding.findings if coding else []):
        findings[:] = [replace(finding, file=told + finding.file) for finding in findings]
    name = source.format if alone else handle
    opened = Opened(handle, name, told, source, coding, list(classes), excluded=before - len(source.samples))
    return opened, hit


def nothing_usable(sources: list[RawSource], findings: list[Finding]) -> InputError:
    """The error for folders of which no single image is usable."""
    where = ", ".join(f"'{source.root}'" for source in sources)
    layout = "; ".join(source.layout for source in sources)
    shown = "; ".join(f"{finding.file}: {finding.text}" for finding in findings[:3])
    more = f" (and {len(findings) - 3} more)" if len(findings) > 3 else ""
    return InputError(f"no image in {where} can be used ({layout}); {shown or 'none was found'}{more}")


def _exclude(source: RawSource, patterns: list[str]) -> set[str]:
    hit: set[str] = set()

    def meant(file: str) -> bool:
        found = [pattern for pattern in patterns if fnmatchcase(file, pattern)]
        hit.update(found)
        return bool(found)

    if patterns:
        source.samples = [sample for sample in source.samples if not meant(sample.id)]
        source.findings = [finding for finding in source.findings if not meant(finding.file)]
    return hit


def _check_options(source: RawSource, read: ReadOptions) -> None:
    """An option that would do nothing is refused."""
    if any(sample.mask for sample in source.samples):
        return
    for value, option in ((read.mask_values, "--mask-values"), (read.classes_from, "--classes-from")):
        if value:
            raise InputError(
                f"{option} is for pixel masks; '{source.root}' was read as {source.format} and has none"
                " (SOURCE:VALUE gives it to one source)"
            )


def _survey(source: RawSource, read: ReadOptions) -> MaskCoding | None:
    """The first pass: decide what stored values mean from all masks; None where there are no mask files."""
    paths = sorted({sample.mask for sample in source.samples if sample.mask})
    if not paths:
        return None
    reading = _reading(source)
    survey = _survey_values(source.root, paths, reading)
    if survey.index_files and reading == AUTO:
        # Some palettes are coloured, so none of them is a picture of greys: the indices count in all files.
        reading = INDEX
        survey = _survey_values(source.root, paths, reading)
    stated = {**(source.class_values or {}), **(read.mask_values or {})}
    one_class = any(sample.class_name is not None for sample in source.samples)
    names = list(read.classes) or list(source.classes)
    return decide_coding(survey, names, stated or None, one_class, reading)


def _reading(source: RawSource) -> str:
    """A format that names mask values names palette indices or, beyond 16 bits, colours `0xRRGGBB`."""
    if not source.class_values:
        return AUTO
    return COLOUR if max(source.class_values) > 65535 else INDEX


def _survey_values(root: Path, paths: list[Path], reading: str) -> MaskSurvey:
    survey = MaskSurvey()
    with closing(on_threads(lambda path: survey_file(root, path, reading), paths)) as results:
        for _, (name, values) in progress(results, len(paths), "masks", "mask"):
            if values is not None:
                survey.add(name, *values)
    return survey
