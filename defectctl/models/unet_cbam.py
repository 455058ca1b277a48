"""U-Net with convolutional block attention on its maps, and the plain U-Net (Ronneberger et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defectctl.models.blocks.cbam import CBAM
from defectctl.models.blocks.edge_padding import crop_to_stride, pad_to_multiple
from defectctl.models.blocks.he import initialise_he
from defectctl.models.output import Output

LEVELS = 5
"""Levels of the encoder; each has twice the channels of the one before and half its height and width."""
STRIDE = 2 ** (LEVELS - 1)
"""Sides of an image have to be multiples of this."""


def _two_convolutions(in_channels: int, out_channels: int) -> list[nn.Module]:
    """Two 3x3 convolutions (no bias), each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers += [
            nn.Conv2d(channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        ]
    return layers


class ContractingPath(nn.Module):
    """Images `(N, C, H, W)` to the maps of the five levels, `(N, w * 2^i, H / 2^i, W / 2^i)`, largest first."""

    def __init__(self, channels: int, widths: list[int], attention: bool) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        previous = channels
        for width in widths:
            gate = [CBAM(width)] if attention else []
            self.levels.append(nn.Sequential(*_two_convolutions(previous, width), *gate))
            previous = width
        self.pool = nn.MaxPool2d(2)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = [self.levels[0](images)]
        for level in self.levels[1:]:
            maps.append(level(self.pool(maps[-1])))
        return maps


class ExpansivePath(nn.Module):
    """The maps of the contraction, largest first, to logits `(N, outputs, H, W)`.

    Each step doubles the map by a transposed 2x2 convolution, which halves the channels, and joins it to the
    contraction's map of that size, `[skip, up]`; attention, where there is any, sees the two joined.
    """

    def __init__(self, widths: list[int], outputs: int, attention: bool) -> None:
        super().__init__()
        self.up = nn.ModuleList()
        self.levels = nn.ModuleList()
        for width in reversed(widths[:-1]):
            self.up.append(nn.ConvTranspose2d(2 * width, width, 2, stride=2))
            gate = [CBAM(2 * width)] if attention else []
            self.levels.append(nn.Sequential(*gate, *_two_convolutions(2 * width, width)))
        self.classify = nn.Conv2d(widths[0], outputs, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        current = maps[-1]
        for up, level, skip in zip(self.up, self.levels, reversed(maps[:-1]), strict=True):
            current = level(torch.cat([skip, up(current)], dim=1))
        return self.classify(current)


class UNetCbam(nn.Module):
    """`forward`: images `(N, C, H, W)` to `Output` with logits `(N, 1 + classes, H, W)`.

    U-Net + CBAM on SD-saliency-900; where that paper is silent: batch norm after each convolution, "same"
    padding, CBAM after the convolutions of every level of the encoder (its output is the skip connection) and on the
    joined maps of the decoder, reduction 16. Images are padded at the right and lower edge with copies of the edge to
    sides that are multiples of 16, and the logits are cropped again.

    Args:
        classes: defect classes, background not counted.
        channels: channels of the image.
        cbam: where attention stands: `none` (the plain U-Net), `encoder` (its five levels), `decoder` (its four), or
            `both`.
        width: channels of the first level; 64 in the papers.
    """

    def __init__(self, classes: int, channels: int = 3, cbam: str = "both", width: int = 64) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(LEVELS)]
        self.encoder = ContractingPath(channels, widths, cbam in ("encoder", "both"))
        self.segmentation = ExpansivePath(widths, 1 + classes, cbam in ("decoder", "both"))

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The parts that a training stage may name."""
        return {"encoder": self.encoder, "segmentation": self.segmentation}

    def initialise(self) -> None:
        """Start without pretrained weights, as in the U-Net paper, section 3: N(0, 2 / inputs of a unit)."""
        initialise_he(self)

    def forward(self, images: Tensor) -> Output:
        height, width = images.shape[2:]
        logits = self.segmentation(self.encoder(pad_to_multiple(images, STRIDE, self.training)))
        return Output(mask_logits=crop_to_stride(logits, height, width, 1))
