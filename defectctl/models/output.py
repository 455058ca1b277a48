"""What every network returns, whatever its architecture."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(slots=True)
class Output:
    """One forward pass; absent heads are None.

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


def two_class(logit: Tensor) -> Tensor:
    """Turn a one-channel logit `(N, 1, h, w)` into `[0, z]`: the softmax of that is sigmoid(z)."""
    return torch.cat([torch.zeros_like(logit), logit], dim=1)
