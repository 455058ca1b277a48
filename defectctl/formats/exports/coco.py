"""Writes COCO instances: `annotations/instances_PART.json` beside `images/PART/`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from defectctl.dataset.types import UNKNOWN, Sample
from defectctl.formats.exports.base import PATCHES, Picture, Plan, Tally, Written
from defectctl.formats.exports.outlines import exact_polygons
from defectctl.formats.exports.truth import Thing, count_patches
from defectctl.formats.regions import encode_rle
from defectctl.version import __version__


class CocoForm:
    """Polygons where they give back just the object's pixels, else compressed run-lengths; crowds as run-lengths."""

    ENDINGS = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp"))
    HOLDS_UNKNOWN = False
    LOSSES: ClassVar[dict[str, str]] = {
        "unknown": "{n} pixels of {images} images that nobody knows are background in COCO, which has no such value",
        "patches": PATCHES,
        "box-only": "{n} objects in {images} images are known as boxes alone; their segmentation is empty",
        "divided": "in {images} images the mask's pixels were given to the {n} boxes of the same class around them",
        "unboxed": "{n} patches of the mask in {images} images lie in no box of their class; they became objects",
    }

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._images = 0
        self._annotations = 0

    def picture(self, picture: Picture) -> Written:
        """Copy the image and make its annotations, without ids yet."""
        self.plan.write(f"images/{picture.part}/{picture.name}", picture.data)
        truth, sample = picture.truth, picture.sample
        # Kept as text: numbers of outlines take four times the memory as objects.
        written = Written(record=[_text(_annotation(thing, sample.height, sample.width)) for thing in truth.things])
        written.objects.update(thing.label for thing in truth.things)
        if truth.mask is not None:
            written.lost.add("unknown", int(np.count_nonzero(truth.mask == UNKNOWN)))
        _count_losses(written.lost, picture)
        return written

    def finish_part(self, part: str, written: Sequence[tuple[Sample, Written]]) -> None:
        """Write the part's JSON; ids run through all parts."""
        images: list[dict[str, Any]] = []
        annotations: list[str] = []
        for sample, own in written:
            self._images += 1
            size = {"width": sample.width, "height": sample.height}
            images.append({"id": self._images, "file_name": self.plan.names[sample.id], **size})
            for item in own.record:
                self._annotations += 1
                annotations.append(f'{{"id":{self._annotations},"image_id":{self._images},{item[1:]}')
        names = enumerate(self.plan.class_names, 1)
        content = {
            "info": {"description": f"{self.plan.dataset.name}, {part}", "version": f"defectctl {__version__}"},
            "licenses": [],
            "categories": [{"id": index, "name": name, "supercategory": ""} for index, name in names],
            "images": images,
        }
        text = f'{_text(content)[:-1]},"annotations":[{",".join(annotations)}]}}'
        self.plan.write(f"annotations/instances_{part}.json", text.encode("utf-8"))

    def finish(self) -> list[str]:
        """All is written by part."""
        return []


def _count_losses(lost: Tally, picture: Picture) -> None:
    """Count where boxes and pixels of the dataset do not belong together object by object."""
    truth = picture.truth
    lost.add("box-only", sum(thing.patch is None for thing in truth.things))
    lost.add("patches", count_patches(truth))
    lost.add("divided", truth.divided)
    lost.add("unboxed", sum(not t.stated and t.label in truth.known.boxes for t in truth.things))


def _annotation(thing: Thing, height: int, width: int) -> dict[str, Any]:
    x1, y1, x2, y2 = thing.box
    segmentation: Any = []
    area = _number((x2 - x1) * (y2 - y1))
    if thing.patch is not None:
        area = thing.patch.area
        polygons = None if thing.crowd else exact_polygons(thing.patch.pixels, thing.patch.left, thing.patch.top)
        segmentation = polygons or encode_rle(thing.patch.whole(height, width))
    return {
        "category_id": thing.label,
        "iscrowd": int(thing.crowd),
        "bbox": [_number(value) for value in (x1, y1, x2 - x1, y2 - y1)],
        "area": area,
        "segmentation": segmentation,
    }


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _number(value: float) -> float | int:
    rounded = round(float(value), 3)
    return int(rounded) if rounded.is_integer() else rounded
