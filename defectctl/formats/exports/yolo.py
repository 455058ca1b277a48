"""Writes YOLO: `data.yaml`, `images/PART/` and `labels/PART/` with boxes or, if asked for, outlines as polygons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from defectctl.dataset.types import Sample
from defectctl.errors import InputError
from defectctl.formats.exports.base import PATCHES, UNUSED, Picture, Plan, Written
from defectctl.formats.exports.masks import knows_masks
from defectctl.formats.exports.outlines import Polygon, outer_outlines
from defectctl.formats.exports.truth import Thing, boxes_of, count_patches

SHUNNED = ("images", "labels")
"""Folder names of which YOLO tools exchange the last one in an image's path to find its labels."""


class YoloForm:
    """One text file an image, empty for a good part; `class x y w h`, or `class x1 y1 x2 y2 …`, as shares of 1."""

    ENDINGS = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"))
    HOLDS_UNKNOWN = False
    LOSSES: ClassVar[dict[str, str]] = {
        "patches": PATCHES,
        "pixels": "{n} objects in {images} images are boxes here; their pixels are in --segment, coco or masks",
        "crowd": "{n} crowd regions in {images} images are ordinary objects here",
        "holes": "{n} objects in {images} images have holes, which a YOLO polygon cannot hold; they are filled",
        "pieces": "{n} objects in {images} images are of several pieces, each an object of its own here",
        "box-only": "{n} objects in {images} images are known as boxes alone; their outline is the box",
        "unboxed": "{n} patches of the mask in {images} images lie in no box of their class; they are left out here",
    }

    def __init__(self, plan: Plan) -> None:
        if plan.segment and not knows_masks(plan):
            raise InputError(f"no sample of '{plan.dataset.root}' has a mask to outline; leave --segment out for boxes")
        self.plan = plan
        self._parts: list[str] = []

    def picture(self, picture: Picture) -> Written:
        """Copy the image and write its labels."""
        written, sample = Written(), picture.sample
        things = picture.truth.things if self.plan.segment else boxes_of(picture.truth)
        outlines = [_outlines(thing) if self.plan.segment else ([_centre(thing)], 0) for thing in things]
        shapes = [(thing.label, shape) for thing, (own, _) in zip(things, outlines, strict=True) for shape in own]
        lines = [_line(label, shape, sample.width, sample.height) for label, shape in shapes]
        self._count(picture, things, outlines, written)
        self.plan.write(f"images/{picture.part}/{picture.name}", picture.data)
        self.plan.write_lines(f"labels/{picture.part}/{picture.name.rpartition('.')[0]}.txt", lines)
        return written

    def _count(
        self, picture: Picture, things: list[Thing], outlines: list[tuple[list[Polygon], int]], written: Written
    ) -> None:
        lost = written.lost
        written.objects.update(thing.label for thing in things)
        lost.add("patches", count_patches(picture.truth))
        lost.add("crowd", sum(thing.crowd for thing in things))
        lost.add("unboxed", len(picture.truth.things) - len(things))
        with_pixels = sum(thing.patch is not None for thing in things)
        if not self.plan.segment:
            lost.add("pixels", with_pixels)
            return
        lost.add("box-only", len(things) - with_pixels)
        lost.add("holes", sum(holes > 0 for _, holes in outlines))
        lost.add("pieces", sum(len(polygons) > 1 for polygons, _ in outlines))

    def finish_part(self, part: str, written: Sequence[tuple[Sample, Written]]) -> None:
        """Remember the part for `data.yaml`."""
        self._parts.append(part)

    def finish(self) -> list[str]:
        """Write `data.yaml`; it names no absolute path, so the folder may be moved."""
        import yaml

        parts = {part: f"images/{part}" for part in self._parts if part != UNUSED}
        names = dict(enumerate(self.plan.class_names))
        text = yaml.safe_dump({**parts, "nc": len(names), "names": names}, sort_keys=False, allow_unicode=True)
        self.plan.write("data.yaml", text.encode("utf-8"))
        missing = [part for part in ("train", "val") if part not in parts]
        return [f"the split has no part '{part}', without which YOLO tools do not start" for part in missing]


def _centre(thing: Thing) -> Polygon:
    x1, y1, x2, y2 = thing.box
    return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]


def _outlines(thing: Thing) -> tuple[list[Polygon], int]:
    """A thing's polygons, and how many holes they leave filled."""
    if thing.patch is None:
        x1, y1, x2, y2 = thing.box
        return [[x1, y1, x2, y1, x2, y2, x1, y2]], 0
    return outer_outlines(thing.patch.pixels, thing.patch.left, thing.patch.top)


def _line(label: int, values: Polygon, width: int, height: int) -> str:
    shares = (value / (height if i % 2 else width) for i, value in enumerate(values))
    return " ".join([str(label - 1), *(f"{share:.8f}".rstrip("0").rstrip(".") for share in shares)])
