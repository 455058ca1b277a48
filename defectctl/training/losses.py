"""The registry of losses on mask logits, and their weighted sum; pixels and classes that nobody knows are left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from defectctl.dataset.types import UNKNOWN
from defectctl.errors import InputError
from defectctl.loading.batch import Batch
from defectctl.models.output import Output
from defectctl.training.loss_names import AUXILIARY

NEVER = -1e4
"""Stands for minus infinity as a logit: its probability is 0 in float32, and its gradient is 0, not NaN."""


@dataclass(frozen=True, slots=True)
class PixelTruth:
    """The truth of a batch, ready for the losses.

    Attributes:
        target: `(N, H, W)` int64 class index; 0 where `valid` is false.
        valid: `(N, H, W)` bool, pixels whose class is known.
        known: `(N, 1 + classes)` bool, classes for which each mask speaks.
    """

    target: Tensor
    valid: Tensor
    known: Tensor

    @classmethod
    def of(cls, batch: Batch) -> PixelTruth:
        """The truth of a batch; a pixel marked with a class that its mask does not speak of is unknown."""
        raw = batch.masks.long()
        marked = raw != UNKNOWN
        index = torch.where(marked, raw, 0)
        spoken = torch.gather(batch.known, 1, index.flatten(1)).view_as(index)
        valid = marked & spoken & batch.known[:, :1, None]
        return cls(torch.where(valid, index, 0), valid, batch.known)


def merge_unknown(logits: Tensor, known: Tensor) -> Tensor:
    """Merge the classes that a mask does not speak of with its background.

    Background in such a mask means "none of the known classes", so its probability is that of background or any
    unknown class: the logits' log-sum-exp.

    Args:
        logits: `(N, 1 + classes, H, W)`.
        known: `(N, 1 + classes)` bool.
    """
    if bool(known[:, 1:].all()):
        return logits
    silent = ~known[:, :, None, None]
    silent = torch.cat([torch.zeros_like(silent[:, :1]), silent[:, 1:]], dim=1)
    group = silent.clone()
    group[:, 0] = True
    background = torch.logsumexp(logits.masked_fill(~group, NEVER), dim=1, keepdim=True)
    return torch.cat([background, logits[:, 1:].masked_fill(silent[:, 1:], NEVER)], dim=1)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean that is 0 where all weights are 0, so that a batch without any truth teaches nothing."""
    return (values * weights).sum() / weights.sum().clamp_min(1e-12)


def cross_entropy(logits: Tensor, truth: PixelTruth, class_weights: Tensor | None) -> Tensor:
    """Cross-entropy, the mean over known pixels (weighted by the class weights, as in torch)."""
    values = F.cross_entropy(merge_unknown(logits, truth.known), truth.target, reduction="none")
    weights = truth.valid.to(values.dtype)
    return _mean(values, weights if class_weights is None else weights * class_weights[truth.target])


def focal(
    logits: Tensor, truth: PixelTruth, class_weights: Tensor | None, alpha: float = 0.5, gamma: float = 2.0
) -> Tensor:
    """Focal loss `-alpha (1-p)^gamma log p`, the mean over known pixels (Lin et al., 2017, eq. 5, softmax form).

    Class weights multiply the logarithm; the mean is over pixels, not over weights.
    """
    values = F.cross_entropy(merge_unknown(logits, truth.known), truth.target, reduction="none")
    # 1 - p through expm1: exact where p is close to 1, and differentiable there for gamma < 1 as well.
    values = alpha * (-torch.expm1(-values)).clamp_min(1e-12) ** gamma * values
    if class_weights is not None:
        values = values * class_weights[truth.target]
    return _mean(values, truth.valid.to(values.dtype))


def dice(
    logits: Tensor, truth: PixelTruth, class_weights: Tensor | None, eps: float = 1e-5, background: bool = True
) -> Tensor:
    """Dice loss `1 - mean_c (2TP + eps) / (2TP + FP + FN + eps)`, sums over the whole batch, softmax probabilities.

    A class counts in the images whose mask speaks of it; a class that no mask speaks of is left out of the mean.

    Args:
        background: whether background is one of the classes c.
    """
    probability = torch.softmax(merge_unknown(logits, truth.known), dim=1)
    target = F.one_hot(truth.target, logits.shape[1]).movedim(3, 1)
    counted = (truth.valid[:, None] & truth.known[:, :, None, None]).to(probability.dtype)
    probability, target = probability * counted, target * counted
    overlap = 2 * (probability * target).sum(dim=(0, 2, 3))
    score = (overlap + eps) / ((probability + target).sum(dim=(0, 2, 3)) + eps)
    weights = (counted.amax(dim=(0, 2, 3)) > 0).to(score.dtype)
    if not background:
        weights = torch.cat([torch.zeros_like(weights[:1]), weights[1:]])
    return _mean(1 - score, weights if class_weights is None else weights * class_weights)


LossFunction = Callable[..., Tensor]

LOSSES: dict[str, LossFunction] = {"ce": cross_entropy, "focal": focal, "dice": dice}
"""Name in a preset -> `f(logits, truth, class_weights, **options) -> scalar`, logits float32 at the mask's size."""


class Criterion:
    """The weighted sum of a preset's losses.

    Args:
        options: per loss its keyword options, e.g. `{"focal": {"gamma": 2}}`, checked by `loss_names`.
        class_weights: one weight per class, background first; None weighs all alike.
        classes: number of defect classes.

    Raises:
        InputError: a wrong number of class weights.
    """

    def __init__(
        self, options: Mapping[str, Mapping[str, Any]], class_weights: Sequence[float] | None, classes: int
    ) -> None:
        if class_weights is not None and len(class_weights) != 1 + classes:
            raise InputError(
                f"train.class_weights has {len(class_weights)} numbers, but background and {classes} classes "
                f"need {1 + classes}"
            )
        self._class_weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self._terms = {name: partial(loss, **options.get(name, {})) for name, loss in LOSSES.items()}

    def __call__(self, output: Output, batch: Batch, weights: Mapping[str, float]) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum and each unweighted term (detached), float32 scalars on the batch's device.

        Terms of weight 0 are not computed.
        """
        size = (batch.masks.shape[1], batch.masks.shape[2])
        truth = PixelTruth.of(batch)
        main = _at_size(output.mask_logits, size) if output.mask_logits is not None else None
        auxiliary = [_at_size(logits, size) for logits in output.auxiliary.values()]
        stored = self._class_weights
        class_weights = None if stored is None else stored.to(batch.masks.device)
        total = torch.zeros((), device=batch.masks.device)
        parts: dict[str, Tensor] = {}
        for name, weight in weights.items():
            if weight == 0:
                continue
            levels = auxiliary if name.startswith(AUXILIARY) else [main]
            if not levels or levels[0] is None:
                raise InputError(f"the loss '{name}' cannot be used: this model returns no logits for it")
            term = self._terms[name.removeprefix(AUXILIARY)]
            value = torch.stack([term(logits, truth, class_weights) for logits in levels]).mean()
            total = total + weight * value
            parts[name] = value.detach()
        return total, parts


def _at_size(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits in float32, contiguous, enlarged bilinearly (corners not aligned) to the mask's size."""
    logits = logits.float()
    if logits.shape[2:] == size:
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
