"""Multi-scale attention aggregation: a channel path and a three-kernel spatial path (CM-UNet, arXiv 2405.10530)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from defectctl.models.blocks.branches import scale_weights

KERNELS = (3, 5, 7)


class ChannelGate(nn.Module):
    """`sigmoid(MLP(mean) + MLP(max))` over the positions of a map: `(N, C, H, W)` to `(N, C, 1, 1)`."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.max = nn.AdaptiveMaxPool2d(1)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, channels // reduction, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // reduction, channels, 1, bias=False),
        )

    def forward(self, features: Tensor) -> Tensor:
        return (self.mlp(self.mean(features)) + self.mlp(self.max(features))).sigmoid()


class SpatialGate(nn.Module):
    """`sigmoid(conv7([mean, max]))` over the channels of a map: `(N, C, H, W)` to `(N, 1, H, W)`."""

    def __init__(self, kernel: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        summary = torch.cat([features.mean(1, keepdim=True), features.amax(1, keepdim=True)], dim=1)
        return self.conv(summary).sigmoid()


class MSAA(nn.Module):
    """`(N, in, H, W)` to `(N, out, H, W)`; no batch norm, no activation, no residual.

    With `f` the input reduced to `d = out / 4` channels, the result is a 1x1 convolution of `f * channel gate` plus
    `s * spatial gate`, where `s = conv3(f) + conv5(f) + conv7(f)`.

    A map of `in / n` channels stands for `n` copies of it side by side: SME-DeepLabV3+ feeds three copies of one map.
    Two sums are taken over the kernels instead of over the results, which is the same function in less time: the
    copies share one reduction by the summed kernel, and the three kernels, centred, add up to one of 7x7.

    Attributes:
        literal: True computes layer by layer as drawn in the paper, for counting operations.
    """

    literal = False

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        width = out_channels // 4
        self.reduce = nn.Conv2d(in_channels, width, 1)
        self.channel_gate = ChannelGate(width)
        self.branches = nn.ModuleList(nn.Conv2d(width, width, kernel, padding=kernel // 2) for kernel in KERNELS)
        self.spatial_gate = SpatialGate()
        self.expand = nn.Conv2d(width, out_channels, 1)

    def scale_branches(self, shares: Sequence[float]) -> None:
        """Multiply the initial weights of the three branches by 3 p_k (SME-DeepLabV3+, adaptive initialisation).

        Args:
            shares: p_3, p_5, p_7, the shares of defects that fit each kernel best at this map's resolution.

        Raises:
            InputError: not three shares, or all are 0.
        """
        scale_weights(self.branches, shares, "model.branch_shares")

    def forward(self, features: Tensor) -> Tensor:
        reduced = self._reduce(features)
        spatial = sum(branch(reduced) for branch in self.branches) if self.literal else self._merged_branches(reduced)
        spatial = spatial * self.spatial_gate(spatial)
        return self.expand(reduced * self.channel_gate(reduced) + spatial)

    def _reduce(self, features: Tensor) -> Tensor:
        copies = self.reduce.in_channels // features.shape[1]
        if self.literal or copies == 1:
            return self.reduce(torch.cat([features] * copies, dim=1))
        weight = self.reduce.weight.unflatten(1, (copies, -1)).sum(1)
        return functional.conv2d(features, weight, self.reduce.bias)

    def _merged_branches(self, reduced: Tensor) -> Tensor:
        largest = KERNELS[-1]
        weight = sum(
            functional.pad(branch.weight, [(largest - kernel) // 2] * 4)
            for branch, kernel in zip(self.branches, KERNELS, strict=True)
        )
        bias = sum(branch.bias for branch in self.branches)
        return functional.conv2d(reduced, weight, bias, padding=largest // 2)
