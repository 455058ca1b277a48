"""StarNet: features from the element-wise product of two projections (Ma et al., CVPR 2024, arXiv 2403.19967)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from defectctl.models.blocks.conv import ConvNorm

STEM_WIDTH = 32


@dataclass(frozen=True)
class Variant:
    """Width of the first stage (doubled at each next one), blocks per stage, and the block's widening."""

    base: int
    depths: tuple[int, int, int, int]
    ratio: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the four stages, at strides 4, 8, 16 and 32."""
        return tuple(self.base * 2**stage for stage in range(len(self.depths)))


VARIANTS = {
    "starnet_s1": Variant(24, (2, 2, 8, 3), 4),
    "starnet_s2": Variant(32, (1, 2, 6, 2), 4),
    "starnet_s3": Variant(32, (2, 2, 8, 4), 4),
    "starnet_s4": Variant(32, (3, 3, 12, 5), 4),
    "starnet_s050": Variant(16, (1, 1, 3, 1), 3),
    "starnet_s100": Variant(20, (1, 2, 4, 1), 4),
    "starnet_s150": Variant(24, (1, 2, 4, 2), 3),
}


class StarBlock(nn.Module):
    """Depthwise 7x7, two parallel 1x1 whose results are multiplied (`ReLU6(f1) * f2`), 1x1, depthwise 7x7, residual.

    `(N, C, H, W)` to the same shape. The names of the parts are those of the public weights.
    """

    def __init__(self, channels: int, ratio: int, drop_path: float = 0.0) -> None:
        super().__init__()
        wide = ratio * channels
        self.drop_path = drop_path
        self.dwconv = ConvNorm(channels, channels, 7, groups=channels)
        self.f1 = ConvNorm(channels, wide, norm=False)
        self.f2 = ConvNorm(channels, wide, norm=False)
        self.g = ConvNorm(wide, channels)
        self.dwconv2 = ConvNorm(channels, channels, 7, groups=channels, norm=False)
        self.act = nn.ReLU6(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        mixed = self.dwconv(features)
        change = self.dwconv2(self.g(self.act(self.f1(mixed)) * self.f2(mixed)))
        if self.training and self.drop_path > 0:
            keep = torch.rand(len(change), 1, 1, 1, device=change.device) >= self.drop_path
            change = change * (keep / (1 - self.drop_path)).to(change.dtype)
        return features + change


class StarNet(nn.Module):
    """Features of the four stages, `(N, C_i, ceil(H / s), ceil(W / s))` for strides s = 4, 8, 16, 32.

    Takes the public ImageNet weights as they are; the classifier's `norm` and `head` have no place here.

    Args:
        variant: a key of `VARIANTS`.
        channels: channels of the image.
        drop_path: chance that the last block's change is dropped for an image while training (stochastic depth,
            rising linearly from 0 at the first block).
    """

    def __init__(self, variant: str, channels: int = 3, drop_path: float = 0.0) -> None:
        super().__init__()
        table = VARIANTS[variant]
        self.variant = variant
        self.widths = table.widths
        self.stem = nn.Sequential(ConvNorm(channels, STEM_WIDTH, 3, stride=2), nn.ReLU6(inplace=True))
        chances = iter(torch.linspace(0, drop_path, sum(table.depths)).tolist())
        stages = []
        previous = STEM_WIDTH
        for width, depth in zip(self.widths, table.depths, strict=True):
            blocks = [StarBlock(width, table.ratio, next(chances)) for _ in range(depth)]
            stages.append(nn.Sequential(ConvNorm(previous, width, 3, stride=2), *blocks))
            previous = width
        self.stages = nn.Sequential(*stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        features = []
        current = self.stem(images)
        for stage in self.stages:
            current = stage(current)
            features.append(current)
        return features
