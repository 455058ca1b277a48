"""Losses that need no more truth than whether an image shows a defect; images that nobody judged are left out."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from defectctl.errors import InputError
from defectctl.models.output import Output

SMALLEST = 1e-6
"""Mean activations are kept this far from 0 and from 1, where the logarithms end."""


def image_bce(output: Output, labels: Tensor, pos_weight: float = 1.0) -> Tensor:
    """Binary cross-entropy of the image logit, the mean over the images with a label.

    Args:
        output: with `image_logit` `(N,)`.
        labels: `(N,)`, 1 defective, 0 good, -1 unknown.
        pos_weight: how much a defective image counts against a good one.
    """
    if output.image_logit is None:
        raise InputError("the loss 'image_bce' cannot be used: this model does not judge whole images")
    defective = labels == 1
    values = F.binary_cross_entropy_with_logits(output.image_logit.float(), defective.float(), reduction="none")
    return _mean_where(values * torch.where(defective, pos_weight, 1.0), labels >= 0)


def weak_good(output: Output, labels: Tensor) -> Tensor:
    """`-log(1 - Q)`, the mean over the good images: nothing may light up (IEEE Access, 2020, LNet/DNet, eq. 4).

    Q is the mean defect probability of an image, at the network's own output resolution.
    """
    return _mean_where(-torch.log1p(-_activation(output, "weak_good")), labels == 0)


def weak_defective(output: Output, labels: Tensor) -> Tensor:
    """`-H(Q) = Q log Q + (1 - Q) log(1 - Q)`, the mean over the defective images (same paper, eq. 3).

    Minimised, so the entropy of the mean activation grows: something, but not everything, is to light up. Together
    with `weak_good` weighed by alpha, features that both kinds of image share settle near Q = sigmoid(-alpha).
    """
    share = _activation(output, "weak_defective")
    return _mean_where(torch.xlogy(share, share) + torch.special.xlog1py(1 - share, -share), labels == 1)


def _activation(output: Output, name: str) -> Tensor:
    """Q of every image, `(N,)`."""
    if output.mask_logits is None:
        raise InputError(f"the loss '{name}' cannot be used: this model returns no mask logits")
    share = torch.softmax(output.mask_logits.float(), dim=1)[:, 1:].sum(1).mean(dim=(1, 2))
    # The clamped value with the gradient of the true one: a network that has gone silent can still come back.
    return share + (share.clamp(SMALLEST, 1 - SMALLEST) - share).detach()


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean over the chosen images; 0, still part of the graph, where there are none."""
    weights = chosen.to(values.dtype)
    return (values * weights).sum() / weights.sum().clamp_min(1)


IMAGE_LOSSES: dict[str, Callable[..., Tensor]] = {
    "image_bce": image_bce,
    "weak_good": weak_good,
    "weak_defective": weak_defective,
}
"""Name in a preset -> `f(output, labels, **options) -> scalar` float32."""
