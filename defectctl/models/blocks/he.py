"""Start of a network of rectified units without pretrained weights (He et al., ICCV 2015, arXiv 1502.01852)."""

from __future__ import annotations

from torch import nn


def initialise_he(module: nn.Module) -> None:
    """Draw every convolution's weights from N(0, 2 / inputs of a unit) (eq. 10) and set its bias to 0.

    The size of the signal then stays the same from layer to layer. Transposed convolutions and norms keep theirs.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
