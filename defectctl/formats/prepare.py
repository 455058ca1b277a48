"""RAW folder to dataset: recognise, survey the masks, then read, check and write every image once."""

from __future__ import annotations

import csv
import io
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from defectctl.dataset.ids import safe_ids
from defectctl.dataset.splits import official_split, random_split
from defectctl.dataset.statistics import LabelCount, Statistics, equal_images, part_rows
from defectctl.dataset.types import ClassInfo, Dataset, Known, Sample, Source, Split
from defectctl.dataset.writer import DatasetWriter, check_target
from defectctl.errors import InputError
from defectctl.formats.base import UNREAD_ENDINGS, Finding, RawSample, RawSource, ReadOptions
from defectctl.formats.hints import inverted_hint, prefix_hint
from defectctl.formats.mask_values import (
    AUTO,
    COLOUR,
    INDEX,
    MaskCoding,
    MaskSurvey,
    check_class_names,
    decide_coding,
    survey_file,
)
from defectctl.formats.one_image import ImageWork, Outcome
from defectctl.imaging.palette import class_colours
from defectctl.imaging.pixel_rule import PixelRule
from defectctl.messages import progress

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class PrepareOptions:
    """What the user said beside the two paths.

    Attributes:
        format: reader to use, or None to recognise the layout.
        read: what the folder cannot tell.
        name: the dataset's name; None takes the output folder's.
        seed: of a random split, and of the validation part taken from training.
        link: leave the images where they are.
        replace: whether a dataset already in the output folder makes way.
    """

    format: str | None = None
    read: ReadOptions = field(default_factory=ReadOptions)
    name: str | None = None
    seed: int = 0
    link: bool = False
    replace: bool = False


@dataclass(slots=True)
class PrepareResult:
    """The dataset, and everything to be told about how it came about.

    Attributes:
        layout: what was recognised, one sentence.
        notes: decisions to know of, e.g. what mask value 255 was taken for.
        findings: files that were left out or are doubtful, sorted.
        classes: one row a class, see `Statistics.rows`.
        parts: one row a split part, see `part_rows`.
    """

    dataset: Dataset
    format: str
    layout: str
    notes: list[str]
    findings: list[Finding]
    classes: list[dict[str, Any]]
    split: Split
    parts: list[dict[str, Any]]


@dataclass(slots=True)
class _Gathered:
    """What the second pass brings together."""

    statistics: Statistics
    samples: list[Sample] = field(default_factory=list)
    counts: dict[str, LabelCount] = field(default_factory=dict)
    parts: dict[str, list[str]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    brightest16: int = 0
    covered: int = 0
    covered_images: int = 0

    def add(self, raw: RawSample, outcome: Outcome) -> None:
        self.findings += outcome.findings
        if outcome.sample is None or outcome.count is None:
            return
        self.samples.append(outcome.sample)
        self.counts[outcome.sample.id] = outcome.count
        self.statistics.add(outcome.count)
        if raw.part:
            self.parts.setdefault(raw.part, []).append(outcome.sample.id)
        self.brightest16 = max(self.brightest16, outcome.brightest16)
        self.covered += outcome.covered
        self.covered_images += outcome.covered > 0


def prepare(raw: Path, out: Path, options: PrepareOptions | None = None) -> PrepareResult:
    """Turn a raw folder into a dataset at `out`; on any error, or Ctrl-C, `out` is as it was before.

    Raises:
        InputError: a path, an option, the layout, a mask value or every single image is unusable.
    """
    options = options or PrepareOptions()
    _check_paths(raw, out, options.replace)
    source = _read_source(raw, options)
    _check_options(source, options.read)
    coding = _survey(source, options.read)
    names = coding.classes if coding else check_class_names(source.classes)
    if not names:
        raise InputError(f"'{raw}' names no defect class; name them with --classes")
    classes = [ClassInfo(name, colour) for name, colour in zip(names, class_colours(len(names)), strict=True)]
    everything = tuple(range(1, len(names) + 1))
    known = Known(
        everything if source.knows_masks else (),
        everything if source.knows_boxes else (),
        source.knows_masks or source.knows_boxes,
    )
    sources = {source.format: Source(source.format, source.format, known)}
    writer = DatasetWriter(out, options.name or out.resolve().name, classes, sources, options.replace)
    with writer:
        ids = safe_ids(sample.id for sample in source.samples)
        work = ImageWork(source, names, coding, known, ids, writer, options.link)
        gathered = _Gathered(Statistics(names))
        # Closed before the writer cleans up: no thread may still write after an interrupt.
        with closing(_on_threads(work, source.samples)) as results:
            for raw_sample, outcome in progress(results, len(source.samples), "prepare", "image"):
                gathered.add(raw_sample, outcome)
        return _finish(writer, source, coding, gathered, options)


def _check_paths(raw: Path, out: Path, replace_old: bool) -> None:
    if not raw.exists():
        raise InputError(f"the raw folder '{raw}' does not exist; check the path")
    inner, outer = out.resolve(), raw.resolve()
    if inner == outer or outer in inner.parents or inner in outer.parents:
        raise InputError(f"the raw folder '{raw}' and --out '{out}' lie one in the other; choose a separate --out")
    check_target(out, replace_old)


def _read_source(raw: Path, options: PrepareOptions) -> RawSource:
    from defectctl.formats.registry import list_folder, recognise

    listing = list_folder(raw)
    source = recognise(listing, options.format).read(listing, options.read)
    source.findings += [
        Finding(file.as_posix(), "unreadable", f"{file.suffix} files are not read; save it as PNG or TIFF", True)
        for file in listing.files
        if file.suffix.lower() in UNREAD_ENDINGS
    ]
    if not source.samples:
        raise _nothing_usable(source, source.findings)
    return source


def _check_options(source: RawSource, read: ReadOptions) -> None:
    """An option that would do nothing is refused."""
    if any(sample.mask for sample in source.samples):
        return
    for value, option in ((read.mask_values, "--mask-values"), (read.classes_from, "--classes-from")):
        if value:
            raise InputError(f"{option} is for pixel masks; '{source.root}' was read as {source.format} and has none")


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
    with closing(_on_threads(lambda path: survey_file(root, path, reading), paths)) as results:
        for _, (name, values) in progress(results, len(paths), "masks", "mask"):
            if values is not None:
                survey.add(name, *values)
    return survey


def _on_threads(work: Callable[[T], R], items: Iterable[T]) -> Generator[tuple[T, R], None, None]:
    """Yield `(item, work(item))` in order; decoding runs on threads, a few items ahead and no more."""
    workers = min(8, max(2, os.cpu_count() or 1))
    waiting: deque[tuple[T, Future[R]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prepare")
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > 4 * workers:
                done, future = waiting.popleft()
                yield done, future.result()
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _finish(
    writer: DatasetWriter, source: RawSource, coding: MaskCoding | None, gathered: _Gathered, options: PrepareOptions
) -> PrepareResult:
    findings = [*source.findings, *(coding.findings if coding else []), *gathered.findings]
    if not gathered.samples:
        raise _nothing_usable(source, findings)
    findings += _contradictory(gathered.samples)
    findings.sort(key=lambda finding: (finding.file, finding.problem, finding.text))
    notes = [*(coding.notes if coding else []), *_notes(source, coding, gathered)]
    if gathered.brightest16:
        white = (1 << gathered.brightest16.bit_length()) - 1
        name = source.format
        writer.sources[name] = replace(writer.sources[name], pixels=PixelRule(0, white))
        notes.append(f"more than 8 bits a pixel: the brightest value is {gathered.brightest16}, {white} is full scale")
    split = _split(gathered, options.seed, notes)
    if findings:
        writer.write_findings(_findings_csv(findings))
    statistics = gathered.statistics
    left_out = sum(finding.dropped for finding in findings)
    counts = {**statistics.to_dict(), "findings": len(findings), "left_out": left_out}
    dataset = writer.finish([split], split.name, counts)
    return PrepareResult(
        dataset,
        source.format,
        source.layout,
        notes,
        findings,
        statistics.rows(),
        split,
        part_rows(split, gathered.counts, statistics.class_names),
    )


def _split(gathered: _Gathered, seed: int, notes: list[str]) -> Split:
    strata = {sample_id: count.stratum() for sample_id, count in gathered.counts.items()}
    parts = gathered.parts
    if "train" not in parts or len(parts) < 2:
        return random_split(gathered.samples, strata, seed)
    rest = len(gathered.samples) - sum(len(ids) for ids in parts.values())
    if rest:
        notes.append(f"images that are in no part of the folder's own split and stay unused by it: {rest}")
    split = official_split(parts, gathered.samples, strata, seed)
    part_of = {sample_id: part for part, ids in split.parts.items() for sample_id in ids}
    torn = [group for group in equal_images(gathered.samples) if len({part_of.get(s.id) for s in group}) > 1]
    if torn:
        notes.append(f"the folder's own split leaks: images in more than one part, byte for byte: {len(torn)}")
    return split


def _notes(source: RawSource, coding: MaskCoding | None, gathered: _Gathered) -> list[str]:
    notes = []
    copies = sum(len(group) - 1 for group in equal_images(gathered.samples))
    if copies:
        notes.append(f"byte-for-byte copies of other images: {copies}; a random split keeps them together")
    if gathered.covered:
        notes.append(
            f"{gathered.covered} objects in {gathered.covered_images} images lie partly under smaller ones of another"
            " class; in the mask the smaller one is on top"
        )
    if coding is not None:
        statistics = gathered.statistics
        notes += [hint for hint in (inverted_hint(statistics.pixels), prefix_hint(source, coding)) if hint]
    return notes


def _contradictory(samples: list[Sample]) -> list[Finding]:
    """Equal images with different labels."""
    findings = []
    for first, *others in equal_images(samples):
        for other in others:
            if (first.mask_sha256, first.objects, first.label) != (other.mask_sha256, other.objects, other.label):
                text = f"byte for byte the same image as '{first.id}', but labelled differently; both are kept"
                findings.append(Finding(other.id, "contradictory", text))
    return findings


def _findings_csv(findings: list[Finding]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["file", "problem", "left_out", "text"])
    rows.writerows([f.file, f.problem, "yes" if f.dropped else "no", f.text] for f in findings)
    return text.getvalue()


def _nothing_usable(source: RawSource, findings: list[Finding]) -> InputError:
    shown = "; ".join(f"{finding.file}: {finding.text}" for finding in findings[:3])
    more = f" (and {len(findings) - 3} more)" if len(findings) > 3 else ""
    return InputError(f"no image in '{source.root}' can be used ({source.layout}); {shown or 'none was found'}{more}")
