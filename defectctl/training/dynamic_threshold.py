"""The dynamic threshold: how much a defect pixel counts, by the size of the defects in the latest batches."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from torch import Tensor

from defectctl.imaging.components import UNKNOWN

MIDDLE, REACH = 0.5, 0.2
"""Where the threshold starts, and how far it goes to either side."""
MEMORY = 0.5
"""Share of the old threshold in the new one."""


class DynamicThreshold:
    """The probability above which a pixel should count as defect: lower for small defects, higher for large ones.

    SME-DeepLabV3+ (PLoS ONE 20(8), 2025) claims a "dynamic threshold adjustment" without a formula. In this reading,
    with log a the mean of the log areas of a batch's defects, t moves by an exponential average towards
    `0.5 + 0.2 tanh(log a - log reference)`, so it stays within 0.3..0.7. A threshold t on a calibrated probability is
    the same as weighing a missed defect pixel (1-t)/t times a false alarm (Elkan, "The foundations of cost-sensitive
    learning", 2001): training applies that weight, and the decision stays at the largest probability.

    Args:
        reference: geometric mean of the training part's defect areas, as shares of the network's input.

    Attributes:
        value: t.
        defects: 8-connected components of defect classes in the latest batch.
        log_area: mean of the natural logarithms of their areas as shares of the input; None where there were none.
    """

    def __init__(self, reference: float) -> None:
        self.reference = reference
        self.value = MIDDLE
        self.defects = 0
        self.log_area: float | None = None

    def observe(self, masks: Tensor) -> None:
        """Take in a training batch; one without defects leaves the threshold as it is.

        Args:
            masks: `(N, H, W)` uint8, 0 background, 255 unknown.
        """
        areas = np.concatenate([_component_areas(mask) for mask in masks.cpu().numpy()])
        self.defects = len(areas)
        self.log_area = float(np.log(areas / masks[0].numel()).mean()) if len(areas) else None
        if self.log_area is not None:
            aim = MIDDLE + REACH * math.tanh(self.log_area - math.log(self.reference))
            self.value = MEMORY * self.value + (1 - MEMORY) * aim

    @property
    def defect_weight(self) -> float:
        """How many times as much as a background pixel a defect pixel counts: (1-t)/t, 0.43..2.33."""
        return (1 - self.value) / self.value

    def numbers(self) -> dict[str, float | None]:
        """For the training's log: the threshold, and the latest batch's count and mean log area of defects."""
        return {"threshold": self.value, "defects": self.defects, "log_area": self.log_area}

    def state(self) -> dict[str, Any]:
        """As kept in `state.pt`."""
        return {"value": self.value, "defects": self.defects, "log_area": self.log_area}

    def load(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        self.value, self.defects, self.log_area = state["value"], state["defects"], state["log_area"]


def _component_areas(mask: np.ndarray) -> np.ndarray:
    """Areas in pixels of the components that `find_components` lists, without its id map: this is done every update."""
    present = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[1:UNKNOWN]) + 1
    found = [
        cv2.connectedComponentsWithStats((mask == label).view(np.uint8), connectivity=8, ltype=cv2.CV_32S)[2]
        for label in present.tolist()
    ]
    return np.concatenate([np.zeros(0, np.int64), *(stats[1:, cv2.CC_STAT_AREA] for stats in found)])
