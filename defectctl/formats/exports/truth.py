"""One prepared sample's truth as other tools want it: objects, each with its box and, where known, its pixels."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectctl.dataset.types import UNKNOWN, Box, Dataset, Known, Sample
from defectctl.errors import InputError
from defectctl.fileio import sha256_bytes
from defectctl.formats.base import Region
from defectctl.formats.regions import rasterise
from defectctl.imaging.boxes import box_area, box_iou
from defectctl.imaging.components import find_components
from defectctl.imaging.masks import decode_index


@dataclass(frozen=True, slots=True)
class Patch:
    """Pixels `(h, w)` bool within their own bounds, and where these lie in the image."""

    left: int
    top: int
    pixels: NDArray[np.bool_]

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(self.pixels.sum())

    @property
    def box(self) -> Box:
        """The tightest box around the pixels."""
        height, width = self.pixels.shape
        return float(self.left), float(self.top), float(self.left + width), float(self.top + height)

    def whole(self, height: int, width: int) -> NDArray[np.bool_]:
        """The pixels at the image's size."""
        image = np.zeros((height, width), bool)
        rows, columns = self.pixels.shape
        image[self.top : self.top + rows, self.left : self.left + columns] = self.pixels
        return image


@dataclass(slots=True)
class Thing:
    """One object.

    Attributes:
        label: class index, 1..K.
        box: as stated in the dataset, else around its pixels.
        crowd: whether it is a crowd region.
        patch: its pixels, or None where only the box is known.
        stated: whether the dataset lists it as an object; else it is a patch of the mask.
    """

    label: int
    box: Box
    crowd: bool = False
    patch: Patch | None = None
    stated: bool = False


@dataclass(slots=True)
class Truth:
    """What is known of one sample.

    Attributes:
        known: the classes it speaks of.
        mask: `(H, W)` uint8 as stored, or None for an empty or absent one.
        things: objects, those stated first and in their order.
        shared: whether stored objects and mask overlap or touch so that the mask alone could not tell the objects.
        divided: stated boxes whose pixels were taken from a mask that does not tell objects.
    """

    known: Known
    mask: NDArray[np.uint8] | None = None
    things: list[Thing] = field(default_factory=list)
    shared: bool = False
    divided: int = 0


def speaks(dataset: Dataset, sample: Sample) -> bool:
    """Whether boxes or mask say anything of the sample, or it is known to be good; else it is unlabelled to others."""
    known = dataset.known(sample)
    return bool(known.mask or known.boxes or sample.objects or sample.mask or sample.label == "good")


def read_truth(dataset: Dataset, sample: Sample) -> Truth:
    """Read a sample's mask and instances.

    Raises:
        InputError: a file of the dataset is missing, changed or damaged.
    """
    truth = Truth(dataset.known(sample), _read_mask(dataset, sample))
    stored = _read_instances(dataset, sample)
    truth.shared = stored is not None
    for number, thing in enumerate(sample.objects):
        rle = stored[number]["rle"] if stored else None
        patch = None
        if rle is not None:
            patch = _cut(rasterise(Region(rle=rle), sample.height, sample.width))
        truth.things.append(Thing(thing.label, thing.box, thing.crowd, patch, stated=True))
    if truth.mask is not None:
        _share_out(truth)
    return truth


def _read_mask(dataset: Dataset, sample: Sample) -> NDArray[np.uint8] | None:
    path = dataset.mask_path(sample)
    if path is None:
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"its mask '{sample.mask}' cannot be read ({error.strerror or error})") from error
    if sha256_bytes(data) != sample.mask_sha256:
        raise InputError(f"its mask '{sample.mask}' is not the file that was prepared")
    return decode_index(data, sample.mask or "")


def _read_instances(dataset: Dataset, sample: Sample) -> list[dict[str, Any]] | None:
    name = f"instances/{sample.id}.json"
    path = dataset.root / name
    if not path.is_file():
        return None
    try:
        stored = json.loads(path.read_bytes())
        labels = [(item["label"], item["rle"] is None or dict(item["rle"])) for item in stored]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"its objects in '{name}' are damaged ({type(error).__name__}: {error})") from error
    if [label for label, _ in labels] != [thing.label for thing in sample.objects]:
        raise InputError(f"its objects in '{name}' are not those of the sample")
    return stored


def _share_out(truth: Truth) -> None:
    """Give the mask's pixels that no object has yet to the boxes without pixels; what is left are objects too."""
    assert truth.mask is not None
    left = truth.mask.copy()
    for thing in truth.things:
        if thing.patch is not None:
            rows, columns = thing.patch.pixels.shape
            part = left[thing.patch.top : thing.patch.top + rows, thing.patch.left : thing.patch.left + columns]
            part[thing.patch.pixels & (part == thing.label)] = 0
    ids, components = find_components(left)
    for label in sorted({component.label for component in components}):
        patches = [_patch_of(ids, c.index, c.box) for c in components if c.label == label]
        boxed = [thing for thing in truth.things if thing.label == label and thing.patch is None]
        if boxed and not _one_to_one(boxed, patches):
            patches = _divide(boxed, patches)
            truth.divided += len(boxed)
        elif boxed:
            continue
        truth.things += [Thing(label, patch.box, patch=patch) for patch in patches]


def _patch_of(ids: NDArray[np.int32], index: int, box: Box) -> Patch:
    x1, y1, x2, y2 = map(int, box)
    return Patch(x1, y1, ids[y1:y2, x1:x2] == index)


def _one_to_one(boxed: list[Thing], patches: list[Patch]) -> bool:
    """Where there are as many boxes as patches and all overlap in pairs, give each box its patch."""
    if len(boxed) != len(patches):
        return False
    from scipy.optimize import linear_sum_assignment

    overlaps = box_iou([thing.box for thing in boxed], [patch.box for patch in patches])
    rows, columns = linear_sum_assignment(overlaps, maximize=True)
    if not (overlaps[rows, columns] > 0).all():
        return False
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        boxed[row].patch = patches[column]
    return True


def _divide(boxed: list[Thing], patches: list[Patch]) -> list[Patch]:
    """Give each pixel to the smallest box around it, else to the box that has most of its patch.

    Returns:
        The patches that no box meets.
    """
    height = max(int(patch.box[3]) for patch in patches)
    width = max(int(patch.box[2]) for patch in patches)
    owner = np.full((height, width), -1, np.int32)
    for number in np.argsort(-box_area([thing.box for thing in boxed]), kind="stable").tolist():
        x1, y1, x2, y2 = boxed[number].box
        owner[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = number
    alone = []
    given = np.full((height, width), -1, np.int32)
    for patch in patches:
        rows, columns = patch.pixels.shape
        place = (slice(patch.top, patch.top + rows), slice(patch.left, patch.left + columns))
        owners = owner[place][patch.pixels]
        inside = owners[owners >= 0]
        if not inside.size:
            alone.append(patch)
            continue
        owners[owners < 0] = np.bincount(inside).argmax()
        given[place][patch.pixels] = owners
    for number in np.unique(given[given >= 0]).tolist():
        boxed[number].patch = _cut(given == number)
    return alone


def _cut(pixels: NDArray[np.bool_]) -> Patch | None:
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if not rows.size:
        return None
    part = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    return Patch(int(columns[0]), int(rows[0]), part)


def boxes_of(truth: Truth) -> list[Thing]:
    """The objects whose boxes are meant: of a class whose boxes are complete only those that the dataset states."""
    return [thing for thing in truth.things if thing.stated or thing.label not in truth.known.boxes]


def count_patches(truth: Truth) -> int:
    """Objects that are patches of the mask for want of a statement."""
    return sum(not thing.stated and thing.label not in truth.known.boxes for thing in truth.things)


def judged_mask(truth: Truth, sample: Sample, classes: int) -> NDArray[np.uint8]:
    """The mask `(H, W)` uint8 for a reader to whom 0 means that no class is there, and 255 that nobody knows.

    Nobody knows the pixels of a box whose class the mask does not speak of. Where the mask speaks of no class,
    everything is unknown, but for what lies outside of boxes that are complete for all classes, and for good parts.
    """
    shape = (sample.height, sample.width)
    if truth.mask is not None:
        mask = truth.mask.copy()
    else:
        empty = truth.known.mask or len(truth.known.boxes) == classes or sample.label == "good"
        mask = np.full(shape, 0 if empty else UNKNOWN, np.uint8)
    for thing in truth.things:
        if thing.patch is None and thing.label not in truth.known.mask:
            x1, y1, x2, y2 = thing.box
            part = mask[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))]
            part[part == 0] = UNKNOWN
    return mask
