"""The boxes that are true of a sample: its own objects, or the components of its mask where it has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectctl.dataset.types import Dataset, Sample
from defectctl.imaging.components import Component, find_components

LEAST_SHARE, LEAST_SIDE = 0.25, 2.0
"""What must remain of a box that an edge cuts: this share of its area, and this many pixels along each side."""


@dataclass(frozen=True, slots=True)
class BoxTruth:
    """The known boxes of one image.

    Attributes:
        boxes: `(M, 4)` float32 `xyxy`, image pixels.
        labels: `(M,)` int64 class indices 1..K.
        crowd: `(M,)` bool, regions of many defects: neither to be found nor to be blamed.
        known: classes for which the boxes are complete, ascending; of another class nobody knows.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    known: tuple[int, ...]


def box_truth(
    dataset: Dataset,
    sample: Sample,
    mask: NDArray[np.uint8] | None,
    min_area: int = 0,
    components: Sequence[Component] | None = None,
) -> BoxTruth:
    """Tell the boxes of a sample, class by class.

    Objects speak for the classes of `known.boxes`. For the other classes of which the mask speaks, its 8-connected
    components do (also those that touch unknown pixels). A class of neither is not known.

    Args:
        mask: `(H, W)` uint8, or None where there is none or it is not wanted.
        min_area: components of fewer pixels are no boxes; objects always are.
        components: those of `mask`, where the caller has them already.
    """
    known = dataset.known(sample)
    by_objects = set(known.boxes)
    by_mask = set(known.mask) - by_objects if mask is not None else set()
    found = [(thing.box, thing.label, thing.crowd) for thing in sample.objects if thing.label in by_objects]
    if by_mask:
        patches = components if components is not None else find_components(mask)[1]
        found += [(p.box, p.label, False) for p in patches if p.label in by_mask and p.area >= min_area]
    return BoxTruth(
        np.array([box for box, _, _ in found], np.float32).reshape(-1, 4),
        np.array([label for _, label, _ in found], np.int64),
        np.array([crowd for _, _, crowd in found], bool),
        tuple(sorted(by_objects | by_mask)),
    )


def boxes_need_mask(dataset: Dataset, sample: Sample) -> bool:
    """Whether the mask tells boxes that no object does, so that it must be opened for them."""
    known = dataset.known(sample)
    return bool(set(known.mask) - set(known.boxes))


def clip_boxes(
    boxes: NDArray[np.float32], limits: tuple[float, float, float, float]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Clip boxes to a window, and tell which are still worth learning.

    Args:
        boxes: `(M, 4)` `xyxy`.
        limits: the window, `xyxy`.

    Returns:
        `(boxes, kept)`: all `M` clipped boxes, and `(M,)` bool, false where less than a quarter of the area or under
        2 pixels of a side remain. A box that no edge cuts is kept, however small.
    """
    low, high = np.array(limits[:2] * 2, np.float32), np.array(limits[2:] * 2, np.float32)
    clipped = np.clip(boxes, low, high)
    sides, rest = boxes[:, 2:] - boxes[:, :2], clipped[:, 2:] - clipped[:, :2]
    whole = (np.abs(sides - rest) <= 1e-3).all(axis=1) & (rest > 0).all(axis=1)
    enough = (rest.prod(axis=1) >= LEAST_SHARE * sides.prod(axis=1)) & (rest >= LEAST_SIDE).all(axis=1)
    return clipped, whole | enough
