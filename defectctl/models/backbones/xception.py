"""Aligned Xception-65: separable convolutions throughout (DeepLabV3+, Chen et al., ECCV 2018, figure 4)."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

from torch import Tensor, nn

MIDDLE, MIDDLE_BLOCKS = 728, 16
NORM = partial(nn.BatchNorm2d, eps=1e-3)
"""Batch norm with the eps of the public weights."""


def _conv_norm(in_channels: int, out_channels: int, kernel: int, stride: int, relu: bool = True) -> nn.Sequential:
    layers = [
        ("conv", nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)),
        ("bn", NORM(out_channels)),
    ]
    return nn.Sequential(OrderedDict([*layers, ("act", nn.ReLU(inplace=True))] if relu else layers))


def _separable(in_channels: int, out_channels: int, stride: int, dilation: int, relu: bool) -> nn.Sequential:
    """Depthwise 3x3 and 1x1, each with batch norm, and with ReLU where asked."""
    depthwise = nn.Conv2d(in_channels, in_channels, 3, stride, dilation, dilation, groups=in_channels, bias=False)
    layers: list[tuple[str, nn.Module]] = [
        ("conv_dw", depthwise),
        ("bn_dw", NORM(in_channels)),
        ("act_dw", nn.ReLU(inplace=True)),
        ("conv_pw", nn.Conv2d(in_channels, out_channels, 1, bias=False)),
        ("bn_pw", NORM(out_channels)),
        ("act_pw", nn.ReLU(inplace=True)),
    ]
    return nn.Sequential(OrderedDict((name, layer) for name, layer in layers if relu or not name.startswith("act")))


class XceptionBlock(nn.Module):
    """Three separable convolutions, the last one with the stride, plus the input (through a 1x1 where it must change).

    Args:
        in_channels: channels of the map that comes in.
        widths: channels after each separable convolution.
        stride, dilation: of the last and of all separable convolutions.
        last: the block that ends the network: ReLU after every convolution instead of before the separable ones, and
            no sum with the input.
    """

    def __init__(
        self, in_channels: int, widths: tuple[int, int, int], stride: int = 1, dilation: int = 1, last: bool = False
    ) -> None:
        super().__init__()
        self.last = last
        changes = not last and (stride != 1 or in_channels != widths[-1])
        self.shortcut = _conv_norm(in_channels, widths[-1], 1, stride, relu=False) if changes else None
        self.stack = nn.Sequential()
        previous = in_channels
        for number, width in enumerate(widths, start=1):
            if not last:  # in place only where nobody else holds the map
                self.stack.add_module(f"act{number}", nn.ReLU(inplace=number == 2))
            step = stride if number == len(widths) else 1
            self.stack.add_module(f"conv{number}", _separable(previous, width, step, dilation, relu=last))
            previous = width

    def begin(self, features: Tensor) -> Tensor:
        """The map after two of the three convolutions, still at the size of `features`."""
        for layer in self.stack[: 2 * len(self.stack) // 3]:
            features = layer(features)
        return features

    def finish(self, features: Tensor, middle: Tensor) -> Tensor:
        """The block's result from its input and what `begin` made of it."""
        for layer in self.stack[2 * len(self.stack) // 3 :]:
            middle = layer(middle)
        if self.last:
            return middle
        return middle + (features if self.shortcut is None else self.shortcut(features))

    def forward(self, features: Tensor) -> Tensor:
        return self.finish(features, self.begin(features))


class Xception(nn.Module):
    """Features `(N, 256, ceil(H / 4), ceil(W / 4))` and `(N, 2048, ceil(H / s), ceil(W / s))` for output stride s.

    The first is taken within the second block, before its stride and before a ReLU. Strides beyond the output stride
    become dilations of the blocks that follow, as in DeepLab; the code that SME-DeepLabV3+ builds on leaves the last
    block at the dilation of the one before it, which changes no count. The names of the weights are timm's
    (`xception65`).

    Args:
        channels: channels of the image.
        output_stride: 32, 16 or 8.
    """

    widths = (256, 2048)

    def __init__(self, channels: int = 3, output_stride: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv_norm(channels, 32, 3, 2), _conv_norm(32, 64, 3, 1))
        table = [
            (64, (128, 128, 128), 2),
            (128, (256, 256, 256), 2),
            (256, (MIDDLE, MIDDLE, MIDDLE), 2),
            *[(MIDDLE, (MIDDLE, MIDDLE, MIDDLE), 1)] * MIDDLE_BLOCKS,
            (MIDDLE, (MIDDLE, 1024, 1024), 2),
        ]
        blocks = []
        stride, dilation = 2, 1
        for in_channels, widths, step in table:
            own_step, own_dilation = step, dilation
            if step == 2 and stride == output_stride:
                own_step, dilation = 1, 2 * dilation
            stride *= own_step
            blocks.append(XceptionBlock(in_channels, widths, own_step, own_dilation))
        blocks.append(XceptionBlock(1024, (1536, 1536, 2048), dilation=dilation, last=True))
        self.blocks = nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> list[Tensor]:
        current = self.blocks[0](self.stem(images))
        shallow = self.blocks[1].begin(current)
        current = self.blocks[1].finish(current, shallow)
        for block in self.blocks[2:]:
            current = block(current)
        return [shallow, current]
