"""Convolution with batch norm, the brick of every network here."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class ConvNorm(nn.Sequential):
    """Convolution (with bias), then batch norm where asked, then the activation where one is given.

    `(N, in, H, W)` to `(N, out, H', W')` with "same" padding, `H' = ceil(H / stride)`. The children are called `conv`,
    `bn` and `act`, so that a convolution and its norm are neighbours and can be folded into one for inference.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        norm: bool = True,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.add_module(
            "conv", nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation=dilation, groups=groups)
        )
        if norm:
            self.add_module("bn", nn.BatchNorm2d(out_channels))
        if activation is not None:
            self.add_module("act", activation)


class PooledBatchNorm(nn.BatchNorm2d):
    """Batch norm for globally pooled features: a training batch of one image is normalised by the running statistics.

    One value per channel has no variance, and `nn.BatchNorm2d` stops with an error there.
    """

    def forward(self, features: Tensor) -> Tensor:
        if self.training and features.numel() == features.shape[1]:
            return functional.batch_norm(
                features, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        return super().forward(features)


def forgive_single_image(pooling: nn.Sequential) -> None:
    """Exchange the batch norm of another library's pooling branch for `PooledBatchNorm`; names and values stay."""
    for name, child in pooling.named_children():
        if isinstance(child, nn.BatchNorm2d):
            norm = PooledBatchNorm(child.num_features, eps=child.eps, momentum=child.momentum)
            norm.load_state_dict(child.state_dict())
            setattr(pooling, name, norm)


def initialise_normal(module: nn.Module, deviation: float = 0.02) -> None:
    """Draw every convolution's weights from N(0, deviation²) and batch norm's from N(1, deviation²), its bias 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv1d | nn.Conv2d):
            nn.init.normal_(part.weight, 0.0, deviation)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, deviation)
            nn.init.zeros_(part.bias)
