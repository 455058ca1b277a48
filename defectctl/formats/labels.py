"""One raw annotation in the dataset's classes, and the labels of one photograph from two sources made one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectctl.dataset.types import UNKNOWN, Known, Object
from defectctl.formats.base import EmbeddedImage, Finding
from defectctl.formats.opened import View
from defectctl.formats.shapes import paint
from defectctl.imaging.reader import ImageError, ImageInfo

GOOD = "good"


class LeftOut(Exception):
    """An image or its labels cannot be used; carries the finding."""

    def __init__(self, file: str, problem: str, text: str) -> None:
        super().__init__(text)
        self.finding = Finding(file, problem, text, dropped=True)


@dataclass(slots=True)
class Labels:
    """What one source says of one image.

    Attributes:
        known: for which classes it speaks.
        mask: `(H, W)` uint8 of class indices, or None for an empty one.
        objects, instances, label: as in `Sample` and `DatasetWriter.add`.
        covered: objects partly covered by smaller ones.
    """

    known: Known
    mask: NDArray[np.uint8] | None = None
    objects: list[Object] = field(default_factory=list)
    instances: list[dict[str, Any]] | None = None
    label: str | None = None
    covered: int = 0


def translate(view: View, info: ImageInfo, findings: list[Finding]) -> Labels:
    """Read a raw sample's annotation and put it into the dataset's classes.

    Args:
        info: the image that it must fit.
        findings: receives what was doubtful.

    Raises:
        LeftOut: the annotation is unreadable or of another size.
    """
    source, raw = view.source, view.raw
    _check_stated_size(view, info)
    result = Labels(_known(view), label=source.names.get(raw.label, raw.label) if raw.label is not None else None)
    if raw.mask is not None:
        result.mask = _read_mask(view, info, findings)
        _settle_label(result, view, findings)
    elif raw.shapes is not None:
        painted = paint(raw.shapes, source.labels, info.height, info.width, with_mask=source.raw.knows_masks)
        findings += [Finding(source.file(raw.id), key, text, dropped) for key, text, dropped in painted.problems]
        result.covered = painted.covered
        result.mask = painted.mask
        if source.raw.knows_boxes:  # else a region is a class's pixels, not one object
            result.objects, result.instances = painted.objects, painted.instances
        nothing = not painted.objects and (painted.mask is None or not painted.mask.any())
        if nothing and any(dropped for *_, dropped in painted.problems):
            result.known = Known()  # what was lost may have been a defect: the part is not known to be good
        elif painted.box_only:
            known = result.known
            mask = tuple(i for i in known.mask if i not in painted.box_only)
            result.known = Known(mask, known.boxes, known.image)
    if result.mask is not None and not result.mask.any():
        result.mask = None
    return result


def unite(first: Labels, other: Labels) -> tuple[Labels, list[tuple[str, str]]]:
    """Labels of one photograph from two sources; where both speak of a class, the first's word counts.

    The mask then also speaks of the classes whose boxes are complete and of which there is no box: they are absent.

    Returns:
        The united labels, and (key, text) of each contradiction.
    """
    problems = []
    mask, problem = _unite_masks(first, other)
    problems += [("masks-differ", problem)] if problem else []
    own = set(first.known.boxes)
    added = [thing for thing in other.objects if thing.label not in own]
    shared = own & set(other.known.boxes)
    if _boxes(first, shared) != _boxes(other, shared):
        problems.append(("boxes-differ", "both sources have boxes of the same classes, but not the same; the first's"))
    instances = None
    if first.instances is not None or other.instances is not None:
        instances = _instances(first) + [
            item for item, thing in zip(_instances(other), other.objects, strict=True) if thing.label not in own
        ]
    boxed = {*first.known.boxes, *other.known.boxes}
    masked = {*first.known.mask, *other.known.mask}
    if masked:
        # Complete boxes without one of a class say that no pixel is of that class either. Without this the mask's
        # background would leave open every class that only boxes know, and a network could paint it anywhere.
        masked |= boxed - {thing.label for thing in first.objects + added}
    known = Known(tuple(sorted(masked)), tuple(sorted(boxed)), first.known.image or other.known.image)
    label = first.label if first.label is not None else other.label
    united = Labels(known, mask, first.objects + added, instances, label, first.covered + other.covered)
    return united, problems


def _unite_masks(first: Labels, other: Labels) -> tuple[NDArray[np.uint8] | None, str]:
    """The first's mask with the other's classes that the first does not speak of; and what contradicts."""
    own, theirs = set(first.known.mask), set(other.known.mask)
    if not own or not theirs:
        return (first.mask, "") if own else (other.mask, "")
    if first.mask is None and other.mask is None:
        return None, ""
    some = first.mask if first.mask is not None else other.mask
    assert some is not None
    mask = first.mask.copy() if first.mask is not None else np.zeros_like(some)
    second = other.mask if other.mask is not None else np.zeros_like(some)
    shared = own & theirs
    differing = int(
        (np.where(np.isin(mask, list(shared)), mask, 0) != np.where(np.isin(second, list(shared)), second, 0)).sum()
    )
    new = np.isin(second, list(theirs - own))
    both = new & (mask != 0) & (mask != UNKNOWN)
    mask[new & ~both] = second[new & ~both]
    if theirs - own:
        mask[(second == UNKNOWN) & (mask == 0)] = UNKNOWN
    texts = []
    if differing:
        texts.append(f"both sources have masks of the same classes, which differ in {differing} pixels; the first's")
    if both.any():
        texts.append(f"the sources' masks claim {int(both.sum())} pixels for different classes; the first's")
    return (mask if mask.any() else None), "; ".join(texts)


def _boxes(labels: Labels, classes: set[int]) -> list[tuple]:
    return sorted((thing.label, thing.box, thing.crowd) for thing in labels.objects if thing.label in classes)


def _instances(labels: Labels) -> list[dict[str, Any]]:
    if labels.instances is not None:
        return labels.instances
    return [{"label": thing.label, "crowd": thing.crowd, "rle": None} for thing in labels.objects]


def _known(view: View) -> Known:
    """What a sample's annotation speaks of, before its shapes are looked at."""
    source, raw = view.source, view.raw
    known = source.known
    if raw.mask is None and raw.shapes is None:
        if raw.label is None:
            return Known()
        if raw.label == GOOD:  # no defect of any kind: every mask and box is known to be empty
            return Known(known.mask, known.boxes, True)
        return Known(image=True)
    one_class = source.coding is not None and source.coding.one_class
    if one_class and raw.class_name is not None and raw.label != GOOD and not source.raw.exclusive:
        return Known((source.labels[raw.class_name],), known.boxes, known.image)
    return known


def _read_mask(view: View, info: ImageInfo, findings: list[Finding]) -> NDArray[np.uint8]:
    source, raw = view.source, view.raw
    assert raw.mask is not None and source.coding is not None
    name = source.file(raw.mask.relative_to(source.raw.root).as_posix())
    data = read_file(raw.mask, name)
    one_class = source.coding.one_class and raw.class_name is not None
    label = source.own_classes.index(raw.class_name) + 1 if one_class else 1
    try:
        mask = source.lookup()[source.coding.apply(data, name, label)]
    except ImageError as error:
        raise LeftOut(name, "unreadable", f"{error.reason}; its image '{raw.id}' is left out too") from error
    height, width = mask.shape
    if (width, height) != (info.width, info.height):
        turned = " after its EXIF turn" if info.turned else ""
        text = (
            f"the mask is {width}x{height}, its image '{raw.id}' {info.width}x{info.height}{turned}: both are left out"
        )
        raise LeftOut(name, "size-differs", text)
    if raw.label == GOOD and mask.any():
        text = "the folder says good, but the mask holds a defect; the mask is believed"
        findings.append(Finding(name, "contradictory", text))
    return mask


def _settle_label(result: Labels, view: View, findings: list[Finding]) -> None:
    """A mask tells more than an image label, unless it shows nothing on a part that is said to be defective."""
    assert result.mask is not None
    if result.mask.any():
        result.label = None
    elif result.label not in (None, GOOD):
        text = f"the folder says '{result.label}', but its mask is empty: kept with the image label alone"
        findings.append(Finding(view.source.file(view.raw.id), "contradictory", text))
        result.mask, result.known = None, Known(image=True)


def _check_stated_size(view: View, info: ImageInfo) -> None:
    if view.raw.stated_size is None or view.raw.stated_size == (info.width, info.height):
        return
    width, height = view.raw.stated_size
    turned = " after its EXIF turn" if info.turned else ""
    text = f"the annotation says {width}x{height}, the image is {info.width}x{info.height}{turned}; it is left out"
    raise LeftOut(view.source.file(view.raw.id), "size-differs", text)


def read_file(path: Path | EmbeddedImage, name: str) -> bytes:
    """A file's bytes; raises `LeftOut` where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise LeftOut(
            name, "unreadable", f"{error.strerror or error}; left out: check the file and its rights"
        ) from error
