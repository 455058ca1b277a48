"""LabelMe's shapes of one image to objects: outlines, boxes, circles, masks, groups; what is odd about them is told."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from defectctl.dataset.types import Box
from defectctl.formats.base import RawShape, Region
from defectctl.formats.readers.coco_shapes import BOX_TOLERANCE, is_coordinate
from defectctl.formats.readers.voc_boxes import clip_box
from defectctl.formats.regions import encode_rle, rasterise
from defectctl.imaging.masks import read_mask
from defectctl.imaging.reader import ImageError

Size = tuple[int, int]
Points = list[tuple[float, float]]

BACKGROUND = "_background_"
IGNORED = "__ignore__"
_ROTATED = ("rotation", "oriented_rectangle", "rotated_rectangle")
_NO_AREA = ("point", "points", "line", "linestrip", "polyline")
_REDRAW = "; draw it again"
_MEND = {
    "no-name": "; give it a label",
    "no-area": "; draw it as a polygon",
    "background-shape": "",
    "ignored-shape": "; leave the whole image out with --exclude if it matters",
}
_UPRIGHT = 0.01
"""Pixels by which the corners of an upright rectangle may be off."""
_SAGITTA = 0.05
"""Pixels by which the outline that stands for a circle may run inside it."""


@dataclass(slots=True)
class Shapes:
    """What the shapes of one image came to.

    Attributes:
        objects: in the order of their first shape.
        problems: (stable key, reason, whether something was left out) of everything odd.
        lost: how many shapes of a class could not be used.
    """

    objects: list[RawShape]
    problems: list[tuple[str, str, bool]]
    lost: int = 0


@dataclass(frozen=True, slots=True)
class _Piece:
    """One drawn shape; a shape with an outline need not have a box."""

    box: Box | None
    region: Region | None


class _Unusable(Exception):
    """A shape cannot be used; carries the stable key beside the reason."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


def read_shapes(items: Sequence[Any], size: Size) -> Shapes:
    """Turn LabelMe's list of shapes into objects; shapes of one label and one `group_id` are one object.

    Args:
        items: `shapes` as parsed.
        size: (width, height) of the upright image, in whose pixels the points count, edges from 0.
    """
    result = Shapes([], [])
    groups: dict[tuple[str, str], list[_Piece]] = {}
    for number, item in enumerate(items, 1):
        label = str(item.get("label") or "").strip() if isinstance(item, dict) else ""
        where = f"shape {number} ({label})" if label else f"shape {number}"
        try:
            piece, problem = _piece(item, label, size)
        except _Unusable as unusable:
            result.problems.append(
                (unusable.key, f"{where}: {unusable}: left out{_MEND.get(unusable.key, _REDRAW)}", True)
            )
            result.lost += label != BACKGROUND
            continue
        if problem:
            result.problems.append((f"box-{problem.split()[0]}", f"{where} is {problem}: clipped to the image", False))
        group = item.get("group_id")
        groups.setdefault((label, f"alone {number}" if group is None else repr(group)), []).append(piece)
    for (label, group), pieces in groups.items():
        result.objects.append(_unite(label, group, pieces, size, result.problems))
    return result


def _piece(item: Any, label: str, size: Size) -> tuple[_Piece, str]:
    if not isinstance(item, dict):
        raise _Unusable("odd-shape", f"it is a {type(item).__name__} instead of an object")
    if not label:
        raise _Unusable("no-name", "it has no label")
    if label == BACKGROUND:
        raise _Unusable("background-shape", "it marks background, which every unmarked pixel is anyway")
    if label == IGNORED:
        raise _Unusable("ignored-shape", "it marks pixels that nobody judged, which cannot be told from background")
    kind = str(item.get("shape_type") or "polygon").lower()
    if kind in _NO_AREA:
        raise _Unusable("no-area", f"a {kind} covers no area")
    points = _points(item.get("points"))
    if kind == "mask":
        return _mask(item.get("mask"), points, size), ""
    corners, outlined = _corners(kind, points)
    xs, ys = zip(*corners, strict=True)
    region = Region(polygons=(tuple(value for corner in corners for value in corner),)) if outlined else None
    box, problem = clip_box((min(xs), min(ys), max(xs), max(ys)), size, BOX_TOLERANCE)
    if problem == "empty" and region is not None:
        return _Piece(None, region), ""  # a hair, whose pixels are still found along its outline
    if box is None:
        raise _Unusable(f"box-{problem.split()[0]}", f"it is {problem}")
    return _Piece(box, region), problem


def _points(value: Any) -> Points:
    usable = isinstance(value, list) and all(
        isinstance(point, list) and len(point) == 2 and all(is_coordinate(v) for v in point) for point in value
    )
    if not usable:
        raise _Unusable("odd-points", "its points are no list of finite x, y pairs")
    return [(float(x), float(y)) for x, y in value]


def _corners(kind: str, points: Points) -> tuple[Points, bool]:
    """Corners of a shape, and whether they are its outline (else only its box)."""
    count = len(points)
    if kind == "polygon":
        if count < 3:
            raise _Unusable("odd-polygon", f"a polygon of {count} points has no area")
        return points, True
    if kind == "rectangle" and count == 2:
        return points, False
    if (kind == "rectangle" or kind in _ROTATED) and count == 4:
        return points, kind != "rectangle" or not _upright(points)
    if kind == "circle" and count == 2:
        return _circle(*points), True
    if kind in ("rectangle", "circle", *_ROTATED):
        raise _Unusable("odd-points", f"a {kind} of {count} points is not understood")
    raise _Unusable("odd-shape", f"the shape type '{kind[:40]}' is not known")


def _upright(points: Points) -> bool:
    """Whether every corner lies where two sides of the box around all corners meet."""
    low, high = [min(values) for values in zip(*points, strict=True)], [max(v) for v in zip(*points, strict=True)]
    return all(min(p[i] - low[i], high[i] - p[i]) < _UPRIGHT for p in points for i in (0, 1))


def _circle(centre: tuple[float, float], edge: tuple[float, float]) -> Points:
    """Corners of the polygon that stands for a circle, given as LabelMe does by its centre and a point on it."""
    radius = math.dist(centre, edge)
    if not radius:
        raise _Unusable("box-empty", "a circle of radius 0 has no area")
    step = math.acos(max(0.0, 1 - _SAGITTA / radius))
    count = 4 * math.ceil(max(4.0, math.pi / (4 * step)))  # divisible by 4, so that the extremes are corners
    angles = [2 * math.pi * i / count for i in range(count)]
    return [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles]


def _mask(text: Any, points: Points, size: Size) -> _Piece:
    """A mask cut to its box, whose corner pixels the two points name (both inclusive)."""
    if not isinstance(text, str) or len(points) != 2:
        raise _Unusable("odd-mask", "a mask needs two points and a PNG in base64")
    try:
        stored = read_mask(base64.b64decode(text.rpartition(",")[2], validate=True))
    except ImageError as error:
        raise _Unusable("odd-mask", f"its PNG cannot be read ({error.reason})") from error
    except (binascii.Error, ValueError) as error:
        raise _Unusable("odd-mask", f"its PNG is not base64 ({error})") from error
    pixels = (stored.values if stored.colours is None else stored.colours.max(axis=2)) != 0
    left, top = (math.floor(min(values)) for values in zip(*points, strict=True))
    right, bottom = (math.floor(max(values)) for values in zip(*points, strict=True))
    rows, columns = pixels.shape
    if rows - (bottom - top) not in (0, 1) or columns - (right - left) not in (0, 1):
        wanted = f"{right - left + 1}x{bottom - top + 1}"
        raise _Unusable("size-differs", f"its mask is {columns}x{rows}, its points make {wanted}")
    width, height = size
    whole = np.zeros((height, width), bool)
    inner = pixels[max(0, -top) : max(0, height - top), max(0, -left) : max(0, width - left)]
    whole[max(0, top) : max(0, top) + inner.shape[0], max(0, left) : max(0, left) + inner.shape[1]] = inner
    ys, xs = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
    if not ys.size:
        raise _Unusable("empty-object", "its mask has no pixel in the image")
    box = (float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1))
    return _Piece(box, Region(rle=encode_rle(whole)))


def _unite(label: str, group: str, pieces: list[_Piece], size: Size, problems: list) -> RawShape:
    """One object of all shapes of a group; unlike a COCO polygon's parts, one inside another is no hole."""
    if len(pieces) == 1:
        return RawShape(label, pieces[0].box, pieces[0].region)
    boxes = [piece.box for piece in pieces if piece.box is not None]
    hull = None
    if boxes:
        x1, y1, x2, y2 = zip(*boxes, strict=True)
        hull = (min(x1), min(y1), max(x2), max(y2))
    regions = [piece.region for piece in pieces if piece.region is not None]
    if len(regions) == len(pieces):
        width, height = size
        pixels = np.zeros((height, width), bool)
        for region in regions:
            pixels |= rasterise(region, height, width)
        return RawShape(label, hull, Region(rle=encode_rle(pixels)))
    if regions:
        text = f"group {group} of '{label}' mixes rectangles with outlines, so only the box around them is taken"
        problems.append(("mixed-group", text, False))
    return RawShape(label, hull)
