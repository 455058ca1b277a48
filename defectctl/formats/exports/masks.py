"""Writes images and index masks in parallel folders, with a label map that says what each value means."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from defectctl.dataset.types import UNKNOWN, Sample
from defectctl.errors import InputError
from defectctl.formats.exports.base import Picture, Plan, Tally, Written, label_map
from defectctl.formats.exports.truth import judged_mask
from defectctl.imaging.palette import Colour

VOID_COLOUR: Colour = (224, 224, 192)

MASK_LOSSES = {
    "boxes": "the boxes stated for {n} objects in {images} images are not kept: masks hold pixels alone",
    "shared": "in {images} images objects touch or overlap, which a class mask cannot tell apart",
    "voided": "{n} pixels in {images} images are unknown (255): boxes of classes that no mask speaks of, or no label",
}


class MasksForm:
    """`images/PART/`, `masks/PART/` (palette PNG, value = class index, 255 unknown), `labelmap.txt`, `classes.txt`."""

    ENDINGS = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"))
    HOLDS_UNKNOWN = True
    LOSSES = MASK_LOSSES

    def __init__(self, plan: Plan) -> None:
        if not knows_masks(plan):
            raise InputError(
                f"no sample of '{plan.dataset.root}' has a mask; write its boxes with --to coco, --to voc or --to yolo"
            )
        self.plan = plan

    def picture(self, picture: Picture) -> Written:
        """Copy the image and write its mask, a good part's too."""
        plan = self.plan
        plan.write(f"images/{picture.part}/{picture.name}", picture.data)
        written = Written()
        stem = picture.name.rpartition(".")[0]
        plan.write(f"masks/{picture.part}/{stem}.png", mask_png(plan, picture, written.lost))
        written.lost.add("boxes", sum(thing.stated for thing in picture.truth.things))
        written.objects.update(thing.label for thing in picture.truth.things if thing.patch is not None)
        return written

    def finish_part(self, part: str, written: Sequence[tuple[Sample, Written]]) -> None:
        """Everything was written with the pictures."""

    def finish(self) -> list[str]:
        """Name the classes."""
        self.plan.write_lines("labelmap.txt", label_map(self.plan))
        self.plan.write_lines("classes.txt", ["background", *self.plan.class_names])
        return ["line n of classes.txt, counted from 0, names the mask value n; 255 is unknown"]


def knows_masks(plan: Plan) -> bool:
    """Whether the mask of any sample speaks of a class."""
    return any(plan.dataset.known(sample).mask for samples in plan.parts.values() for sample in samples)


def mask_png(plan: Plan, picture: Picture, lost: Tally) -> bytes:
    """A picture's mask as palette PNG; counts what it tells less of than the dataset does."""
    truth = picture.truth
    mask = judged_mask(truth, picture.sample, len(plan.dataset.classes))
    before = 0 if truth.mask is None else int(np.count_nonzero(truth.mask == UNKNOWN))
    lost.add("voided", int(np.count_nonzero(mask == UNKNOWN)) - before)
    lost.add("shared", int(truth.shared))
    return _encode(mask, [info.colour for info in plan.dataset.classes])


def _encode(mask: NDArray[np.uint8], colours: list[Colour]) -> bytes:
    """Class indices as palette PNG in which 255 has the colour that Pascal VOC gives to it."""
    table = [(0, 0, 0), *colours]
    table += [(0, 0, 0)] * (UNKNOWN - len(table)) + [VOID_COLOUR]
    image = Image.fromarray(mask)
    image.putpalette([channel for colour in table for channel in colour])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()
