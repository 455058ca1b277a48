"""Doubts about one image and its labels while its pixels are at hand; each becomes a finding, none drops anything."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from defectctl.dataset.types import UNKNOWN, Box, Object
from defectctl.formats.base import Finding
from defectctl.imaging.boxes import box_iou
from defectctl.imaging.headers import read_header

LEAST_COVERED = 0.05
"""Share of a box that its class must cover in a mask which speaks of it."""
LEAST_REACH = 0.5
"""Share of a box that the rectangle around the class's pixels must cover: a thin slanting scratch fills few pixels."""
DOUBLED = 0.9
"""Intersection over union above which two boxes of one class are one object drawn twice."""

_KINDS = {
    ".bmp": "BMP",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WebP",
    ".ppm": "PNM",
    ".pgm": "PNM",
    ".jp2": "JPEG 2000",
}
_BLOCK = 256


def image_findings(
    name: str, data: bytes, mask: NDArray[np.uint8] | None, objects: Sequence[Object], masked: Collection[int]
) -> list[Finding]:
    """Everything doubtful about one image that could be read.

    Args:
        name: the image file as findings tell it.
        data: the image file's bytes.
        mask: `(H, W)` uint8 of class indices; None where it is empty.
        objects: labelled objects, boxes in pixels of the mask.
        masked: classes of which the mask speaks.
    """
    found = (wrong_ending(name, data), box_without_mask(name, mask, objects, masked), doubled_objects(name, objects))
    return [finding for finding in found if finding is not None]


def wrong_ending(name: str, data: bytes) -> Finding | None:
    """A finding where the content is of another kind than the ending says; other programs may fail on such a file.

    Raises:
        ImageError: `data` is no image.
    """
    ending = PurePosixPath(name).suffix
    stated, kind = _KINDS.get(ending.lower()), read_header(data).kind
    if stated in (None, kind):
        return None
    right = next(other for other, of in _KINDS.items() if of == kind)
    text = f"the name ends with {ending}, the content is {kind}: read as {kind}; rename it to {right}"
    return Finding(name, "wrong-ending", text)


def boxes_without_mask(
    mask: NDArray[np.uint8] | None, objects: Iterable[Object], masked: Collection[int]
) -> list[Object]:
    """Objects of whose class the mask speaks, but which it hardly holds.

    Such a box has less than 5 % of its pixels in its class or unknown (255), and the rectangle around these covers
    less than half of it. Crowd regions are passed over.

    Args:
        mask: `(H, W)` uint8; None where it is empty.
        masked: classes of which the mask speaks.
    """
    return [
        thing
        for thing in objects
        if thing.label in masked and not thing.crowd and (mask is None or not _is_drawn(mask, thing))
    ]


def box_without_mask(
    name: str, mask: NDArray[np.uint8] | None, objects: Iterable[Object], masked: Collection[int]
) -> Finding | None:
    """A finding where boxes of the image have hardly any mask of their class in them."""
    boxes = boxes_without_mask(mask, objects, masked)
    if not boxes:
        return None
    which = f"{len(boxes)} boxes have" if len(boxes) > 1 else "a box has"
    text = (
        f"{which} hardly any mask of the own class inside ({_shown(boxes[0].box)}{', …' if len(boxes) > 1 else ''}):"
        " kept as they are; draw the missing mask, take the box away, or give --distrust to leave such places out"
    )
    return Finding(name, "box-without-mask", text)


def distrust(mask: NDArray[np.uint8], boxes: Iterable[Box]) -> NDArray[np.uint8]:
    """The mask with the background inside the boxes made unknown (255); pixels of any class stay what they are.

    Args:
        mask: `(H, W)` uint8, not changed.
        boxes: `xyxy` pixel edges; a pixel that is partly inside counts as inside.
    """
    result = mask.copy()
    for box in boxes:
        part = result[_pixels(box)]
        part[part == 0] = UNKNOWN
    return result


def doubled_objects(name: str, objects: Iterable[Object]) -> Finding | None:
    """A finding where boxes of one class overlap almost wholly; crowd regions are passed over."""
    by_class: dict[int, list[Box]] = defaultdict(list)
    for thing in objects:
        if not thing.crowd:
            by_class[thing.label].append(thing.box)
    again = [box for label in sorted(by_class) for box in _repeated(by_class[label])]
    if not again:
        return None
    which = f"{len(again)} boxes repeat others" if len(again) > 1 else "a box repeats another"
    text = (
        f"{which} of the same class almost wholly ({_shown(again[0])}{', …' if len(again) > 1 else ''}): all are kept;"
        " take the copies away where one defect was drawn twice"
    )
    return Finding(name, "doubled-object", text)


def _repeated(boxes: Sequence[Box]) -> list[Box]:
    """The boxes that an earlier one overlaps almost wholly; compared in blocks, since there may be thousands."""
    corners = np.array(boxes, np.float64).reshape(-1, 4)
    repeated = []
    for start in range(0, len(corners), _BLOCK):
        block = corners[start : start + _BLOCK]
        overlaps = box_iou(block, corners[: start + len(block)]) > DOUBLED
        earlier = np.tri(len(block), start + len(block), start - 1, dtype=bool)
        repeated += [boxes[start + i] for i in np.flatnonzero((overlaps & earlier).any(axis=1)).tolist()]
    return repeated


def _is_drawn(mask: NDArray[np.uint8], thing: Object) -> bool:
    part = mask[_pixels(thing.box)]
    own = (part == thing.label) | (part == UNKNOWN)
    count = int(np.count_nonzero(own))
    if count >= LEAST_COVERED * part.size:  # a box outside the mask has no pixel to lack
        return True
    if not count:
        return False
    rows, columns = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
    reach = int((rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1))
    return reach >= LEAST_REACH * part.size


def _pixels(box: Box) -> tuple[slice, slice]:
    """Rows and columns of the pixels that a box touches."""
    x1, y1, x2, y2 = box
    left, top = max(0, int(np.floor(x1))), max(0, int(np.floor(y1)))
    return slice(top, max(top, int(np.ceil(y2)))), slice(left, max(left, int(np.ceil(x2))))


def _shown(box: Box) -> str:
    return "x1, y1, x2, y2 = " + ", ".join(f"{edge:g}" for edge in box)
