"""From mask logits to a picture's maps by numpy and OpenCV: the same steps as `maps`, without torch."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from defectctl.imaging.geometry import Geometry
from defectctl.inference.maps import Maps, pixel_level


def maps_from_logit_array(
    logits: np.ndarray,
    geometries: Sequence[Geometry],
    activation: str = "softmax",
    pixel_threshold: float | None = None,
) -> list[Maps]:
    """Bring logits `(N, 1 + classes, h, w)` float32 back to each image's own pixels and decide there.

    The order of the steps is that of `maps.maps_from_logits`.
    """
    found = []
    for planes, geometry in zip(logits, geometries, strict=True):
        full = _to_image(planes, geometry)
        defect = defect_byte(background(full, activation))
        found.append(Maps(decide(full, defect, pixel_threshold), defect))
    return found


def empty_arrays(height: int, width: int) -> Maps:
    """The maps of a model that delivers no mask."""
    nothing = np.zeros((height, width), np.uint8)
    return Maps(nothing, nothing, has_mask=False)


def decide(scores: np.ndarray, defect: np.ndarray, pixel_threshold: float | None = None) -> np.ndarray:
    """The class of every pixel `(H, W)` uint8, of `scores` `(1 + classes, H, W)`; see `maps.decide`."""
    if pixel_threshold is None:
        return _highest(scores)
    enough = defect >= pixel_level(pixel_threshold)
    if len(scores) == 2:
        return enough.view(np.uint8)
    return np.where(enough, _highest(scores[1:]) + np.uint8(1), np.uint8(0))


def _highest(scores: np.ndarray) -> np.ndarray:
    """Index of the highest of the planes, the first among equals; plane by plane is quicker than numpy's argmax."""
    best, index = scores[0].copy(), np.zeros(scores.shape[1:], np.uint8)
    for number, plane in enumerate(scores[1:], 1):
        higher = plane > best
        index[higher] = number
        np.maximum(best, plane, out=best)
    return index


def probabilities(logits: np.ndarray, activation: str) -> np.ndarray:
    """Logits `(1 + classes, h, w)` to probabilities of the same shape: softmax over the planes, or sigmoid."""
    if activation == "sigmoid":
        return sigmoid(logits)
    powers = np.exp(logits - logits.max(axis=0))
    return powers / powers.sum(axis=0)


def background(logits: np.ndarray, activation: str) -> np.ndarray:
    """P(background) `(h, w)` alone, of logits `(1 + classes, h, w)`."""
    if activation == "sigmoid":
        return sigmoid(logits[0])
    if len(logits) == 2:
        return sigmoid(logits[0] - logits[1])
    highest = logits.max(axis=0)
    total = np.zeros_like(highest)
    for plane in logits:
        total += np.exp(plane - highest)
    return np.exp(logits[0] - highest) / total


def sigmoid(values: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), which no value makes overflow."""
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1 / (1 + small), small / (1 + small))


def defect_byte(background_probability: np.ndarray) -> np.ndarray:
    """round(255 * (1 - P(background))), uint8."""
    return np.clip(np.rint((1 - background_probability) * 255), 0, 255).astype(np.uint8)


def resize_planes(planes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Planes `(K, h, w)` float32 bilinearly to another size; as they are where they have that size already."""
    if planes.shape[1:] == (height, width):
        return planes
    return np.stack([cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in planes])


def _to_image(planes: np.ndarray, geometry: Geometry) -> np.ndarray:
    planes = resize_planes(planes, geometry.net_height, geometry.net_width)
    rows, columns = geometry.inside
    return resize_planes(planes[:, rows, columns], geometry.height, geometry.width)
