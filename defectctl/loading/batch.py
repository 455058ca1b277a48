"""The Batch: what a training step is given, all of it on the device."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from defectctl.imaging.geometry import Geometry


@dataclass(slots=True)
class Batch:
    """Images with their truth and what is known of it.

    Attributes:
        images: `(N, C, H, W)` float32, normalised, C = 1 or 3.
        masks: `(N, H, W)` uint8, class index, 0 background, 255 unknown (padding too).
        known: `(N, 1 + classes)` bool; column 0 is true where any class is known by the mask.
        labels: `(N,)` int64: 1 defective, 0 good, -1 unknown.
        boxes: per image `(M, 4)` float32, network pixels `xyxy`.
        box_labels: per image `(M,)` int64, class index 1..K.
        known_boxes: `(N, 1 + classes)` bool, which classes the boxes speak of (column 0 unused).
        ids: sample ids.
        geometries: one per image.
    """

    images: Tensor
    masks: Tensor
    known: Tensor
    labels: Tensor
    boxes: list[Tensor]
    box_labels: list[Tensor]
    known_boxes: Tensor
    ids: list[str]
    geometries: list[Geometry]

    def __len__(self) -> int:
        return self.images.shape[0]

    def part(self, start: int, stop: int) -> Batch:
        """Samples `start` to `stop` as a batch of their own (views, no copies): a micro-batch."""
        cut = slice(start, stop)
        return replace(
            self,
            images=self.images[cut],
            masks=self.masks[cut],
            known=self.known[cut],
            labels=self.labels[cut],
            boxes=self.boxes[cut],
            box_labels=self.box_labels[cut],
            known_boxes=self.known_boxes[cut],
            ids=self.ids[cut],
            geometries=self.geometries[cut],
        )
