"""What every network returns, whatever its architecture, and what a network may be told of the truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor


@dataclass(slots=True)
class Output:
    """One forward pass; absent heads are None. Every tensor has the image as its first dimension.

    Attributes:
        mask_logits: `(N, 1 + classes, h, w)`, background first, at any stride. Softmax over dimension 1 gives
            probabilities.
        detections: raw detections per level, decoded by the model's own `decode`.
        image_logit: `(N,)`, logit of "this part is defective".
        auxiliary: further mask logits by name (deep supervision), same layout as `mask_logits`.
    """

    mask_logits: Tensor | None = None
    detections: list[Tensor] | None = None
    image_logit: Tensor | None = None
    auxiliary: dict[str, Tensor] = field(default_factory=dict)


@dataclass(slots=True)
class Boxes:
    """What a model's `decode` finds in one image, before non-maximum suppression.

    Attributes:
        boxes: `(M, 4)` float32 `xyxy` in network pixels.
        scores: `(M,)` float32 in 0..1.
        labels: `(M,)` int64, class index 1..K.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Targets(Protocol):
    """The truth as a model's own `losses(output, targets)` sees it (`loading.Batch` has it).

    Attributes:
        images: `(N, C, H, W)`, the network's input.
        boxes: per image `(M, 4)` float32 `xyxy` in network pixels.
        box_labels: per image `(M,)` int64, class index 1..K.
        known_boxes: `(N, 1 + classes)` bool, for which classes an image's boxes are complete (column 0 unused). What
            is not known teaches nothing: neither that an object is there nor that none is.
    """

    images: Tensor
    boxes: list[Tensor]
    box_labels: list[Tensor]
    known_boxes: Tensor


def two_class(logit: Tensor) -> Tensor:
    """Turn a one-channel logit `(N, 1, h, w)` into `[0, z]`: the softmax of that is sigmoid(z)."""
    return torch.cat([torch.zeros_like(logit), logit], dim=1)
