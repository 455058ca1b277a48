"""Dense depthwise-separable atrous pyramid, DDWASPP (Sensors 22:9845, 2022)."""

from __future__ import annotations

from torch import nn

from defectctl.models.blocks.cbs import CBS, depthwise
from defectctl.models.blocks.denseaspp import RATES, DensePyramid


class DDWASPP(DensePyramid):
    """DenseASPP with depthwise-separable atrous convolutions: `(N, in, H, W)` to `(N, out, H, W)`.

    Each block is a dilated depthwise 3x3 over all that came before and a 1x1 to `growth` channels; the 1x1 that
    DenseASPP puts in front goes, as the paper says. It has a third of DenseASPP's weights.

    Args:
        in_channels, out_channels: channels.
        growth: channels of a block's result.
    """

    def __init__(self, in_channels: int, out_channels: int = 256, growth: int = 64) -> None:
        widths = [in_channels + number * growth for number in range(len(RATES))]
        blocks: list[nn.Module] = [
            nn.Sequential(depthwise(width, rate), CBS(width, growth)) for width, rate in zip(widths, RATES, strict=True)
        ]
        super().__init__(in_channels, out_channels, growth, blocks)
