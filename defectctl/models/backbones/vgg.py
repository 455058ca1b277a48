"""VGG-16's thirteen convolutions (Simonyan & Zisserman, ICLR 2015, arXiv 1409.1556), the trunk of FCN and SegNet."""

from __future__ import annotations

from torch import nn

from defectctl.models.blocks.width import scaled

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the 3x3 convolutions of each stage; a pooling that halves the map ends it (configuration D)."""


def vgg_features(
    channels: int, width: float = 1.0, norm: bool = False, pool: nn.MaxPool2d | None = None
) -> nn.Sequential:
    """Return the layers in torchvision's order, so that the names of its weights fit.

    Args:
        channels: channels of the image.
        width: share of the published channels.
        norm: batch norm after each convolution (torchvision's `vgg16_bn`).
        pool: the pooling that ends a stage; the same one, without weights, ends each.
    """
    pool = pool or nn.MaxPool2d(2)
    layers: list[nn.Module] = []
    previous = channels
    for stage in STAGES:
        for size in stage:
            out = scaled(size, width)
            layers.append(nn.Conv2d(previous, out, 3, padding=1))
            if norm:
                layers.append(nn.BatchNorm2d(out))
            layers.append(nn.ReLU(inplace=True))
            previous = out
        layers.append(pool)
    return nn.Sequential(*layers)
