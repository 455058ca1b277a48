"""The Prediction: everything that was found in one image, in that image's own pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from defectctl.inference.postprocess import Detection, Instance

VERDICTS = ("OK", "NG", "UNSURE", "UNREADABLE")


@dataclass(slots=True)
class Prediction:
    """One image's result.

    Attributes:
        file: the image's path below the common folder of all inputs, POSIX.
        verdict: one of `VERDICTS`.
        width, height: pixels after EXIF orientation; None where the image is unreadable.
        class_map: `(H, W)` uint8, small components already background; None where unreadable.
        defect: `(H, W)` uint8, 255 * (1 - P(background)); None where unreadable.
        instances: the defects that are left in the class map.
        boxes: the boxes that a model found which detects, best first; None where it detects none.
        probability: that the part is defective, by a model that decides; else None.
        score: image score, 0..1; None where unreadable.
        removed: components that were smaller than the minimum area.
        reason: why the image is unreadable, else None.
        outlines: COCO run-length of each of `instances`, where they are wanted; else None.
    """

    file: str
    verdict: str
    width: int | None = None
    height: int | None = None
    class_map: np.ndarray | None = None
    defect: np.ndarray | None = None
    instances: list[Instance] = field(default_factory=list)
    score: float | None = None
    removed: int = 0
    boxes: list[Detection] | None = None
    probability: float | None = None
    reason: str | None = None
    outlines: list[dict[str, Any]] | None = None

    def to_row(self, class_names: list[str]) -> dict[str, Any]:
        """The part of a `predictions.jsonl` row that speaks of the image."""
        row: dict[str, Any] = {
            "file": self.file,
            "width": self.width,
            "height": self.height,
            "verdict": self.verdict,
            "score": None if self.score is None else round(self.score, 6),
            "defects": [
                {
                    "class": class_names[i.label - 1],
                    "score": round(i.score, 6),
                    "box": [round(edge, 2) for edge in i.box],
                    "area": i.area,
                }
                for i in self.instances
            ],
            "removed_small": self.removed,
        }
        if self.outlines is not None:
            for defect, outline in zip(row["defects"], self.outlines, strict=True):
                defect["rle"] = outline
        if self.boxes is not None:
            row["boxes"] = [
                {
                    "class": class_names[found.label - 1],
                    "score": round(found.score, 6),
                    "box": [round(edge, 2) for edge in found.box],
                }
                for found in self.boxes
            ]
        if self.probability is not None:
            row["probability"] = round(self.probability, 6)
        return row if self.reason is None else {**row, "reason": self.reason}
