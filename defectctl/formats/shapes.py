"""Annotated shapes of one image painted into the class mask, with what the mask alone could not tell again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectctl.dataset.types import Box, Object
from defectctl.errors import InputError
from defectctl.formats.base import RawShape
from defectctl.formats.regions import encode_rle, rasterise
from defectctl.imaging.components import find_components


@dataclass(slots=True)
class Painted:
    """One image's shapes in the words of the dataset.

    Attributes:
        mask: `(H, W)` uint8 of class indices.
        objects: in the order of the shapes, boxes clipped to the image.
        instances: one `{"label", "crowd", "rle"}` per object (`rle` is COCO compressed, null where only a box is
            known), or None where the mask's components are just the objects.
        box_only: classes of which an object has a box but no region.
        covered: objects that lose pixels to a smaller one of another class on top of them.
        problems: (key, text) of each shape that could not be used as it stands, and whether it was left out.
    """

    mask: NDArray[np.uint8]
    objects: list[Object] = field(default_factory=list)
    instances: list[dict[str, Any]] | None = None
    box_only: set[int] = field(default_factory=set)
    covered: int = 0
    problems: list[tuple[str, str, bool]] = field(default_factory=list)


@dataclass(slots=True)
class _Cut:
    """A region's pixels, kept only as far as its own bounds: many full-size masks would not fit in memory."""

    label: int
    crowd: bool
    top: int
    left: int
    pixels: NDArray[np.bool_]
    area: int

    def within(self, image: NDArray) -> NDArray:
        height, width = self.pixels.shape
        return image[self.top : self.top + height, self.left : self.left + width]


def paint(shapes: list[RawShape], labels: dict[str, int], height: int, width: int, with_mask: bool) -> Painted:
    """Turn shapes into mask, objects and instances; where regions overlap, the smaller lies on top.

    Args:
        labels: class name -> index.
        with_mask: whether the source's regions are to be painted; else only boxes are taken.
    """
    result = Painted(np.zeros((height, width), np.uint8))
    cuts: list[_Cut | None] = []
    for shape in shapes:
        label = labels[shape.class_name]
        try:
            cut = _cut(shape, label, height, width) if with_mask and shape.region else None
        except InputError as error:
            text = f"the outline of a '{shape.class_name}' is unusable: {error}"
            result.problems.append(("broken-region", text, True))
            if shape.box is None:
                result.box_only.add(label)  # something of this class is there, nobody can say where
                continue
            cut = None
        box = _box(shape, cut, height, width)
        if box is None:
            text = f"a '{shape.class_name}' lies outside the image or has no area"
            result.problems.append(("empty-object", text, True))
            continue
        if cut is None and with_mask:
            result.box_only.add(label)
        result.objects.append(Object(label, box, shape.crowd))
        cuts.append(cut)
    _draw(result, [cut for cut in cuts if cut])
    if any(cuts) and not _components_tell(result.mask, cuts):
        pairs = zip(result.objects, cuts, strict=True)
        result.instances = [_instance(thing, cut, height, width) for thing, cut in pairs]
    return result


def _cut(shape: RawShape, label: int, height: int, width: int) -> _Cut | None:
    assert shape.region is not None
    pixels = rasterise(shape.region, height, width)
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if not rows.size:
        return None
    part = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    return _Cut(label, shape.crowd, int(rows[0]), int(columns[0]), part, int(part.sum()))


def _box(shape: RawShape, cut: _Cut | None, height: int, width: int) -> Box | None:
    """The stated box, else the region's own, clipped to the image; None where nothing is left."""
    if shape.box is not None:
        x1, y1, x2, y2 = shape.box
        box = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
        if box[2] > box[0] and box[3] > box[1]:
            return box
    if cut is None:
        return None
    rows, columns = cut.pixels.shape
    return (float(cut.left), float(cut.top), float(cut.left + columns), float(cut.top + rows))


def _draw(result: Painted, cuts: list[_Cut]) -> None:
    # Stable: of two equally large regions the later one lies on top.
    for cut in sorted(cuts, key=lambda cut: -cut.area):
        cut.within(result.mask)[cut.pixels] = cut.label
    result.covered = sum(bool((cut.within(result.mask)[cut.pixels] != cut.label).any()) for cut in cuts)


def _components_tell(mask: NDArray[np.uint8], cuts: list[_Cut | None]) -> bool:
    """Whether the mask's components are the objects, one for one and pixel for pixel."""
    ids, components = find_components(mask)
    if len(components) != len(cuts) or None in cuts:
        return False
    area = {component.index: component.area for component in components}
    for cut in cuts:
        assert cut is not None
        found = np.unique(cut.within(ids)[cut.pixels])
        if found.size != 1 or area.get(int(found[0])) != cut.area:
            return False
    return True


def _instance(thing: Object, cut: _Cut | None, height: int, width: int) -> dict[str, Any]:
    rle = None
    if cut is not None:
        whole = np.zeros((height, width), bool)
        cut.within(whole)[:] = cut.pixels
        rle = encode_rle(whole)
    return {"label": thing.label, "crowd": thing.crowd, "rle": rle}
