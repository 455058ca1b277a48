"""The weighted sum of a preset's losses: on pixels, on whole images, and those that a model computes itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from defectctl.errors import InputError
from defectctl.loading.batch import Batch
from defectctl.models.output import Output
from defectctl.training.dynamic_threshold import DynamicThreshold
from defectctl.training.image_losses import IMAGE_LOSSES
from defectctl.training.loss_names import AUXILIARY, PIXEL_WEIGHTED
from defectctl.training.pixel_losses import PIXEL_LOSSES, PixelTruth

OwnLosses = Callable[[Output, Batch], Mapping[str, Tensor]]
"""A model's `losses(output, targets)`: a float32 scalar by name."""


class Criterion:
    """The weighted sum of a preset's losses.

    Args:
        options: per loss its keyword options, e.g. `{"focal": {"gamma": 2}}`, checked by `loss_names`.
        class_weights: one weight per class, background first; None weighs all alike.
        classes: number of defect classes.
        own: the model's own losses, or None.
        own_names: what they are called.
        threshold: weighs defect pixels in the losses of `PIXEL_WEIGHTED`; whoever trains shows it the batches.

    Raises:
        InputError: a wrong number of class weights.
    """

    def __init__(
        self,
        options: Mapping[str, Mapping[str, Any]],
        class_weights: Sequence[float] | None,
        classes: int,
        own: OwnLosses | None = None,
        own_names: Sequence[str] = (),
        threshold: DynamicThreshold | None = None,
    ) -> None:
        if class_weights is not None and len(class_weights) != 1 + classes:
            raise InputError(
                f"train.class_weights has {len(class_weights)} numbers, but background and {classes} classes "
                f"need {1 + classes}"
            )
        self._class_weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self._classes = classes
        self._pixel = {name: partial(loss, **options.get(name, {})) for name, loss in PIXEL_LOSSES.items()}
        self._image = {name: partial(loss, **options.get(name, {})) for name, loss in IMAGE_LOSSES.items()}
        self._own, self._own_names, self._threshold = own, frozenset(own_names), threshold

    def __call__(self, output: Output, batch: Batch, weights: Mapping[str, float]) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum and each unweighted term (detached), float32 scalars on the batch's device.

        Terms of weight 0 are not computed.

        Raises:
            InputError: a loss needs an output that this model does not have.
        """
        with torch.autocast(batch.masks.device.type, enabled=False):
            terms = self._terms(output, batch, [name for name, weight in weights.items() if weight != 0])
        total = torch.zeros((), device=batch.masks.device)
        for name, value in terms.items():
            total = total + weights[name] * value
        return total, {name: value.detach() for name, value in terms.items()}

    def _terms(self, output: Output, batch: Batch, names: Sequence[str]) -> dict[str, Tensor]:
        pixel = [name for name in names if name.removeprefix(AUXILIARY) in self._pixel]
        found = self._pixel_terms(output, batch, pixel) if pixel else {}
        found |= {name: self._image[name](output, batch.labels) for name in names if name in self._image}
        if any(name in self._own_names for name in names):
            if self._own is None:
                wanted = ", ".join(sorted(self._own_names.intersection(names)))
                raise InputError(f"the loss '{wanted}' cannot be used: this model does not compute it")
            found |= {name: value.float() for name, value in self._own(output, batch).items() if name in names}
        return {name: found[name] for name in names}

    def _pixel_terms(self, output: Output, batch: Batch, names: Sequence[str]) -> dict[str, Tensor]:
        size = (batch.masks.shape[1], batch.masks.shape[2])
        truth = PixelTruth.of(batch)
        main, auxiliary = [], []
        if output.mask_logits is not None and not all(name.startswith(AUXILIARY) for name in names):
            main = [_at_size(output.mask_logits, size)]
        if any(name.startswith(AUXILIARY) for name in names):
            auxiliary = [_at_size(logits, size) for logits in output.auxiliary.values()]
        found: dict[str, Tensor] = {}
        for name in names:
            levels = auxiliary if name.startswith(AUXILIARY) else main
            if not levels:
                raise InputError(f"the loss '{name}' cannot be used: this model returns no logits for it")
            kind = name.removeprefix(AUXILIARY)
            class_weights = self._weights_for(kind, batch.masks.device)
            values = [self._pixel[kind](logits, truth, class_weights) for logits in levels]
            found[name] = torch.stack(values).mean()
        return found

    def _weights_for(self, kind: str, device: torch.device) -> Tensor | None:
        """The class weights `(1 + classes,)`, those of the defects times the dynamic threshold's weight."""
        if self._class_weights is not None and self._class_weights.device != device:
            self._class_weights = self._class_weights.to(device)
        if self._threshold is None or kind not in PIXEL_WEIGHTED:
            return self._class_weights
        factors = torch.full((1 + self._classes,), self._threshold.defect_weight, device=device)
        factors[0] = 1.0
        return factors if self._class_weights is None else factors * self._class_weights


def _at_size(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits in float32, contiguous, enlarged bilinearly (corners not aligned) to the mask's size."""
    logits = logits.float()
    if logits.shape[2:] == size:
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
