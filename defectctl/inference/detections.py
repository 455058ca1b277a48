"""From a model's raw boxes in network pixels to the few that are found in the picture, in the picture's own pixels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from defectctl.imaging.boxes import nms
from defectctl.imaging.geometry import Geometry

if TYPE_CHECKING:
    from torch import Tensor

    from defectctl.models.output import Boxes

SCORE_FLOOR = 0.001
"""Boxes of lower scores are dropped: they cost time and move average precision by nothing that can be seen."""

MOST_BOXES = 300
"""Boxes kept in one picture, best first."""


@dataclass(slots=True)
class FoundBoxes:
    """The boxes found in one picture, best first.

    Attributes:
        boxes: `(M, 4)` float32 `xyxy`, image pixels, inside the image.
        scores: `(M,)` float32, 0..1, falling.
        labels: `(M,)` int64, class index 1..K.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, score: float) -> FoundBoxes:
        """The boxes of at least this score."""
        enough = self.scores >= score
        return FoundBoxes(self.boxes[enough], self.scores[enough], self.labels[enough])


def as_array(values: Tensor | np.ndarray) -> np.ndarray:
    """A tensor of any device as an array, floats as float32 (numpy has no bfloat16); an array as it is."""
    if isinstance(values, np.ndarray):
        return values
    return (values.float() if values.is_floating_point() else values).cpu().numpy()


def candidates(found: Boxes | FoundBoxes, geometry: Geometry) -> FoundBoxes:
    """Bring one network input's raw boxes, in network pixels, to image pixels.

    Clipped to what the input shows of the image; boxes below `SCORE_FLOOR`, outside the image or with numbers that are
    not finite are dropped.
    """
    enough = found.scores >= SCORE_FLOOR
    corners, scores, labels = (as_array(values[enough]) for values in (found.boxes, found.scores, found.labels))
    corners = geometry.to_image(corners)
    with np.errstate(invalid="ignore"):
        whole = np.isfinite(corners).all(axis=1) & (corners[:, 2:] > corners[:, :2]).all(axis=1)
    return FoundBoxes(corners[whole], scores[whole], labels[whole].astype(np.int64))


def choose(parts: Iterable[FoundBoxes], overlap: float) -> FoundBoxes:
    """Join the candidates of one picture (of all its tiles) and keep the best of those that overlap.

    Class by class, of two boxes whose intersection over union is above `overlap` the lower-scored one is dropped; at
    most `MOST_BOXES` are kept.
    """
    listed = list(parts)
    boxes, scores, labels = (
        np.concatenate([getattr(part, name) for part in listed]) for name in ("boxes", "scores", "labels")
    )
    kept = nms(boxes, scores, overlap, labels, MOST_BOXES)
    return FoundBoxes(boxes[kept], scores[kept], labels[kept])
