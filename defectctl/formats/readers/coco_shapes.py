"""One COCO annotation to a shape: polygons, run-lengths of both kinds, boxes; what is odd about it is told."""

from __future__ import annotations

from typing import Any

from defectctl.dataset.types import Box
from defectctl.formats.base import RawShape, Region
from defectctl.formats.readers.voc_boxes import clip_box

BOX_TOLERANCE = 1.0
"""Pixels by which a box may stick out of the image unreported: labelling sites round."""

Problems = list[tuple[str, str]]
"""(stable key, reason) of everything odd."""

_FAR = 1e9
"""Coordinates beyond are no pixels; JSON may hold whole numbers that no float can."""


def is_coordinate(value: Any) -> bool:
    """Whether a value of a JSON is a number that can stand for a place in an image."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_FAR < value < _FAR


def shape_of(item: dict[str, Any], name: str, size: tuple[int, int] | None) -> tuple[RawShape | None, Problems]:
    """The shape of one annotation and what is odd about it; None where neither region nor box is usable.

    Args:
        item: the annotation: `segmentation`, `bbox` (x, y, width, height from 0), `iscrowd`.
        name: its class.
        size: (width, height) of the image where stated.
    """
    problems: Problems = []
    region = _region(item.get("segmentation"), size, problems)
    box = _box(item.get("bbox"), size, problems)
    if region is None and box is None:
        if not problems:
            problems.append(("empty-annotation", "it has neither segmentation nor box: left out; draw it again"))
        return None, problems
    return RawShape(name, box, region, crowd=_is_crowd(item)), problems


def _is_crowd(item: dict[str, Any]) -> bool:
    """Whether an annotation is a region of many objects; CVAT, told by `attributes`, flags each of its masks so."""
    flag = item.get("iscrowd", 0)
    crowd = flag.strip() not in ("", "0") if isinstance(flag, str) else bool(flag)
    drawn = isinstance(item.get("segmentation"), dict) and isinstance(item.get("attributes"), dict)
    return crowd and not (drawn and not item["attributes"].get("is_crowd"))


def _region(value: Any, size: tuple[int, int] | None, problems: Problems) -> Region | None:
    if not value:
        return None
    if isinstance(value, dict):
        return _run_length(value, size, problems)
    if not isinstance(value, list):
        problems.append(("odd-polygon", f"its segmentation is a {type(value).__name__}; left out, export it again"))
        return None
    if all(is_coordinate(v) for v in value):
        value = [value]
    parts = []
    for part in value:
        usable = isinstance(part, list) and part and len(part) % 2 == 0 and all(is_coordinate(v) for v in part)
        if usable:
            parts.append(tuple(float(v) for v in part))
        elif part != []:
            problems.append(("odd-polygon", "a polygon part is no list of finite x, y pairs: the part was left out"))
    return Region(polygons=tuple(parts)) if parts else None


def _run_length(value: dict[str, Any], size: tuple[int, int] | None, problems: Problems) -> Region | None:
    stated, counts = value.get("size"), value.get("counts")
    if not isinstance(counts, (str, bytes, list)) or not isinstance(stated, list) or len(stated) != 2:
        problems.append(("odd-run-length", "its run-length lacks 'counts' or 'size': left out"))
        return None
    if size is not None and (stated[1], stated[0]) != size:
        text = f"its run-length is {stated[1]}x{stated[0]}, the image {size[0]}x{size[1]}: left out"
        problems.append(("size-differs", text))
        return None
    return Region(rle={"size": list(stated), "counts": counts})


def _box(value: Any, size: tuple[int, int] | None, problems: Problems) -> Box | None:
    if not value:
        return None
    if not isinstance(value, list) or len(value) != 4 or not all(is_coordinate(v) for v in value):
        problems.append(("box-odd", f"its box {str(value)[:60]} is not x, y, width, height: left out"))
        return None
    x, y, width, height = (float(v) for v in value)
    box, problem = clip_box((x, y, x + width, y + height), size, BOX_TOLERANCE)
    if problem:
        done = "left out" if box is None else "clipped to the image"
        text = f"the box {x:g}, {y:g}, {width:g}, {height:g} (x, y, width, height) is {problem}: {done}"
        problems.append((f"box-{problem.split()[0]}", text))
    return box
