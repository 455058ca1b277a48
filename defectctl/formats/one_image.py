"""One image and its annotations read, checked, translated and written: the inner work of `prepare`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from defectctl.dataset.statistics import LabelCount, count_labels
from defectctl.dataset.survey import ImageFacts, measure
from defectctl.dataset.types import Sample
from defectctl.dataset.writer import DatasetWriter
from defectctl.fileio import sha256_bytes
from defectctl.formats.base import Finding
from defectctl.formats.checks import boxes_without_mask, distrust, image_findings
from defectctl.formats.labels import Labels, LeftOut, read_file, translate, unite
from defectctl.formats.opened import View
from defectctl.imaging.masks import encode_mask
from defectctl.imaging.prints import ImagePrint, image_print
from defectctl.imaging.reader import ImageError, ImageInfo, inspect_pixels


@dataclass(frozen=True, slots=True)
class Job:
    """One sample to be written: its id, its group, and the raw samples it comes from; the first gives the image."""

    id: str
    views: tuple[View, ...]
    group: str | None = None


@dataclass(slots=True)
class Outcome:
    """What came of one job.

    Attributes:
        sample: as written, or None where it was left out (a finding says why).
        count: its labels counted.
        facts: its pixels and defects measured.
        print: by which near-duplicates of the image are found.
        brightest16: largest stored value of a file of more than 8 bits, else 0.
        covered: objects partly covered by smaller ones.
        joined: how many sources' labels met in it.
        beyond: whether boxes name a class for which the mask does not speak.
    """

    sample: Sample | None = None
    count: LabelCount | None = None
    facts: ImageFacts | None = None
    print: ImagePrint | None = None
    findings: list[Finding] = field(default_factory=list)
    brightest16: int = 0
    covered: int = 0
    joined: int = 1
    beyond: bool = False


class ImageWork:
    """Turns jobs into written samples; `__call__` may run on several threads at once.

    Args:
        link: record where the images are, instead of copying them.
        distrust: make boxes with hardly any mask in them unknown in the mask.
    """

    def __init__(self, class_names: list[str], writer: DatasetWriter, link: bool, distrust: bool = False) -> None:
        self.class_names = class_names
        self.writer = writer
        self.link = link
        self.distrust = distrust

    def __call__(self, job: Job) -> Outcome:
        """Read, check and write one sample; a file that cannot be used becomes a finding, not an error."""
        try:
            return self._work(job)
        except LeftOut as left_out:
            return Outcome(findings=[left_out.finding])

    def _work(self, job: Job) -> Outcome:
        outcome = Outcome()
        first = job.views[0]
        data, info, pixels = _open(first)
        outcome.brightest16 = info.maximum if info.bits > 8 else 0
        labels = translate(first, info, outcome.findings)
        for other in job.views[1:]:
            labels = _add_labels(labels, other, info, outcome)
        known, mask = labels.known, labels.mask
        sample = Sample(job.id, "", info.width, info.height, sha256_bytes(data), first.source.name)
        sample.label, sample.group, sample.objects = labels.label, job.group, labels.objects
        sample.known = known if known != first.source.known else None
        name = first.source.file(first.raw.id)
        outcome.findings += image_findings(name, data, mask, labels.objects, known.mask)
        if self.distrust and (doubted := boxes_without_mask(mask, labels.objects, known.mask)):
            empty = np.zeros((info.height, info.width), np.uint8)
            mask = distrust(empty if mask is None else mask, [thing.box for thing in doubted])
        outcome.count = count_labels(sample, known, mask, self.class_names)
        sample.present = tuple(int(i) + 1 for i in np.flatnonzero(outcome.count.pixels[1:-1]))
        sample.has_unknown = bool(outcome.count.pixels[-1])
        outcome.facts = measure(pixels, info, mask, labels.objects, known.mask)
        outcome.print = image_print(pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
        outcome.covered = labels.covered
        outcome.beyond = bool(known.mask) and any(thing.label not in known.mask for thing in labels.objects)
        encoded = encode_mask(mask, [info.colour for info in self.writer.classes]) if mask is not None else None
        link_to = first.raw.image if self.link and isinstance(first.raw.image, Path) else None
        outcome.sample = self.writer.add(sample, None if link_to else data, encoded, labels.instances, link_to)
        return outcome


def _open(view: View) -> tuple[bytes, ImageInfo, NDArray]:
    name = view.source.file(view.raw.id)
    data = read_file(view.raw.image, name)
    try:
        return data, *inspect_pixels(data, name)
    except ImageError as error:
        raise LeftOut(name, "unreadable", f"{error.reason}; the image is left out: export or copy it again") from error


def _add_labels(labels: Labels, other: View, info: ImageInfo, outcome: Outcome) -> Labels:
    """Join the labels of another source's copy of the image; what is wrong with that copy leaves only it out."""
    name = other.source.file(other.raw.id)
    try:
        own = _open(other)[1]
        if (own.width, own.height) != (info.width, info.height):
            text = f"it is {own.width}x{own.height}, the image it was joined with {info.width}x{info.height}"
            raise LeftOut(name, "size-differs", f"{text}; its labels are left out")
        united, problems = unite(labels, translate(other, info, outcome.findings))
    except LeftOut as left_out:
        outcome.findings.append(left_out.finding)
        return labels
    outcome.findings += [Finding(name, key, f"{text} is kept") for key, text in problems]
    outcome.joined += 1
    return united
