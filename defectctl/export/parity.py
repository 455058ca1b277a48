"""Holds an exported network against the one it was made from, picture by picture, in what users see of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from defectctl.imaging.boxes import box_iou
from defectctl.inference.base_runner import Runner
from defectctl.inference.detections import FoundBoxes
from defectctl.inference.maps import Maps

LEAST_SAME_PIXELS = 0.999
"""Share of all pixels that must be of the same class."""
LEAST_DEFECT_IOU = 0.99
"""Least intersection over union of the two defect masks, all pictures together."""
LARGEST_CHANCE_GAP = 1e-3
"""Largest difference between the two probabilities that a part is defective."""
LEAST_SAME_BOXES = 0.99
"""Share of the boxes of both sides that must have their like on the other."""
BOX_FLOOR = 0.1
"""Share of the model's `predict.box_score` below which boxes are not held to it: which of many unlikely ones that
overlap is kept hangs on the last digit."""
SAME_IOU, SAME_SCORE = 0.95, 0.01
"""A like box has the same class, at least this intersection over union and at most this difference in score."""

TOGETHER = 4
"""Pictures that are predicted at once."""


@dataclass(slots=True)
class Parity:
    """How far two networks agree; what the model does not deliver is None.

    Attributes:
        images: pictures that were compared.
        same_pixels: share of pixels of the same class, 0..1.
        defect_iou: intersection over union of the two defect masks; None where neither shows a defect.
        defect_share: share of pixels that the first calls a defect.
        chance_gap: largest difference between the probabilities that a part is defective.
        boxes: boxes that the two found together, of at least a tenth of the score from which one is reported.
        same_boxes: share of these that have their like on the other side; None where there are none.
    """

    images: int
    same_pixels: float | None = None
    defect_iou: float | None = None
    defect_share: float | None = None
    chance_gap: float | None = None
    boxes: int | None = None
    same_boxes: float | None = None

    def problems(self) -> list[str]:
        """In what they disagree more than is allowed; empty: in nothing."""
        found = []
        if self.same_pixels is not None and self.same_pixels < LEAST_SAME_PIXELS:
            found.append(f"{self.same_pixels:.4%} of the pixels are of the same class ({LEAST_SAME_PIXELS:.1%} needed)")
        if self.defect_iou is not None and self.defect_iou < LEAST_DEFECT_IOU:
            found.append(f"the defect masks overlap by {self.defect_iou:.4f} ({LEAST_DEFECT_IOU} needed)")
        if self.chance_gap is not None and not self.chance_gap <= LARGEST_CHANCE_GAP:
            found.append(f"probabilities differ by {self.chance_gap:.4f} ({LARGEST_CHANCE_GAP} allowed)")
        if self.same_boxes is not None and self.same_boxes < LEAST_SAME_BOXES:
            found.append(f"{self.same_boxes:.2%} of the boxes have their like ({LEAST_SAME_BOXES:.0%} needed)")
        return found

    def to_dict(self) -> dict[str, Any]:
        """As plain values, without what the model does not deliver."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def compare(
    first: Runner,
    second: Runner,
    pictures: Sequence[np.ndarray],
    progress: Callable[[int], None] | None = None,
) -> Parity:
    """Predict pictures with both and compare masks, probabilities and boxes.

    Args:
        progress: called with the number of pictures done since the last call.
    """
    count = _Count()
    for start in range(0, len(pictures), TOGETHER):
        some = list(pictures[start : start + TOGETHER])
        for one, other in zip(first.maps(some), second.maps(some), strict=True):
            count.add(one, other, BOX_FLOOR * first.predict.box_score)
        if progress is not None:
            progress(len(some))
    return count.parity(len(pictures))


@dataclass(slots=True)
class _Count:
    """What is counted over all pictures."""

    pixels: int = 0
    same: int = 0
    both: int = 0
    either: int = 0
    defect: int = 0
    gap: float | None = None
    boxes: int | None = None
    like: int = 0

    def add(self, one: Maps, other: Maps, least_score: float) -> None:
        if one.has_mask:
            (a, _), (b, _) = one.arrays(), other.arrays()
            self.pixels += a.size
            self.same += int((a == b).sum())
            self.both += int(((a > 0) & (b > 0)).sum())
            self.either += int(((a > 0) | (b > 0)).sum())
            self.defect += int((a > 0).sum())
        if one.probability is not None and other.probability is not None:
            self.gap = float(np.maximum(abs(one.probability - other.probability), self.gap or 0.0))
        if one.boxes is not None and other.boxes is not None:
            counted, like = _with_their_like(one.boxes, other.boxes, least_score)
            self.boxes, self.like = (self.boxes or 0) + counted, self.like + like

    def parity(self, images: int) -> Parity:
        found = Parity(images, chance_gap=self.gap, boxes=self.boxes)
        if self.pixels:
            found.same_pixels, found.defect_share = self.same / self.pixels, self.defect / self.pixels
        if self.either:
            found.defect_iou = self.both / self.either
        if self.boxes:
            found.same_boxes = self.like / self.boxes
        return found


def _with_their_like(one: FoundBoxes, other: FoundBoxes, least_score: float) -> tuple[int, int]:
    """How many boxes of both sides have at least that score, and how many of these have a like box on the other."""
    like = box_iou(one.boxes, other.boxes) >= SAME_IOU
    like &= one.labels[:, None] == other.labels
    like &= np.abs(one.scores[:, None] - other.scores) <= SAME_SCORE
    told, told_too = one.scores >= least_score, other.scores >= least_score
    found = like.any(axis=1)[told].sum() + like.any(axis=0)[told_too].sum()
    return int(told.sum() + told_too.sum()), int(found)
