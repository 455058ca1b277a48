"""Writes Pascal VOC: an XML of boxes an image, palette masks with 255 as void, and lists of names by part."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from defectctl.dataset.types import Box, Sample
from defectctl.formats.exports.base import PATCHES, Picture, Plan, Written, label_map
from defectctl.formats.exports.masks import MASK_LOSSES, knows_masks, mask_png
from defectctl.formats.exports.truth import Thing, boxes_of, count_patches


class VocForm:
    """`JPEGImages/`, `Annotations/`, `SegmentationClass/` where masks are known, `ImageSets/{Main,Segmentation}/`."""

    ENDINGS = frozenset((".jpg", ".jpeg"))
    HOLDS_UNKNOWN = False
    LOSSES: ClassVar[dict[str, str]] = {
        "patches": PATCHES,
        "shared": MASK_LOSSES["shared"] + "; their boxes are apart in Annotations",
        "voided": MASK_LOSSES["voided"],
        "rounded": "{n} boxes in {images} images had corners between pixels, which VOC has not; they were rounded",
        "crowd": "{n} crowd regions in {images} images are marked 'difficult', the nearest that VOC has",
        "unboxed": "{n} patches of the mask in {images} images lie in no box of their class; they have no box here",
    }

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.with_masks = knows_masks(plan)

    def picture(self, picture: Picture) -> Written:
        """Copy the image, write its XML and its mask."""
        plan, things, written = self.plan, boxes_of(picture.truth), Written()
        stem = picture.name.rpartition(".")[0]
        plan.write(f"JPEGImages/{picture.name}", picture.data)
        plan.write(f"Annotations/{stem}.xml", self._xml(picture, things))
        if self.with_masks:
            plan.write(f"SegmentationClass/{stem}.png", mask_png(plan, picture, written.lost))
        written.objects.update(thing.label for thing in things)
        written.lost.add("patches", count_patches(picture.truth))
        written.lost.add("rounded", sum(any(v != round(v) for v in thing.box) for thing in things))
        written.lost.add("crowd", sum(thing.crowd for thing in things))
        written.lost.add("unboxed", len(picture.truth.things) - len(things))
        return written

    def finish_part(self, part: str, written: Sequence[tuple[Sample, Written]]) -> None:
        """Write the part's list of names."""
        stems = [self.plan.names[sample.id].rpartition(".")[0] for sample, _ in written]
        for kind in ("Main", "Segmentation") if self.with_masks else ("Main",):
            self.plan.write_lines(f"ImageSets/{kind}/{part}.txt", stems)

    def finish(self) -> list[str]:
        """Name the classes."""
        self.plan.write_lines("labelmap.txt", label_map(self.plan))
        names = [name for samples in self.plan.parts.values() for name in (self.plan.names[s.id] for s in samples)]
        blank = sum(" " in name for name in names)
        notes = (
            [f"{blank:,} file names hold blanks, at which some VOC tools cut the lines of ImageSets"] if blank else []
        )
        return notes if self.with_masks else [*notes, "no mask is known, so there is no SegmentationClass"]

    def _xml(self, picture: Picture, things: list[Thing]) -> bytes:
        root = ElementTree.Element("annotation")
        _texts(root, folder="JPEGImages", filename=picture.name)
        source = ElementTree.SubElement(root, "source")
        _texts(source, database=self.plan.dataset.name)
        width, height = picture.sample.width, picture.sample.height
        size = ElementTree.SubElement(root, "size")
        _texts(size, width=width, height=height, depth=picture.header.channels)
        _texts(root, segmented=int(self.with_masks))
        for thing in things:
            item = ElementTree.SubElement(root, "object")
            name = self.plan.class_names[thing.label - 1]
            _texts(item, name=name, pose="Unspecified", truncated=0, difficult=int(thing.crowd))
            corners = zip(("xmin", "ymin", "xmax", "ymax"), voc_corners(thing.box, width, height), strict=True)
            _texts(ElementTree.SubElement(item, "bndbox"), **dict(corners))
        ElementTree.indent(root)
        return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def voc_corners(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """`(xmin, ymin, xmax, ymax)` of VOC: the first and the last pixel of the box, counted from 1."""
    x1, y1, x2, y2 = (int(np.floor(value + 0.5)) for value in box)
    x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    return x1 + 1, y1 + 1, max(min(x2, width), x1 + 1), max(min(y2, height), y1 + 1)


def _texts(parent: ElementTree.Element, **values: str | int) -> None:
    for name, value in values.items():
        ElementTree.SubElement(parent, name).text = str(value)
