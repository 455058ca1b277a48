"""MobileNetV2: narrow maps with wide layers in between (Sandler et al., CVPR 2018, arXiv 1801.04381)."""

from __future__ import annotations

from torch import Tensor, nn

SETTINGS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Widening, channels, blocks and stride of each stage (table 2)."""
STEM_WIDTH = 32
SHALLOW = 4
"""Layers up to the map at stride 4."""


def _conv_norm(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU6."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """1x1 to `widening` times the channels, depthwise 3x3, linear 1x1; plus the input where shapes agree (figure 4)."""

    def __init__(self, in_channels: int, out_channels: int, widening: int, stride: int, dilation: int) -> None:
        super().__init__()
        wide = widening * in_channels
        widen = [_conv_norm(in_channels, wide, 1)] if widening != 1 else []
        self.conv = nn.Sequential(
            *widen,
            _conv_norm(wide, wide, 3, stride, dilation, groups=wide),
            nn.Conv2d(wide, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.keeps_shape = stride == 1 and in_channels == out_channels

    def forward(self, features: Tensor) -> Tensor:
        change = self.conv(features)
        return features + change if self.keeps_shape else change


class MobileNetV2(nn.Module):
    """Features `(N, 24, ceil(H / 4), ceil(W / 4))` and `(N, 320, ceil(H / s), ceil(W / s))` for output stride s.

    Width 1, without the last 1x1 convolution. Strides beyond the output stride become dilations: the first 3x3 after
    one keeps the dilation so far, the next take twice that (DeepLab, arXiv 1706.05587, section 3.1). The names of the
    weights are torchvision's.

    Args:
        channels: channels of the image.
        output_stride: 32, 16 or 8.
    """

    widths = (24, 320)

    def __init__(self, channels: int = 3, output_stride: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv_norm(channels, STEM_WIDTH, 3, 2)]
        previous, stride, dilation = STEM_WIDTH, 2, 1
        for widening, width, blocks, step in SETTINGS:
            for block in range(blocks):
                own_step, own_dilation = step if block == 0 else 1, dilation
                if own_step == 2 and stride == output_stride:
                    own_step, dilation = 1, 2 * dilation
                stride *= own_step
                layers.append(InvertedResidual(previous, width, widening, own_step, own_dilation))
                previous = width
        self.features = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> list[Tensor]:
        features, current = [], images
        for number, layer in enumerate(self.features, start=1):
            current = layer(current)
            if number in (SHALLOW, len(self.features)):
                features.append(current)
        return features
