"""Annotated regions to pixels and back: polygons with holes and several parts, COCO run-lengths of both kinds."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from defectctl.errors import InputError
from defectctl.formats.base import Region

FAR = 100_000.0
"""Polygon corners farther out than this many pixels are pulled in before rasterising, which would be endless else."""


def rasterise(region: Region, height: int, width: int) -> np.ndarray:
    """Pixels of a region: bool `(height, width)`.

    Polygon parts are rasterised by pycocotools. A part that lies inside another is a hole in it (a part inside a
    hole is solid again); parts that merely overlap are united. A solid part thinner than one pixel, of which sampling
    at pixel centres would leave dashes or nothing, gets every pixel that its outline crosses.

    Raises:
        InputError: the run-length is of another size or broken, or a polygon has an odd number of coordinates.
    """
    if region.rle is not None:
        return _decode_rle(region.rle, height, width)
    if len(region.polygons) == 1:
        return _solid(region.polygons[0], height, width)
    parts = [_encode(_solid(polygon, height, width)) for polygon in region.polygons]
    depths = _depths(parts)
    mask = np.zeros((height, width), bool)
    for depth in sorted(set(depths)):
        level = [i for i, own in enumerate(depths) if own == depth]
        if depth % 2:  # a hole is never made wider than it was drawn
            holes = [_encode(_sampled(_corners(region.polygons[i]), height, width)) for i in level]
            mask &= ~coco_mask.decode(coco_mask.merge(holes)).astype(bool)
        else:
            mask |= coco_mask.decode(coco_mask.merge([parts[i] for i in level])).astype(bool)
    return mask


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """COCO compressed run-length of a bool or uint8 mask `(H, W)`: `{"size": [H, W], "counts": str}`."""
    rle = _encode(np.asarray(mask) != 0)
    return {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")}


def _encode(mask: np.ndarray) -> dict[str, Any]:
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))


def _decode_rle(rle: dict[str, Any], height: int, width: int) -> np.ndarray:
    size, counts = rle.get("size"), rle.get("counts")
    if not isinstance(size, (list, tuple)) or list(size) != [height, width]:
        raise InputError(f"the run-length is of size {size} (height, width), the image is [{height}, {width}]")
    if isinstance(counts, (list, tuple)):
        return _decode_counts(np.asarray(counts), height, width)
    data = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
    if not isinstance(data, bytes) or _run_sum(data) != height * width:
        raise InputError("the compressed run-length is broken: its runs do not add up to the image's pixels")
    return coco_mask.decode({"size": [height, width], "counts": data}).astype(bool)


def _decode_counts(runs: np.ndarray, height: int, width: int) -> np.ndarray:
    if runs.ndim != 1 or runs.dtype.kind not in "iu" or (runs < 0).any() or runs.sum() != height * width:
        raise InputError("the run-length is broken: its runs do not add up to the image's pixels")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T.copy()


def _run_sum(data: bytes) -> int:
    """Sum of the runs of a compressed run-length, -1 where it is malformed (format: cocoapi, `rleFrString`).

    Five bits a byte, bit 5 says that more follow, bit 4 of the last is the sign; from the fourth run on a run is
    stored as its difference to the run two before.
    """
    runs: list[int] = []
    value = shift = 0
    for byte in data:
        digit = byte - 48
        if not 0 <= digit < 64:
            return -1
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        if value < 0:
            return -1
        runs.append(value)
        value = shift = 0
    return sum(runs) if not shift else -1


def _corners(polygon: tuple[float, ...]) -> np.ndarray:
    points = np.asarray(polygon, np.float64)
    if points.size == 0 or points.size % 2 or not np.isfinite(points).all():
        raise InputError(f"a polygon of {points.size} coordinates is broken; it needs finite pairs of x and y")
    return np.clip(points.reshape(-1, 2), -FAR, FAR)


def _sampled(points: np.ndarray, height: int, width: int) -> np.ndarray:
    if len(points) < 3:
        return np.zeros((height, width), bool)
    rles = coco_mask.frPyObjects([points.ravel().tolist()], height, width)
    return coco_mask.decode(rles[0]).astype(bool)


def _solid(polygon: tuple[float, ...], height: int, width: int) -> np.ndarray:
    points = _corners(polygon)
    mask = _sampled(points, height, width)
    x, y = points.T
    area = abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    half_outline = float(np.hypot(*(points - np.roll(points, -1, axis=0)).T).sum()) / 2
    if area < half_outline:  # mean thickness under one pixel
        outline = np.zeros((height, width), np.uint8)
        cv2.polylines(outline, [np.floor(points).astype(np.int32)], True, 1)
        mask |= outline.astype(bool)
    return mask


def _depths(rles: list[dict[str, Any]]) -> list[int]:
    """For each part, in how many larger parts it lies wholly."""
    areas = [int(a) for a in coco_mask.area(rles)]
    boxes = coco_mask.toBbox(rles)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    depths = [0] * len(rles)
    for i, own in enumerate(areas):
        around = (low <= low[i]).all(1) & (high >= high[i]).all(1)
        for j in np.flatnonzero(around):
            if own and areas[j] > own:
                depths[i] += int(coco_mask.area(coco_mask.merge([rles[i], rles[j]], intersect=True))) == own
    return depths
