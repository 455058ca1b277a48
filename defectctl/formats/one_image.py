"""One raw image and its annotation read, checked, translated and written: the inner work of `prepare`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectctl.dataset.statistics import LabelCount, count_labels
from defectctl.dataset.types import Known, Sample
from defectctl.dataset.writer import DatasetWriter
from defectctl.fileio import sha256_bytes
from defectctl.formats.base import Finding, RawSample, RawSource
from defectctl.formats.mask_values import MaskCoding
from defectctl.formats.shapes import paint
from defectctl.imaging.masks import encode_mask
from defectctl.imaging.reader import ImageError, ImageInfo, inspect_image

GOOD = "good"


@dataclass(slots=True)
class Outcome:
    """What came of one raw sample.

    Attributes:
        sample: as written, or None where it was left out (a finding says why).
        count: its labels counted.
        brightest16: largest stored value of a file of more than 8 bits, else 0.
        covered: objects partly covered by smaller ones.
    """

    sample: Sample | None = None
    count: LabelCount | None = None
    findings: list[Finding] = field(default_factory=list)
    brightest16: int = 0
    covered: int = 0


class _LeftOut(Exception):
    """This sample cannot be used; carries the finding."""

    def __init__(self, file: str, problem: str, text: str) -> None:
        super().__init__(text)
        self.finding = Finding(file, problem, text, dropped=True)


class ImageWork:
    """Turns raw samples into written ones; `__call__` may run on several threads at once.

    Args:
        source: what the reader understood.
        coding: meaning of stored mask values, or None where the source has no mask files.
        known: what the source's labels speak of by default.
        ids: raw id -> safe id.
        link: record where the images are, instead of copying them.
    """

    def __init__(
        self,
        source: RawSource,
        class_names: list[str],
        coding: MaskCoding | None,
        known: Known,
        ids: dict[str, str],
        writer: DatasetWriter,
        link: bool,
    ) -> None:
        self.source = source
        self.class_names = class_names
        self.labels = {name: index for index, name in enumerate(class_names, 1)}
        self.coding = coding
        self.known = known
        self.ids = ids
        self.writer = writer
        self.link = link

    def __call__(self, raw: RawSample) -> Outcome:
        """Read, check and write one sample; a file that cannot be used becomes a finding, not an error."""
        try:
            return self._work(raw)
        except _LeftOut as left_out:
            return Outcome(findings=[left_out.finding])

    def _work(self, raw: RawSample) -> Outcome:
        outcome = Outcome()
        data = _read(raw.image, raw.id)
        try:
            info = inspect_image(data, raw.id)
        except ImageError as error:
            raise _LeftOut(raw.id, "unreadable", error.reason) from error
        _check_stated_size(raw, info)
        outcome.brightest16 = info.maximum if info.bits > 8 else 0
        sample = Sample(
            self.ids[raw.id], "", info.width, info.height, sha256_bytes(data), self.source.format, label=raw.label
        )
        mask, instances = None, None
        known = self._known(raw)
        if raw.mask is not None:
            mask = self._read_mask(raw, info, outcome)
        elif raw.shapes is not None:
            painted = paint(raw.shapes, self.labels, info.height, info.width, with_mask=self.source.knows_masks)
            outcome.findings += [Finding(raw.id, key, text, dropped) for key, text, dropped in painted.problems]
            outcome.covered = painted.covered
            mask, sample.objects, instances = painted.mask, painted.objects, painted.instances
            if painted.box_only:
                known = Known(tuple(i for i in known.mask if i not in painted.box_only), known.boxes, known.image)
        if mask is None or not mask.any():
            mask = None
        sample.known = known if known != self.known else None
        outcome.count = count_labels(sample, known, mask, self.class_names)
        encoded = encode_mask(mask, [info.colour for info in self.writer.classes]) if mask is not None else None
        link_to = raw.image if self.link else None
        outcome.sample = self.writer.add(sample, None if self.link else data, encoded, instances, link_to)
        return outcome

    def _known(self, raw: RawSample) -> Known:
        """What this sample's annotation speaks of, before its shapes are looked at."""
        if raw.mask is None and raw.shapes is None:
            if raw.label is None:
                return Known()
            if raw.label == GOOD:  # no defect of any kind: every mask and box is known to be empty
                return Known(self.known.mask, self.known.boxes, True)
            return Known(image=True)
        if self.coding is not None and self.coding.one_class and raw.class_name is not None and raw.label != GOOD:
            return Known((self.labels[raw.class_name],), self.known.boxes, self.known.image)
        return self.known

    def _read_mask(self, raw: RawSample, info: ImageInfo, outcome: Outcome) -> NDArray[np.uint8]:
        assert raw.mask is not None and self.coding is not None
        name = raw.mask.relative_to(self.source.root).as_posix()
        data = _read(raw.mask, name)
        label = self.labels[raw.class_name] if self.coding.one_class and raw.class_name is not None else 1
        try:
            mask = self.coding.apply(data, name, label)
        except ImageError as error:
            raise _LeftOut(name, "unreadable", f"{error.reason}; its image is left out too") from error
        height, width = mask.shape
        if (width, height) != (info.width, info.height):
            turned = " after its EXIF turn" if info.turned else ""
            text = f"the mask is {width}x{height}, its image is {info.width}x{info.height}{turned}; both are left out"
            raise _LeftOut(name, "size-differs", text)
        if raw.label == GOOD and mask.any():
            text = "the folder says good, but the mask holds a defect; the mask is believed"
            outcome.findings.append(Finding(name, "contradictory", text))
        return mask


def _check_stated_size(raw: RawSample, info: ImageInfo) -> None:
    if raw.stated_size is None or raw.stated_size == (info.width, info.height):
        return
    width, height = raw.stated_size
    turned = " after its EXIF turn" if info.turned else ""
    text = f"the annotation says {width}x{height}, the image is {info.width}x{info.height}{turned}; it is left out"
    raise _LeftOut(raw.id, "size-differs", text)


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _LeftOut(name, "unreadable", error.strerror or str(error)) from error
