"""Losses on mask logits; pixels and classes that nobody knows are left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from defectctl.dataset.types import UNKNOWN
from defectctl.loading.batch import Batch

NEVER = -1e4
"""Stands for minus infinity as a logit: its probability is 0 in float32, and its gradient is 0, not NaN."""


@dataclass(frozen=True, slots=True)
class PixelTruth:
    """The truth of a batch, ready for the losses.

    Attributes:
        target: `(N, H, W)` int64 class index; 0 where `valid` is false.
        valid: `(N, H, W)` bool, pixels whose class is known.
        known: `(N, 1 + classes)` bool, classes for which each mask speaks.
        complete: whether every mask speaks of every class (asked once a batch: each answer waits for a GPU).
    """

    target: Tensor
    valid: Tensor
    known: Tensor
    complete: bool

    @classmethod
    def of(cls, batch: Batch) -> PixelTruth:
        """The truth of a batch; a pixel marked with a class that its mask does not speak of is unknown."""
        raw = batch.masks.long()
        marked = raw != UNKNOWN
        index = torch.where(marked, raw, 0)
        spoken = torch.gather(batch.known, 1, index.flatten(1)).view_as(index)
        valid = marked & spoken & batch.known[:, :1, None]
        return cls(torch.where(valid, index, 0), valid, batch.known, bool(batch.known[:, 1:].all()))

    @property
    def one_hot(self) -> Tensor:
        """`(N, 1 + classes, H, W)` bool, true in the channel of each pixel's class."""
        classes = torch.arange(self.known.shape[1], device=self.target.device)
        return self.target[:, None] == classes[:, None, None]

    @property
    def counted(self) -> Tensor:
        """`(N, 1 + classes, H, W)` bool: the pixel is known and its mask speaks of the channel's class."""
        return self.valid[:, None] & self.known[:, :, None, None]


def merge_unknown(logits: Tensor, truth: PixelTruth) -> Tensor:
    """Merge the classes that a mask does not speak of with its background.

    Background in such a mask means "none of the known classes", so its probability is that of background or any
    unknown class: the logits' log-sum-exp.

    Args:
        logits: `(N, 1 + classes, H, W)`.
        truth: of the same images.
    """
    if truth.complete:
        return logits
    silent = ~truth.known[:, :, None, None]
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
    values = F.cross_entropy(merge_unknown(logits, truth), truth.target, reduction="none")
    weights = truth.valid.to(values.dtype)
    return _mean(values, weights if class_weights is None else weights * class_weights[truth.target])


def focal(
    logits: Tensor, truth: PixelTruth, class_weights: Tensor | None, alpha: float = 0.5, gamma: float = 2.0
) -> Tensor:
    """Focal loss `-alpha (1-p)^gamma log p`, the mean over known pixels (Lin et al., 2017, eq. 5, softmax form).

    Class weights multiply the logarithm; the mean is over pixels, not over weights.
    """
    values = F.cross_entropy(merge_unknown(logits, truth), truth.target, reduction="none")
    # 1 - p through expm1: exact where p is close to 1, and differentiable there for gamma < 1 as well.
    values = alpha * (-torch.expm1(-values)).clamp_min(1e-12) ** gamma * values
    if class_weights is not None:
        values = values * class_weights[truth.target]
    return _mean(values, truth.valid.to(values.dtype))


def binary_cross_entropy(logits: Tensor, truth: PixelTruth, class_weights: Tensor | None) -> Tensor:
    """Binary cross-entropy of every class, background too, each with a sigmoid of its own (Sensors 22:9845, eq. 10).

    The mean over known pixels and over channels. Channels of classes that a mask does not speak of are left out of
    that image, and so is its background then: it means only "none of the known classes". Class weights are those of
    the pixels' true classes, as in `cross_entropy`.
    """
    values = F.binary_cross_entropy_with_logits(logits, truth.one_hot.to(logits.dtype), reduction="none")
    background = truth.known.all(dim=1, keepdim=True)
    channels = torch.cat([background, truth.known[:, 1:]], dim=1)
    weights = (truth.valid[:, None] & channels[:, :, None, None]).to(values.dtype)
    return _mean(values, weights if class_weights is None else weights * class_weights[truth.target][:, None])


def dice(
    logits: Tensor, truth: PixelTruth, class_weights: Tensor | None, eps: float = 1e-5, background: bool = True
) -> Tensor:
    """Dice loss `1 - mean_c (2TP + eps) / (2TP + FP + FN + eps)`, sums over the whole batch, softmax probabilities.

    A class counts in the images whose mask speaks of it; a class that no mask speaks of is left out of the mean.

    Args:
        background: whether background is one of the classes c.
    """
    hits, predicted, present, weights = _overlap(logits, truth, class_weights, background)
    score = (2 * hits + eps) / (predicted + present + eps)
    return _mean(1 - score, weights)


def tversky(
    logits: Tensor,
    truth: PixelTruth,
    class_weights: Tensor | None,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 1.0,
    eps: float = 1e-5,
    background: bool = True,
) -> Tensor:
    """Tversky loss `mean_c (1 - T_c)^(1/gamma)`, `T = (TP + eps) / (TP + alpha FP + beta FN + eps)`.

    Salehi et al., 2017, eq. 3 (alpha weighs false alarms, beta misses), focal form of Abraham & Khan, 2018, eq. 4
    (gamma 4/3 there; 1 is the plain loss). Sums and classes as in `dice`, which is alpha = beta = 0.5.
    """
    hits, predicted, present, weights = _overlap(logits, truth, class_weights, background)
    score = (hits + eps) / (hits + alpha * (predicted - hits) + beta * (present - hits) + eps)
    loss = 1 - score
    if gamma != 1:
        loss = loss.clamp_min(1e-8) ** (1 / gamma)  # the root's slope is infinite at 0
    return _mean(loss, weights)


def _overlap(
    logits: Tensor, truth: PixelTruth, class_weights: Tensor | None, background: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sums over the batch per class `(1 + classes,)`: p*y, p, y, and the weight of the class in a mean."""
    probability = torch.softmax(merge_unknown(logits, truth), dim=1)
    counted = truth.counted
    target = (truth.one_hot & counted).to(probability.dtype)
    probability = probability * counted
    dims = (0, 2, 3)
    weights = counted.any(dim=3).any(dim=2).any(dim=0).to(probability.dtype)
    if not background:
        weights = torch.cat([torch.zeros_like(weights[:1]), weights[1:]])
    if class_weights is not None:
        weights = weights * class_weights
    return (probability * target).sum(dims), probability.sum(dims), target.sum(dims), weights


def lovasz(logits: Tensor, truth: PixelTruth, class_weights: Tensor | None) -> Tensor:
    """Lovász-softmax: the mean over the classes in the batch's truth of the Jaccard loss's convex extension.

    Berman et al., 2018, eq. 11 and algorithm 1, over the pixels of the whole batch. A class counts in the images whose
    mask speaks of it.
    """
    probability = torch.softmax(merge_unknown(logits, truth), dim=1)
    counted = truth.counted
    target = truth.one_hot & counted
    # A pixel that does not count gets error 0: it ends at the tail of the order and adds nothing.
    errors = (target.to(probability.dtype) - probability).abs() * counted
    errors, order = errors.movedim(1, 0).flatten(1).sort(dim=1, descending=True)
    target = target.movedim(1, 0).flatten(1).gather(1, order)
    values = (errors * _jaccard_steps(target).to(errors.dtype)).sum(dim=1)
    weights = target.any(dim=1).to(values.dtype)
    return _mean(values, weights if class_weights is None else weights * class_weights)


def _jaccard_steps(target: Tensor) -> Tensor:
    """By how much each further wrong pixel raises the Jaccard loss: `(C, P)` bool in order of error, to float.

    With I and U intersection and union once the pixel is wrong, a missed pixel takes 1 from I and leaves U, so it
    costs 1 / U; a false alarm adds 1 to U, so it costs I / (U - 1) - I / U. Whole numbers, and no differences of
    nearly equal ones: exact for millions of pixels.
    """
    missed = target.cumsum(dim=1, dtype=torch.int64)
    total = missed[:, -1:]
    place = torch.arange(1, target.shape[1] + 1, device=target.device)
    intersection = (total - missed).float()
    union = (total + place - missed).float()
    return torch.where(target, 1 / union, intersection / (union * (union - 1).clamp_min(1)))


PIXEL_LOSSES: dict[str, Callable[..., Tensor]] = {
    "ce": cross_entropy,
    "focal": focal,
    "bce": binary_cross_entropy,
    "dice": dice,
    "tversky": tversky,
    "lovasz": lovasz,
}
"""Name in a preset -> `f(logits, truth, class_weights, **options) -> scalar`, logits float32 at the mask's size."""
