"""RAW folders to a dataset: recognise, survey the masks, join, then read, check and write every image once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from defectctl.dataset.statistics import LabelCount, Statistics, part_rows
from defectctl.dataset.survey import Survey
from defectctl.dataset.types import ClassInfo, Dataset, Sample, Source, Split
from defectctl.dataset.writer import DatasetWriter, check_target
from defectctl.errors import InputError, nearest
from defectctl.formats.base import Finding
from defectctl.formats.checks_set import WHOLE_SET, DefectSides, set_findings, set_notes
from defectctl.formats.copies import mark_copies, mark_parts
from defectctl.formats.dataset_report import raw_finder, write_report
from defectctl.formats.fold_files import plan_folds
from defectctl.formats.join import WAYS, join_sources
from defectctl.formats.merge import make_jobs, parse_map, source_handles, split_source, unite_classes
from defectctl.formats.one_image import ImageWork, Job, Outcome
from defectctl.formats.opened import Opened, nothing_usable, open_source
from defectctl.formats.options import PrepareOptions, SourceOptions
from defectctl.formats.report import contradictory, findings_csv, label_notes, source_notes
from defectctl.formats.splitting import SplitWishes, make_splits
from defectctl.formats.threads import on_threads
from defectctl.formats.unchanged import signature
from defectctl.imaging.palette import class_colours
from defectctl.imaging.pixel_rule import PixelRule
from defectctl.imaging.prints import ImagePrint
from defectctl.messages import progress

MOST_ASIDE = 0.4
"""Largest share of the images that may be set aside for calibration."""


@dataclass(slots=True)
class PrepareResult:
    """The dataset, and everything to be told about how it came about.

    Attributes:
        format: the readers' names.
        layout: what was recognised, one sentence a source.
        notes: decisions to know of, e.g. what mask value 255 was taken for.
        findings: files that were left out or are doubtful, sorted.
        classes: one row a class, see `Statistics.rows`.
        split: the default split.
        parts: one row a part of it, see `part_rows`.
        others: the splits beside it.
        other_parts: name of such a split -> its rows.
        report: the page that shows all this.
        advice: findings about the set as a whole (no good parts, few examples): no file is at fault.
    """

    dataset: Dataset
    format: str
    layout: str
    notes: list[str]
    findings: list[Finding]
    classes: list[dict[str, Any]]
    split: Split
    parts: list[dict[str, Any]]
    others: list[Split]
    other_parts: dict[str, list[dict[str, Any]]]
    report: Path
    advice: list[Finding]


@dataclass(slots=True)
class _Gathered:
    """What the second pass brings together."""

    statistics: Statistics
    survey: Survey
    sides: DefectSides = field(default_factory=DefectSides)
    samples: list[Sample] = field(default_factory=list)
    prints: list[ImagePrint | None] = field(default_factory=list)
    counts: dict[str, LabelCount] = field(default_factory=dict)
    parts: dict[str, list[str]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    brightest16: dict[str, int] = field(default_factory=dict)
    covered: int = 0
    covered_images: int = 0
    joined: int = 0
    beyond: int = 0

    def add(self, job: Job, outcome: Outcome) -> None:
        self.findings += outcome.findings
        if outcome.sample is None or outcome.count is None or outcome.facts is None:
            return
        self.samples.append(outcome.sample)
        self.prints.append(outcome.print)
        self.sides.add(outcome.sample.id, outcome.facts)
        self.survey.add(outcome.sample.id, outcome.facts, outcome.count.classes, outcome.count.good)
        self.counts[outcome.sample.id] = outcome.count
        self.statistics.add(outcome.count)
        part = next((view.raw.part for view in job.views if view.raw.part), None)
        if part:
            self.parts.setdefault(part, []).append(outcome.sample.id)
        name = outcome.sample.source
        self.brightest16[name] = max(self.brightest16.get(name, 0), outcome.brightest16)
        self.covered += outcome.covered
        self.covered_images += outcome.covered > 0
        self.joined += outcome.joined > 1
        self.beyond += outcome.joined > 1 and outcome.beyond


def prepare(raw: Path | Sequence[Path], out: Path, options: PrepareOptions | None = None) -> PrepareResult:
    """Turn a raw folder, or several, into a dataset at `out`; on any error, or Ctrl-C, `out` is as it was before.

    Raises:
        InputError: a path, an option, the layout, a mask value or every single image is unusable.
    """
    options = options or PrepareOptions()
    roots = [raw] if isinstance(raw, Path) else list(raw)
    _check_paths(roots, out, options.replace)
    _check_splits(options)
    made_from = signature(roots, options)
    sources = _open_sources(roots, options)
    maps = [parse_map(text, [source.handle for source in sources]) for text in options.maps]
    names = unite_classes(sources, maps)
    joined = join_sources(sources, options.join)
    jobs, notes = make_jobs(joined.rows, options.group_by)
    notes = [*joined.notes, *notes]
    plan = None
    if options.folds is not None:
        plan, more = plan_folds(options.folds, [(job.id, job.group) for job in jobs])
        notes += more
    classes = [ClassInfo(name, colour) for name, colour in zip(names, class_colours(len(names)), strict=True)]
    entries = {source.name: Source(source.name, source.raw.format, source.known) for source in sources}
    writer = DatasetWriter(out, options.name or out.resolve().name, classes, entries, options.replace, made_from)
    with writer:
        gathered = _Gathered(Statistics(names), Survey(len(names)), findings=joined.findings)
        # Closed before the writer cleans up: no thread may still write after an interrupt.
        with closing(on_threads(ImageWork(names, writer, options.link, options.distrust), jobs)) as results:
            for job, outcome in progress(results, len(jobs), "prepare", "image"):
                gathered.add(job, outcome)
        wishes = SplitWishes(options.seed, plan, options.resplit, options.kfold, options.calibration)
        return _finish(writer, sources, gathered, wishes, options.parts, notes)


def _check_paths(roots: list[Path], out: Path, replace_old: bool) -> None:
    if not roots:
        raise InputError("no raw folder is given")
    seen: dict[Path, Path] = {}
    for raw in roots:
        if not raw.exists():
            raise InputError(f"the raw folder '{raw}' does not exist; check the path")
        inner, outer = out.resolve(), raw.resolve()
        if inner == outer or outer in inner.parents or inner in outer.parents:
            raise InputError(f"the raw folder '{raw}' and --out '{out}' lie one in the other; choose a separate --out")
        for other in seen:
            if other == outer or other in outer.parents or outer in other.parents:
                raise InputError(f"the raw folders '{seen[other]}' and '{raw}' lie one in the other; name each once")
        seen[outer] = raw
    check_target(out, replace_old)


def _check_splits(options: PrepareOptions) -> None:
    if options.folds is not None and options.kfold is not None:
        raise InputError("give --folds for the folds of a file or --kfold for folds of our own, not both")
    if options.kfold is not None and options.kfold < 2:
        raise InputError(f"--kfold must be 2 or more, not {options.kfold}")
    if not 0 <= options.calibration <= MOST_ASIDE:
        raise InputError(f"--calibration must be from 0 to {MOST_ASIDE}, not {options.calibration}")


def _open_sources(roots: list[Path], options: PrepareOptions) -> list[Opened]:
    handles = source_handles(roots)
    alone = len(roots) == 1
    if options.join not in (None, *WAYS):
        raise InputError(f"--join takes {' or '.join(WAYS)}, not '{options.join}'")
    if options.join and alone:
        raise InputError("--join needs two raw folders or more; there is one")
    for handle in options.of_source:
        if handle not in handles:
            raise InputError(
                f"no source is called '{handle}'{nearest(handle, handles)} (sources: {', '.join(handles)})"
            )
    patterns = {text: split_source(text, handles) for text in options.exclude}
    hit: set[str] = set()
    sources = []
    for root, handle in zip(roots, handles, strict=True):
        own = options.of_source.get(handle, SourceOptions(options.format, options.read))
        meant = {glob: text for text, (of, glob) in patterns.items() if of in (None, handle)}
        source, found = open_source(root, handle, own.format, own.read, list(meant), alone)
        hit |= {meant[glob] for glob in found}
        sources.append(source)
    for text in options.exclude:
        if text not in hit:
            example = sources[0].raw.samples[0].id
            raise InputError(f"--exclude '{text}' matches no image; ids look like '{example}'")
    return sources


def _finish(
    writer: DatasetWriter,
    sources: list[Opened],
    gathered: _Gathered,
    wishes: SplitWishes,
    parts: bool,
    notes: list[str],
) -> PrepareResult:
    """Look at the images together, make the splits, commit the dataset, and write the report beside it."""
    codings = [source.coding for source in sources if source.coding]
    findings = [finding for source in sources for finding in source.raw.findings]
    findings += [finding for coding in codings for finding in coding.findings] + gathered.findings
    if not gathered.samples:
        raise nothing_usable([source.raw for source in sources], findings)
    statistics = gathered.statistics
    notes = [*source_notes(sources), *notes, *_joined_notes(gathered)]
    notes += label_notes(gathered.samples, statistics, bool(codings), gathered.covered, gathered.covered_images)
    for name, brightest in gathered.brightest16.items():
        if brightest:
            notes.append(_set_white(writer, name, brightest))
    notes += mark_copies(writer.image_path, gathered.samples, gathered.prints)
    if parts:
        notes += mark_parts(writer.image_path, gathered.samples)
    findings += contradictory(gathered.samples)
    splits = make_splits(gathered.samples, gathered.counts, gathered.parts, wishes)
    notes += [*splits.notes, *set_notes(gathered.survey)]
    doubts = set_findings(gathered.samples, gathered.counts, statistics, splits.all, gathered.survey, gathered.sides)
    advice = [finding for finding in doubts if finding.file == WHOLE_SET]
    findings += [finding for finding in doubts if finding.file != WHOLE_SET]
    findings.sort(key=lambda finding: (finding.file, finding.problem, finding.text))
    if findings or advice:
        writer.write_findings(findings_csv([*advice, *findings]))
    left_out = sum(finding.dropped for finding in findings)
    counts = {**statistics.to_dict(), "findings": len(findings), "left_out": left_out}
    dataset = writer.finish(splits.all, splits.default.name, counts)
    layout = "; ".join(
        f"{source.told[:-1]}: {source.raw.layout}" if source.told else source.raw.layout for source in sources
    )
    rows = {one.name: part_rows(one, gathered.counts, statistics.class_names) for one in splits.all}
    return PrepareResult(
        dataset,
        " + ".join(source.raw.format for source in sources),
        layout,
        notes,
        findings,
        statistics.rows(),
        splits.default,
        rows.pop(splits.default.name),
        splits.others,
        rows,
        write_report(dataset, splits.all, gathered.survey, [*advice, *findings], notes, layout, raw_finder(sources)),
        advice,
    )


def _set_white(writer: DatasetWriter, name: str, brightest: int) -> str:
    white = (1 << brightest.bit_length()) - 1
    writer.sources[name] = replace(writer.sources[name], pixels=PixelRule(0, white))
    of = f" in '{name}'" if len(writer.sources) > 1 else ""
    return f"more than 8 bits a pixel: the brightest value{of} is {brightest}, {white} is full scale"


def _joined_notes(gathered: _Gathered) -> list[str]:
    if not gathered.joined:
        return []
    return [
        f"samples with the labels of several sources: {gathered.joined}; in {gathered.beyond} of them boxes name a"
        " class of which the mask knows nothing"
    ]
