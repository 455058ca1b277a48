"""The rules by which a picture becomes a network's input, whichever library computes it; imports no torch."""

from __future__ import annotations

import numpy as np

from defectctl.config.schema import InputConfig
from defectctl.imaging.geometry import Geometry

PAD_LEVEL = 0.5
"""Grey level (of 0..1) around an image that does not fill the network's input."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def full_scale(picture: np.ndarray) -> float:
    """The pixel value that becomes 1: 65535 of uint16, 255 of uint8."""
    return 65535.0 if picture.dtype == np.uint16 else 255.0


def normalisation(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """ImageNet's mean and standard deviation of values in 0..1, per channel; of grey, the mean of the three."""
    if channels == 3:
        return IMAGENET_MEAN, IMAGENET_STD
    return (sum(IMAGENET_MEAN) / 3,), (sum(IMAGENET_STD) / 3,)


def fit_picture(picture: np.ndarray, config: InputConfig) -> Geometry:
    """Where a picture `(H, W)` or `(H, W, 3)` lies in the network's input."""
    (height, width), size = picture.shape[:2], config.size
    if config.mode != "tile":
        return Geometry.fit(width, height, *size, config.mode)
    if height > size[0] or width > size[1]:
        raise ValueError(f"a tile of {width}x{height} does not go into an input of {size[1]}x{size[0]}")
    return Geometry.tile(width, height, *size)
