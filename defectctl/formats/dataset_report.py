"""Gathers what the report of a prepared dataset tells, opening only its few example pictures, and writes it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from defectctl import fileio
from defectctl.dataset.leaks import leaks
from defectctl.dataset.survey import EXAMPLES, GOOD, Survey
from defectctl.dataset.truth import recorded_classes, recorded_state
from defectctl.dataset.types import Dataset, Sample, Split
from defectctl.dataset.writer import REPORT
from defectctl.formats.base import IMAGE_ENDINGS, UNREAD_ENDINGS, Finding
from defectctl.imaging.headers import ImageError
from defectctl.imaging.masks import decode_index
from defectctl.imaging.reader import decode_stored, read_image
from defectctl.reports.dataset_page import dataset_page
from defectctl.reports.page_data import (
    MOST_LINES,
    ClassRow,
    Examples,
    FindingGroup,
    FindingLine,
    PageData,
    PartLevels,
    PartRow,
    SplitTable,
)
from defectctl.reports.thumbnails import brightened, stand_in, thumbnail

if TYPE_CHECKING:
    from defectctl.formats.opened import Opened

MOST_PICTURES = 12
"""Findings of one problem that are shown with a picture."""

_MOST_EXAMPLES = 120
"""Example pictures in all, as far as one a class allows."""

Find = Callable[[str], "Path | None"]
"""Finding's file name -> the raw file, or None."""


def write_report(
    dataset: Dataset,
    splits: Sequence[Split],
    survey: Survey,
    findings: Sequence[Finding],
    notes: Sequence[str],
    layout: str,
    find: Find,
) -> Path:
    """Write `report.html` beside the dataset; see `report_html`."""
    path = dataset.root / REPORT
    fileio.write_text(path, report_html(dataset, splits, survey, findings, notes, layout, find))
    return path


def report_html(
    dataset: Dataset,
    splits: Sequence[Split],
    survey: Survey,
    findings: Sequence[Finding],
    notes: Sequence[str],
    layout: str,
    find: Find,
) -> str:
    """The report's text, the same for the same dataset and findings.

    Args:
        dataset: finished; its files can be opened.
        splits: the default split first.
        survey: of all its images.
        findings, notes, layout: as in `PrepareResult`.
        find: the raw file of a finding that is about no sample.
    """
    states = {sample.id: recorded_state(dataset, sample) for sample in dataset.samples}
    count = Counter(states.values())
    good, defective = count[0], count[1]
    sizes = Counter((sample.width, sample.height) for sample in dataset.samples)
    data = PageData(
        name=dataset.name,
        fingerprint=dataset.fingerprint,
        images=len(dataset.samples),
        good=good,
        defective=defective,
        unknown=len(dataset.samples) - good - defective,
        layout=layout,
        notes=list(notes),
        classes=_class_rows(dataset),
        survey=survey,
        splits=_split_tables(dataset, splits, states),
        levels=_levels(dataset, splits[0], survey),
        sizes=[(*size, images) for size, images in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))],
        examples=_examples(dataset, survey),
        findings=_groups(dataset, findings, find),
    )
    return dataset_page(data)


def raw_finder(sources: Sequence[Opened]) -> Find:
    """Finds the raw file that a finding names."""

    def find(file: str) -> Path | None:
        for source in sources:
            path = source.raw.root / file.removeprefix(source.told)
            if file.startswith(source.told) and path.is_file():
                return path
        return None

    return find


def _class_rows(dataset: Dataset) -> list[ClassRow]:
    counts = dataset.counts["classes"]
    known = dataset.counts["background_pixels"] + sum(one["pixels"] for one in counts.values())
    masked = {label for sample in dataset.samples for label in dataset.known(sample).mask}
    rows = []
    for label, info in enumerate(dataset.classes, 1):
        one = counts[info.name]
        # A class that has objects and not one pixel is only known by boxes; masks say at most where it is absent.
        spoken_of = label in masked and (one["pixels"] or not one["objects"])
        share = one["pixels"] / known if known and spoken_of else None
        rows.append(ClassRow(info.name, info.colour, one["images"], one["pixels"], share, one["objects"]))
    return rows


def _split_tables(dataset: Dataset, splits: Sequence[Split], states: dict[str, int | None]) -> list[SplitTable]:
    present = {sample.id: recorded_classes(dataset, sample) or () for sample in dataset.samples}
    tables = []
    for split in splits:
        parts = []
        for part, ids in split.parts.items():
            count = Counter(states[i] for i in ids)
            found = Counter(label for i in ids for label in present[i])
            classes = [found[label] for label in range(1, len(dataset.classes) + 1)]
            unknown = len(ids) - count[0] - count[1]
            parts.append(PartRow(part, len(ids), count[0], count[1], unknown, classes))
        unused = len(dataset.samples) - sum(part.images for part in parts)
        tables.append(SplitTable(split.name, split.maker, parts, leaks(split, dataset.samples), unused))
    return tables


def _levels(dataset: Dataset, split: Split, survey: Survey) -> list[PartLevels]:
    rules = {sample.id: dataset.pixel_rule(sample) for sample in dataset.samples}
    result = []
    for part, ids in split.parts.items():
        levels = survey.levels(ids, rules)
        if len(levels):
            five = np.quantile(levels, (0, 0.25, 0.5, 0.75, 1), axis=0)
            result.append(PartLevels(part, len(levels), tuple(five[:, 0].tolist()), tuple(five[:, 1].tolist())))
    return result


def _examples(dataset: Dataset, survey: Survey) -> list[Examples]:
    samples = {sample.id: sample for sample in dataset.samples}
    each = max(1, min(EXAMPLES, _MOST_EXAMPLES // max(1, len(dataset.classes))))
    titles = [(label, info.name, info.colour) for label, info in enumerate(dataset.classes, 1)]
    groups = []
    for label, title, colour in (*titles, (GOOD, "good parts", None)):
        chosen = [samples[i] for i in survey.examples(label)[:each] if i in samples]
        if chosen:
            pictures = [(sample.id, _draw(dataset, sample, {label})) for sample in chosen]
            groups.append(Examples(title, colour, pictures))
    return groups


def _draw(dataset: Dataset, sample: Sample, labels: set[int] | None = None) -> bytes:
    """A sample's picture with the outlines of `labels` (None: all); boxes of the classes that no outline shows."""
    try:
        pixels = read_image(dataset.image_path(sample), rule=dataset.pixel_rule(sample))
        mask = _mask(dataset, sample)
    except (ImageError, OSError):
        return stand_in("unreadable")
    if mask is not None and labels is not None:
        mask[~np.isin(mask, list(labels))] = 0
    outlined = set(np.unique(mask).tolist()) if mask is not None else set()
    boxes = [
        (thing.label, thing.box)
        for thing in sample.objects
        if thing.label not in outlined and (labels is None or thing.label in labels)
    ]
    return thumbnail(pixels, mask, boxes, [info.colour for info in dataset.classes])


def _mask(dataset: Dataset, sample: Sample) -> NDArray[np.uint8] | None:
    path = dataset.mask_path(sample)
    return None if path is None else decode_index(path.read_bytes(), str(path)).copy()


def _groups(dataset: Dataset, findings: Sequence[Finding], find: Find) -> list[FindingGroup]:
    """Findings by problem: first what was left out, then leaks, then the rest; the longer ones first."""
    samples = {sample.id: sample for sample in dataset.samples}
    by_problem: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_problem[finding.problem].append(finding)
    groups = []
    for problem, members in by_problem.items():
        members.sort(key=lambda finding: not finding.dropped)
        lines = []
        for finding in members[:MOST_LINES]:
            pictured = sum(line.picture is not None for line in lines) < MOST_PICTURES
            picture = _finding_picture(dataset, samples.get(finding.file), finding.file, find) if pictured else None
            lines.append(FindingLine(finding.file, finding.text, finding.dropped, picture))
        groups.append(FindingGroup(problem, len(members), sum(finding.dropped for finding in members), lines))
    return sorted(groups, key=lambda group: (not group.dropped, "leak" not in group.problem, -group.count))


def _finding_picture(dataset: Dataset, sample: Sample | None, file: str, find: Find) -> bytes | None:
    """The sample, or the raw file, that a finding is about; None where it is no picture."""
    if sample is not None:
        return _draw(dataset, sample)
    if not file.lower().endswith((*IMAGE_ENDINGS, *UNREAD_ENDINGS)):
        return None
    path = find(file)
    if path is None:
        return stand_in("not found")
    try:
        return thumbnail(brightened(decode_stored(path.read_bytes(), file)))
    except (ImageError, OSError):
        return stand_in("unreadable")
