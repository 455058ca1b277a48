"""Doubts about a dataset as a whole: rare classes, unfit splits, mixed images, defects that resizing would lose."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from defectctl.dataset.statistics import LabelCount, Statistics
from defectctl.dataset.survey import MASKS, SHARE_UNIT, ImageFacts, LogHistogram, Survey
from defectctl.dataset.types import Sample, Split
from defectctl.formats.base import Finding

FEW_IMAGES = 10
"""A class in fewer images can neither be learnt nor measured."""
TINY_AREA = 3
"""A patch of so many pixels or fewer may be a slip of the mouse."""
USUAL_AREA = 30
"""From this usual size of its class on, such a patch is taken for a slip."""
SIZES_APART = 4
"""Times that the longest side of one image may be that of another."""
INPUT_SIDES = (224, 256, 512)
LEAST_SIDE = 4
"""Pixels that a defect's shorter side needs in the network's input."""
SMALLEST = 0.05
"""Share of a class's defects that may be smaller than the one called its smallest: single ones mean little."""

WHOLE_SET = "."
"""The file name of findings about the set as a whole."""
_FILES_SHOWN = 2


@dataclass(slots=True)
class _Sides:
    """Shorter sides of one class's defects: in pixels, and in `SHARE_UNIT` parts of the image's longer side."""

    pixels: LogHistogram = field(default_factory=LogHistogram)
    parts: LogHistogram = field(default_factory=LogHistogram)


class DefectSides:
    """Gathers what `set_findings` needs of every image beside the survey.

    Attributes:
        sides: class -> shorter sides of its defects; slips of the mouse left out.
        tiny: sample id -> class -> number of patches of at most `TINY_AREA` pixels, where there are any.
    """

    def __init__(self) -> None:
        self.sides: dict[int, _Sides] = defaultdict(_Sides)
        self.tiny: dict[str, dict[int, int]] = {}

    def add(self, sample_id: str, facts: ImageFacts) -> None:
        """Add one image."""
        labels = facts.patches[:, 0]
        tiny = facts.patches[:, 1] <= TINY_AREA
        if tiny.any():
            self.tiny[sample_id] = dict(Counter(labels[tiny].tolist()))
        rows = np.concatenate([facts.patches[~tiny], facts.boxes])
        shorter, longest = rows[:, 2:].min(axis=1), max(facts.width, facts.height)
        for label in np.unique(rows[:, 0]).tolist():
            own = shorter[rows[:, 0] == label]
            self.sides[label].pixels.add(own)
            self.sides[label].parts.add(np.rint(own * (SHARE_UNIT / longest)).astype(np.int64))


def set_findings(
    samples: Sequence[Sample],
    counts: Mapping[str, LabelCount],
    statistics: Statistics,
    splits: Sequence[Split],
    survey: Survey,
    sides: DefectSides,
) -> list[Finding]:
    """Everything doubtful about the set; findings about it as a whole have the file name ".".

    Args:
        samples: all of the dataset.
        counts: sample id -> its labels counted.
        statistics: of all samples.
        splits: all that will be written.
        survey, sides: of all images.
    """
    return [
        *_tiny_patches(survey, sides, statistics.class_names),
        *_few_examples(statistics),
        *_missing_classes(splits, counts, statistics),
        *_one_sided_tests(splits, samples, counts),
        *_sizes_apart(samples),
        *_small_defects(sides, statistics.class_names),
    ]


def set_notes(survey: Survey) -> list[str]:
    """Counts of images that are turned, and of the kinds that are mixed."""
    images: Counter[str] = Counter()
    for (bits, channels, palette, alpha, turned), count in survey.kinds.items():
        images["palette" if palette else "grey" if channels <= 2 else "colour"] += count
        images["more than 8 bits" if bits > 8 else "8 bits or fewer"] += count
        images["alpha"] += alpha * count
        images["turned"] += turned * count
    notes = []
    for names in (("grey", "colour", "palette"), ("8 bits or fewer", "more than 8 bits")):
        present = [name for name in names if images[name]]
        if len(present) > 1:
            counted = ", ".join(f"{images[name]} {name}" for name in present)
            notes.append(f"images of mixed kinds: {counted}; each becomes what a preset asks for")
    if images["turned"]:
        notes.append(f"images that their EXIF orientation turns or mirrors: {images['turned']}; they are read upright")
    if images["alpha"]:
        notes.append(f"images with transparency: {images['alpha']}; it is not looked at")
    return notes


def _tiny_patches(survey: Survey, sides: DefectSides, class_names: Sequence[str]) -> list[Finding]:
    """One finding an image; where all defects of a class are that small, its small patches are no slips."""
    slips = {
        label for (where, label), sizes in survey.sizes.items() if where == MASKS and _usual(sizes.areas) >= USUAL_AREA
    }
    findings = []
    for sample_id, counted in sorted(sides.tiny.items()):
        told = [f"{counted[label]} of '{class_names[label - 1]}'" for label in sorted(counted) if label in slips]
        if told:
            text = (
                f"its mask has patches of {TINY_AREA} pixels or fewer ({', '.join(told)}), likely slips of the mouse:"
                " kept; erase them if they mean nothing"
            )
            findings.append(Finding(sample_id, "tiny-patches", text))
    return findings


def _usual(areas: LogHistogram) -> float:
    """The area of the patch in which, smallest first, half of all pixels are reached; specks do not move it."""
    bars = areas.bars()
    left = sum(area * count for area, count in bars) / 2
    for area, count in bars:
        left -= area * count
        if left <= 0:
            return area
    return 0.0


def _few_examples(statistics: Statistics) -> list[Finding]:
    findings = []
    for label, name in enumerate(statistics.class_names, 1):
        images = int(statistics.images[label])
        if images < FEW_IMAGES:
            text = (
                f"images of the class '{name}': {images}, fewer than {FEW_IMAGES}: kept, but its scores will mean"
                f" little; add images of it, or join it to a like class with --map '{name}=OTHER'"
            )
            findings.append(Finding(WHOLE_SET, "few-examples", text))
    return findings


def _missing_classes(
    splits: Sequence[Split], counts: Mapping[str, LabelCount], statistics: Statistics
) -> list[Finding]:
    """One finding a split; a class that no image has is told elsewhere."""
    every = {label for label in range(1, len(statistics.class_names) + 1) if statistics.images[label]}
    findings = []
    for split in splits:
        told = []
        for part, ids in split.parts.items():
            missing = sorted(every.difference(*(counts[sample_id].classes for sample_id in ids)))
            if missing and len(missing) == len(every) > 1:
                told.append(f"any class in '{part}'")
            elif missing:
                told.append(f"{', '.join(repr(statistics.class_names[label - 1]) for label in missing)} in '{part}'")
        if told:
            text = (
                f"the split '{split.name}' has no image of {' and none of '.join(told)}: it is kept; add images, or"
                " take another split"
            )
            findings.append(Finding(WHOLE_SET, "class-missing", text))
    return findings


def _one_sided_tests(
    splits: Sequence[Split], samples: Sequence[Sample], counts: Mapping[str, LabelCount]
) -> list[Finding]:
    labelled = {sample.id for sample in samples if sample.label not in (None, "good")}
    without_good, without_defective = [], []
    for split in splits:
        ids = split.parts.get("test", [])
        good = sum(counts[sample_id].good for sample_id in ids)
        defective = sum(bool(counts[sample_id].classes) or sample_id in labelled for sample_id in ids)
        if defective and not good:
            without_good.append(split.name)
        if good and not defective:
            without_defective.append(split.name)
    findings = []
    if without_good:
        text = (
            f"the test part of {_quoted(without_good)} holds no good part, so that overkill (good parts called NG)"
            " cannot be measured; add images of good parts"
        )
        findings.append(Finding(WHOLE_SET, "no-good-parts", text))
    if without_defective:
        text = (
            f"the test part of {_quoted(without_defective)} holds no defective part, so that escapes cannot be"
            " measured; add images of defective parts or take another split"
        )
        findings.append(Finding(WHOLE_SET, "no-defective-parts", text))
    return findings


def _sizes_apart(samples: Sequence[Sample]) -> list[Finding]:
    if not samples:
        return []
    order = sorted(samples, key=lambda sample: (max(sample.width, sample.height), sample.id))
    low, high = order[0], order[-1]
    if max(high.width, high.height) < SIZES_APART * max(low.width, low.height):
        return []
    text = (
        f"images are of very different sizes, from {low.width}x{low.height} ('{low.id}') to {high.width}x{high.height}"
        f" ('{high.id}'), so that resizing shows defects at different scales; prepare them apart, or train with"
        " --set input.mode=tile"
    )
    return [Finding(WHOLE_SET, "sizes-differ", text)]


def _small_defects(sides: DefectSides, class_names: Sequence[str]) -> list[Finding]:
    """Resizing keeps the aspect ratio, so that the input's side over the image's longer one is the scale."""
    findings = []
    for label in sorted(sides.sides):
        own = sides.sides[label]
        pixels, part = own.pixels.quantile(SMALLEST), own.parts.quantile(SMALLEST) / SHARE_UNIT
        shrunk = {side: part * side for side in INPUT_SIDES}
        if not any(value < min(LEAST_SIDE, pixels) for value in shrunk.values()):
            continue
        told = ", ".join(f"{value:.1f} at {side}x{side}" for side, value in shrunk.items())
        text = (
            f"the smallest defects of '{class_names[label - 1]}' (5th percentile) are {pixels:.0f} pixels across;"
            f" resized to the network's input that is {told}, and below {LEAST_SIDE} they get lost; train with"
            " --set input.mode=tile"
        )
        findings.append(Finding(WHOLE_SET, "small-defects", text))
    return findings


def _quoted(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_FILES_SHOWN])
    more = len(names) - _FILES_SHOWN
    return shown + (f" and {more} more splits" if more > 0 else "")
