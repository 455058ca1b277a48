"""What a model says of a single image once more, to be drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from defectctl.dataset.types import Box


@dataclass(frozen=True, slots=True)
class Shown:
    """One image's prediction; None where the model does not deliver it.

    Attributes:
        class_map: `(H, W)` uint8.
        defect: `(H, W)` uint8, 255 * (1 - P(background)).
        boxes: class index, `xyxy` box and score of those that are reported.
    """

    class_map: np.ndarray | None
    defect: np.ndarray | None = None
    boxes: list[tuple[int, Box, float]] | None = None
