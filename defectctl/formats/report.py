"""What `prepare` tells beside the dataset: notes on decisions, contradictory labels, the table of findings."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from defectctl.dataset.folds import FoldPlan
from defectctl.dataset.leaks import copies_in_training, leaks
from defectctl.dataset.statistics import LabelCount, Statistics, equal_images
from defectctl.dataset.types import Sample, Split
from defectctl.formats.base import Finding
from defectctl.formats.hints import class_hint, inverted_hint
from defectctl.formats.opened import Opened


def source_notes(sources: Sequence[Opened]) -> list[str]:
    """What was decided about each source's mask values and classes, and which images were left out as asked."""
    notes = []
    for source in sources:
        coding = source.coding
        own = list(coding.notes) if coding else []
        own += [hint for hint in (class_hint(source.raw, coding),) if hint] if coding else []
        own += [f"images left out by --exclude: {source.excluded}"] if source.excluded else []
        renamed = [f"{old} is {new}" for old, new in source.names.items() if old != new]
        own += [f"classes renamed: {', '.join(renamed)}"] if renamed else []
        notes += [f"{source.told[:-1]}: {note}" if source.told else note for note in own]
    return notes


def label_notes(
    samples: list[Sample], statistics: Statistics, with_masks: bool, covered: int, covered_images: int
) -> list[str]:
    """Copies, overlapping objects, and masks that look inverted."""
    notes = []
    copies = sum(len(group) - 1 for group in equal_images(samples))
    if copies:
        notes.append(f"byte-for-byte copies of other images: {copies}; a random split keeps them together")
    if covered:
        notes.append(
            f"{covered} objects in {covered_images} images lie partly under smaller ones of another class; in the mask"
            " the smaller one is on top"
        )
    hint = inverted_hint(statistics.pixels) if with_masks else None
    return [*notes, hint] if hint else notes


def own_leak_note(split: Split, samples: Sequence[Sample]) -> list[str]:
    """A note where the folder's own split puts copies into different parts."""
    if not leaks(split, samples):
        return []
    counts = copies_in_training(split, samples)
    sizes = {part: len(ids) for part, ids in split.parts.items()}
    told = ", ".join(f"{count} of the {sizes[part]} {part} images" for part, count in counts.items() if count)
    held = f"{told} have a copy in training" if told else "val and test hold copies of each other"
    return [f"the folder's own split leaks: {held}, so that figures on it say little of parts never seen"]


def fold_leak_note(splits: Sequence[Split], samples: Sequence[Sample]) -> list[str]:
    """A note where stated folds put copies into different parts."""
    counts = {split.name: leaks(split, samples) for split in splits}
    told = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    return [f"the fold file leaks: images with a copy in another part: {told}"] if told else []


def fold_notes(plan: FoldPlan, splits: Sequence[Split], counts: dict[str, LabelCount]) -> list[str]:
    """How many images and defective ones each fold tests, and how many defective ones the limited splits train on."""
    told = []
    for name, ids in plan.tests.items():
        told.append(f"{name} tests {len(ids)} ({_defective(ids, counts)} defective)")
    notes = ["folds: " + ", ".join(told)]
    limited = [
        f"{split.name} {_defective(split.parts['train'], counts)}" for split in splits if split.name in plan.positives
    ]
    return [*notes, "defective training images: " + ", ".join(limited)] if limited else notes


def _defective(ids: Sequence[str], counts: dict[str, LabelCount]) -> int:
    return sum(bool(counts[sample_id].classes) for sample_id in ids)


def contradictory(samples: list[Sample]) -> list[Finding]:
    """Equal images with different labels."""
    findings = []
    for first, *others in equal_images(samples):
        for other in others:
            if (first.mask_sha256, first.objects, first.label) != (other.mask_sha256, other.objects, other.label):
                text = f"byte for byte the same image as '{first.id}', but labelled differently; both are kept"
                findings.append(Finding(other.id, "contradictory", text))
    return findings


def findings_csv(findings: list[Finding]) -> str:
    """The text of `findings.csv`."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["file", "problem", "left_out", "text"])
    rows.writerows([f.file, f.problem, "yes" if f.dropped else "no", f.text] for f in findings)
    return text.getvalue()
