"""From what was found in a picture to instances, boxes, an image score and a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from defectctl.dataset.types import Box
from defectctl.imaging.components import Component, find_components

if TYPE_CHECKING:
    from defectctl.inference.detections import FoundBoxes
    from defectctl.inference.maps import Maps


@dataclass(frozen=True, slots=True)
class Instance:
    """One defect found: a connected component of the class map.

    Attributes:
        label: class index, 1..K.
        score: mean defect probability of its pixels, 0..1.
        box: `xyxy` in the image's own pixels, half-open.
        area: pixels.
    """

    label: int
    score: float
    box: Box
    area: int


@dataclass(frozen=True, slots=True)
class Detection:
    """One box found by a model that detects.

    Attributes:
        label: class index, 1..K.
        score: 0..1.
        box: `xyxy` in the image's own pixels, half-open.
    """

    label: int
    score: float
    box: Box


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A class map without its small components.

    Attributes:
        class_map: `(H, W)` uint8.
        instances: the components that are left, in the order of `find_components`.
        removed: how many components were smaller than the minimum area.
        components: id map `(H, W)` int32 of all components found, and those of them that are left.
    """

    class_map: np.ndarray
    instances: list[Instance]
    removed: int
    components: tuple[np.ndarray, list[Component]] | None = None


def clean(class_map: np.ndarray, defect: np.ndarray, min_area: int = 0) -> Cleaned:
    """Find the components of a class map `(H, W)` uint8 and turn those below `min_area` pixels into background.

    Args:
        defect: `(H, W)` uint8, 255 * (1 - P(background)).
    """
    ids, components = find_components(class_map)
    if not components:
        return Cleaned(class_map, [], 0, (ids, []))
    left, top, width, height = cv2.boundingRect(class_map)  # the rest is background, mostly nearly all of the image
    window = slice(top, top + height), slice(left, left + width)
    own = ids[window]
    found = own > 0
    sums = np.bincount(own[found], weights=defect[window][found], minlength=len(components) + 1).tolist()
    kept = [c for c in components if c.area >= min_area]
    instances = [Instance(c.label, sums[c.index] / (255 * c.area), c.box, c.area) for c in kept]
    if len(kept) < len(components):
        drop = np.zeros(len(components) + 1, bool)
        drop[[c.index for c in components if c.area < min_area]] = True
        class_map = class_map.copy()
        class_map[window][drop[own]] = 0
    return Cleaned(class_map, instances, len(components) - len(kept), (ids, kept))


def clean_map(class_map: np.ndarray, min_area: int) -> np.ndarray:
    """The class map with components below `min_area` pixels turned into background; the input is left as it is."""
    return clean(class_map, np.zeros_like(class_map), min_area).class_map


def detections(found: FoundBoxes | None, box_score: float) -> list[Detection]:
    """The boxes of at least `box_score`, best first; none where the model detects none."""
    if found is None:
        return []
    said = found.above(box_score)
    columns = zip(said.labels.tolist(), said.scores.tolist(), said.boxes.tolist(), strict=True)
    return [Detection(label, score, tuple(box)) for label, score, box in columns]


def image_score(maps: Maps, instances: list[Instance], box_score: float = 0.0) -> float:
    """How sure the model is that the part is defective, 0..1; 0 where nothing is found.

    The probability of its decision where it has one; else the largest mean defect probability of any instance or, where
    it is higher, the highest score of a box. Of a model that segments as well only boxes of at least `box_score`
    count: what it reports as a defect stops the part, however it was found.
    """
    if maps.probability is not None:
        return maps.probability
    by_masks = max((instance.score for instance in instances), default=0.0)
    if maps.boxes is None:
        return by_masks
    by_boxes = float(maps.boxes.scores.max(initial=0.0))
    return max(by_masks, by_boxes if by_boxes >= box_score or not maps.has_mask else 0.0)


def verdict(score: float, thresholds: Mapping[str, float]) -> str:
    """Decide `OK`, `NG` or `UNSURE`.

    Args:
        thresholds: without `ng`: NG if anything is found. `ng`: NG from this image score on. `ok` beside it: a score
            from `ok` up to `ng` is UNSURE.
    """
    if "ng" not in thresholds:
        return "NG" if score > 0 else "OK"
    if score >= thresholds["ng"]:
        return "NG"
    return "UNSURE" if score >= thresholds.get("ok", thresholds["ng"]) else "OK"
