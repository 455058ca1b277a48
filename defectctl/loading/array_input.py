"""Decoded pictures to the network's input as an array, by numpy and OpenCV: the same values as `network_input`."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from defectctl.config.schema import InputConfig
from defectctl.imaging.geometry import Geometry
from defectctl.loading.input_rules import PAD_LEVEL, fit_picture, full_scale, normalisation


def to_network_array(pictures: Sequence[np.ndarray], config: InputConfig) -> tuple[np.ndarray, list[Geometry]]:
    """Make the input batch for a network, as `network_input.to_network` does.

    Args:
        pictures: `(H, W, 3)` or `(H, W)` arrays, uint8 or full-scale uint16, any mixture of sizes.

    Returns:
        `(N, C, H, W)` float32, normalised, and one Geometry an image.
    """
    geometries = [fit_picture(picture, config) for picture in pictures]
    channels = 1 if config.colour == "grey" else 3
    batch = np.full((len(pictures), channels, *config.size), PAD_LEVEL, np.float32)
    for planes, picture, where in zip(batch, pictures, geometries, strict=True):
        resized = resize_picture(to_unit_array(picture), where.inner_height, where.inner_width)
        planes[(slice(None), *where.inside)] = resized if resized.ndim == 2 else resized.transpose(2, 0, 1)
    return normalise_array(batch, config), geometries


def to_unit_array(picture: np.ndarray) -> np.ndarray:
    """The picture as float32 in 0..1."""
    return np.multiply(picture, np.float32(1 / full_scale(picture)), dtype=np.float32)


def normalise_array(batch: np.ndarray, config: InputConfig) -> np.ndarray:
    """Values 0..1 of `(N, C, H, W)` to what the network was built for, in place; see `network_input.normalise`."""
    if config.normalise == "zero-one":
        return batch
    mean, std = (np.float32(numbers).reshape(-1, 1, 1) for numbers in normalisation(batch.shape[1]))
    batch -= mean
    batch /= std
    return batch


def resize_picture(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize `(H, W)` or `(H, W, 3)` float32 bilinearly, edges at half a pixel; antialiased where it shrinks."""
    if picture.shape[:2] == (height, width):
        return picture
    if height >= picture.shape[0] and width >= picture.shape[1]:
        return cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
    # OpenCV has no triangle filter; its transposition keeps every pass on whole rows, which lie together in memory.
    return cv2.transpose(_resize_rows(cv2.transpose(_resize_rows(picture, height)), width))


def _resize_rows(picture: np.ndarray, height: int) -> np.ndarray:
    source = picture.shape[0]
    if source == height:
        return picture
    first, weights = _triangle(source, height)
    flat = picture.reshape(source, -1)
    total = np.zeros((height, flat.shape[1]), np.float32)
    for number, weight in enumerate(weights.T):
        total += flat[np.minimum(first + number, source - 1)] * weight[:, None]
    return total.reshape(height, *picture.shape[1:])


def _triangle(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each of `target` pixels the first of the `source` pixels that it is made of, and their weights.

    A triangle around the pixel's centre that reaches as far as one target pixel, or one source pixel where those are
    wider, cut off at the image's edge and scaled to a sum of 1.

    Returns:
        `(target,)` int64 and `(target, taps)` float32.
    """
    scale = source / target
    reach = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    first = np.maximum(np.floor(centres - reach + 0.5), 0).astype(np.int64)
    last = np.minimum(np.floor(centres + reach + 0.5), source).astype(np.int64)
    places = first[:, None] + np.arange((last - first).max())
    weights = np.clip(1 - np.abs(places + 0.5 - centres[:, None]) / reach, 0, None)
    weights[places >= last[:, None]] = 0
    return first, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
