"""From a model's raw boxes in network pixels to the few that are found in the picture, in the picture's own pixels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from defectctl.imaging.boxes import nms
from defectctl.imaging.geometry import Geometry
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


def candidates(found: Boxes, geometry: Geometry) -> FoundBoxes:
    """Bring one network input's raw boxes to image pixels.

    Clipped to what the input shows of the image; boxes below `SCORE_FLOOR`, outside the image or with numbers that are
    not finite are dropped.
    """
    enough = found.scores >= SCORE_FLOOR
    corners = found.boxes[enough].float().cpu().numpy()
    scores = found.scores[enough].float().cpu().numpy()
    labels = found.labels[enough].cpu().numpy().astype(np.int64)
    corners = geometry.to_image(corners)
    with np.errstate(invalid="ignore"):
        whole = np.isfinite(corners).all(axis=1) & (corners[:, 2:] > corners[:, :2]).all(axis=1)
    return FoundBoxes(corners[whole], scores[whole], labels[whole])


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


def in_float32(found: list[torch.Tensor]) -> list[torch.Tensor]:
    """Raw detections in float32: bfloat16 has too few digits for the edges of a box."""
    return [level.float() for level in found]
