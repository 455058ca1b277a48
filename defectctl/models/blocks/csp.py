"""Cross-stage partial block `C3` of YOLOv5 v6 (after CSPNet, arXiv 1911.11929), and its fast pyramid pooling `SPPF`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defectctl.models.blocks.cbs import CBS


class Bottleneck(nn.Module):
    """A 1x1 and a 3x3 CBS, `(N, C, H, W)` unchanged in shape; `add` puts the input on top of the result."""

    def __init__(self, channels: int, add: bool = True) -> None:
        super().__init__()
        self.layers = nn.Sequential(CBS(channels, channels), CBS(channels, channels, 3))
        self.add = add

    def forward(self, features: Tensor) -> Tensor:
        result = self.layers(features)
        return features + result if self.add else result


class C3(nn.Module):
    """`(N, in, H, W)` to `(N, out, H, W)`: half the channels through bottlenecks, half past them, joined by a 1x1.

    Args:
        in_channels, out_channels: channels; both halves have `out / 2`.
        repeats: number of bottlenecks.
        add: whether the bottlenecks are residual.
    """

    def __init__(self, in_channels: int, out_channels: int, repeats: int = 1, add: bool = True) -> None:
        super().__init__()
        half = out_channels // 2
        self.enter = CBS(in_channels, half)
        self.bottlenecks = nn.Sequential(*(Bottleneck(half, add) for _ in range(repeats)))
        self.bypass = CBS(in_channels, half)
        self.join = CBS(2 * half, out_channels)

    def forward(self, features: Tensor) -> Tensor:
        return self.join(torch.cat([self.bottlenecks(self.enter(features)), self.bypass(features)], dim=1))


class SPPF(nn.Module):
    """`(N, C, H, W)` unchanged in shape: a map beside its maxima over 5x5, 9x9 and 13x13 pixels, joined by a 1x1.

    Three chained 5x5 maxima give the three sizes, as of spatial pyramid pooling (arXiv 1406.4729) but faster.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.enter = CBS(channels, half)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)
        self.join = CBS(4 * half, channels)

    def forward(self, features: Tensor) -> Tensor:
        maps = [self.enter(features)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        return self.join(torch.cat(maps, dim=1))
