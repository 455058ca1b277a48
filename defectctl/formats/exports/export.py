"""A prepared dataset written as other tools read it: COCO, Pascal VOC, YOLO, or images and masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from defectctl.dataset.ids import safe_id
from defectctl.dataset.store import load_dataset, load_split
from defectctl.dataset.types import Dataset, Sample, Split
from defectctl.errors import InputError, nearest
from defectctl.fileio import sha256_bytes
from defectctl.formats.base import Finding
from defectctl.formats.exports.base import (
    UNUSED,
    Form,
    Picture,
    Plan,
    Tally,
    Written,
    ambiguous,
    file_names,
    line_names,
    names_csv,
)
from defectctl.formats.exports.coco import CocoForm
from defectctl.formats.exports.folder import check_out, export_folder
from defectctl.formats.exports.masks import MasksForm
from defectctl.formats.exports.truth import read_truth, speaks
from defectctl.formats.exports.voc import VocForm
from defectctl.formats.exports.yolo import SHUNNED, YoloForm
from defectctl.formats.threads import on_threads
from defectctl.imaging.headers import read_header
from defectctl.messages import progress
from defectctl.version import __version__

FORMS: dict[str, type[Form]] = {"coco": CocoForm, "voc": VocForm, "yolo": YoloForm, "masks": MasksForm}
"""Every target form by the name that `--to` takes."""


@dataclass(slots=True)
class ExportResult:
    """What was written, and everything to be told about it.

    Attributes:
        out: the folder.
        form: name of the form.
        split: name of the split by whose parts the images lie.
        images: part -> images written.
        objects: class name -> objects written, all parts together.
        notes: what the form cannot hold, with counts, and decisions to know of.
        findings: samples that were left out, sorted by id.
    """

    out: Path
    form: str
    split: str
    images: dict[str, int] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


@dataclass(slots=True)
class _Seen:
    """What is gathered over all pictures for the notes."""

    tally: Tally = field(default_factory=Tally)
    objects: Counter[int] = field(default_factory=Counter)
    unjudged: Counter[int] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    turned: int = 0
    deep: int = 0


def export(
    dataset_root: Path, out: Path, form: str, split: str | None = None, replace: bool = False, segment: bool = False
) -> ExportResult:
    """Write a dataset at `out` in another form; on any error, or Ctrl-C, `out` is as it was before.

    Args:
        form: a name in `FORMS`.
        split: the split whose parts become folders or lists; None takes the dataset's default. Samples in no part of
            it go to a part `unused`.
        replace: whether an earlier export in `out` makes way.
        segment: YOLO only: outlines instead of boxes.

    Raises:
        InputError: a path, an option or the dataset is unusable, or no sample can be written.
    """
    if form not in FORMS:
        raise InputError(f"--to takes {', '.join(FORMS)}, not '{form}'{nearest(form, list(FORMS))}")
    if segment and form != "yolo":
        raise InputError(f"--segment is for --to yolo; {form} holds what it can of the pixels anyway")
    dataset = load_dataset(dataset_root)
    parted = load_split(dataset, split)
    check_out(out, dataset_root, replace)
    result = ExportResult(out, form, parted.name)
    parts = _parts(dataset, parted, result)
    _leave_out_unlabelled(dataset, parts, FORMS[form].HOLDS_UNKNOWN, result)
    manifest = {
        "tool": f"defectctl {__version__}",
        "form": form,
        "segment": segment,
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "split": parted.name,
        "split_fingerprint": parted.fingerprint,
    }
    with export_folder(out, manifest) as folder:
        plan = _plan(dataset, folder, parts, form, segment, result)
        _write(plan, FORMS[form](plan), result)
        manifest["parts"], manifest["notes"] = result.images, result.notes
    return result


def _parts(dataset: Dataset, split: Split, result: ExportResult) -> dict[str, list[Sample]]:
    by_id = {sample.id: sample for sample in dataset.samples}
    parts = {
        safe_id(part).replace("/", "_"): [by_id.pop(i) for i in ids if i in by_id] for part, ids in split.parts.items()
    }
    if by_id:
        parts.setdefault(UNUSED, []).extend(by_id.values())
        result.notes.append(
            f"{len(by_id):,} samples are in no part of the split '{split.name}'; they are in the part '{UNUSED}'"
        )
    return {part: samples for part, samples in parts.items() if samples}


def _leave_out_unlabelled(
    dataset: Dataset, parts: dict[str, list[Sample]], holds_unknown: bool, result: ExportResult
) -> None:
    if holds_unknown:
        return
    text = "neither mask nor boxes are known, and without any it would read as good: left out"
    for samples in parts.values():
        silent = [sample for sample in samples if not speaks(dataset, sample)]
        result.findings += [Finding(sample.id, "unlabelled", text, True) for sample in silent]
        samples[:] = [sample for sample in samples if speaks(dataset, sample)]


def _plan(
    dataset: Dataset, folder: Path, parts: dict[str, list[Sample]], form: str, segment: bool, result: ExportResult
) -> Plan:
    ids = [sample.id for samples in parts.values() for sample in samples]
    # Below `unused` a folder called `test` would read as an official part.
    flat = set(ids if form == "voc" else [sample.id for sample in parts.get(UNUSED, ())])
    if form == "coco":
        flat |= ambiguous(ids)
    names = file_names(ids, flat, form != "coco", SHUNNED if form == "yolo" else ())
    own = dataset.class_names
    class_names = line_names(own) if form in ("voc", "masks") else own
    renamed = [f"'{new}' for '{old}'" for old, new in zip(own, class_names, strict=True) if old != new]
    if renamed:
        result.notes.append(f"class names that a label map cannot hold were changed: {', '.join(renamed)}")
    return Plan(dataset, folder, parts, names, class_names, segment)


def _write(plan: Plan, form: Form, result: ExportResult) -> None:
    work, seen = _Work(plan, form), _Seen()
    jobs = [(part, sample) for part, samples in plan.parts.items() for sample in samples]
    by_part: dict[str, list[tuple[Sample, Written]]] = {}
    # Closed before the folder is cleaned up: no thread may still write after an interrupt.
    with closing(on_threads(work, jobs)) as outcomes:
        for (part, sample), written in progress(outcomes, len(jobs), "export", "image"):
            if isinstance(written, Finding):
                result.findings.append(written)
                continue
            by_part.setdefault(part, []).append((sample, written))
            _see(plan.dataset, sample, written, seen)
    if not by_part:
        first = f" ({result.findings[0].file}: {result.findings[0].text})" if result.findings else ""
        raise InputError(f"no sample of '{plan.dataset.root}' can be written as {result.form}{first}")
    for part, written in by_part.items():
        form.finish_part(part, written)
        result.images[part] = len(written)
    result.objects = {name: seen.objects[i] for i, name in enumerate(plan.dataset.class_names, 1)}
    renamed = sum(name != own for own, name in plan.names.items())
    if renamed:
        plan.write("names.csv", names_csv(plan).encode("utf-8"))
        result.notes.append(f"{renamed:,} images have another name here than their id; names.csv tells which is which")
    result.notes += [*seen.tally.notes(form.LOSSES), *_general_notes(plan, form, seen), *form.finish()]
    result.findings.sort(key=lambda finding: (finding.file, finding.problem))


class _Work:
    """Reads, checks and writes one sample; `__call__` may run on several threads at once."""

    def __init__(self, plan: Plan, form: Form) -> None:
        self.plan = plan
        self.form = form

    def __call__(self, job: tuple[str, Sample]) -> Written | Finding:
        part, sample = job
        try:
            data = self.plan.dataset.image_path(sample).read_bytes()
        except OSError as error:
            text = f"its image '{sample.image}' cannot be read ({error.strerror or error}): left out"
            return Finding(sample.id, "unreadable", text, True)
        if sha256_bytes(data) != sample.sha256:
            text = f"its image '{sample.image}' is not the file that was prepared: left out; prepare the dataset again"
            return Finding(sample.id, "changed", text, True)
        try:
            truth = read_truth(self.plan.dataset, sample)
        except InputError as error:
            return Finding(sample.id, "damaged", f"{error}: left out; prepare the dataset again", True)
        header = read_header(data)
        written = self.form.picture(Picture(sample, part, self.plan.names[sample.id], data, header, truth))
        written.turned, written.deep = header.orientation != 1, header.bits > 8
        return written


def _see(dataset: Dataset, sample: Sample, written: Written, seen: _Seen) -> None:
    seen.tally.merge(written.lost)
    seen.objects.update(written.objects)
    seen.endings[PurePosixPath(sample.id).suffix.lower()] += 1
    seen.turned += written.turned
    seen.deep += written.deep
    if sample.label != "good":
        known = dataset.known(sample)
        seen.unjudged.update(set(range(1, len(dataset.classes) + 1)) - {*known.mask, *known.boxes})


def _general_notes(plan: Plan, form: Form, seen: _Seen) -> Iterable[str]:
    """What no form holds, or what the form's tools may stumble over."""
    own = enumerate(plan.dataset.class_names, 1)
    unjudged = [f"{name} in {seen.unjudged[i]:,} images" for i, name in own if seen.unjudged[i]]
    if unjudged:
        yield f"not judged, and here no different from absent: {', '.join(unjudged)}"
    odd = {ending: count for ending, count in sorted(seen.endings.items()) if ending not in form.ENDINGS}
    if odd:
        told = ", ".join(f"{count:,} {ending or 'without ending'}" for ending, count in odd.items())
        yield f"images that not every tool of this form reads, copied as they are: {told}"
    if seen.turned:
        yield f"{seen.turned:,} images carry an EXIF turn; labels are for the upright one, which not every tool shows"
    if seen.deep:
        yield f"{seen.deep:,} images have more than 8 bits; the dataset's rule for their grey levels is not handed on"
