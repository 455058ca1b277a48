"""Landmarks: points of a picture by which a part of it is found again elsewhere, in any of the eight poses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectctl.imaging.prints import cosines, to_levels

LENGTH = 20
"""Numbers that describe a landmark's surroundings."""
_MOST = 80
_STEP, _SIDE = 3, 8
_REACH = _STEP * _SIDE // 2
_LEAST_RESPONSE = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """Points of one picture, the most striking first.

    Attributes:
        places: `(n, 2)` float32, row and column from the picture's middle, in pixels.
        poses: `(n, 2, 2)` int8, the matrix that brings (row, column) offsets into the point's own pose.
        looks: `(n, LENGTH)` float32 of unit norm, the surroundings in that pose.
    """

    places: NDArray[np.float32]
    poses: NDArray[np.int8]
    looks: NDArray[np.float32]


def landmarks(grey: NDArray) -> Landmarks:
    """The up to 80 most striking points of a picture `(H, W)` uint8, uint16 or float in 0..255."""
    import cv2

    levels = to_levels(grey)
    smooth = cv2.GaussianBlur(levels, (0, 0), 1.5)
    response = np.abs(smooth - cv2.GaussianBlur(levels, (0, 0), 3.0))
    peaks = (response >= cv2.dilate(response, np.ones((7, 7), np.uint8))) & (response > _LEAST_RESPONSE)
    edge = _REACH + 1
    peaks[:edge] = peaks[-edge:] = False
    peaks[:, :edge] = peaks[:, -edge:] = False
    rows, columns = np.nonzero(peaks)
    best = np.argsort(-response[rows, columns], kind="stable")[:_MOST]
    rows, columns = rows[best], columns[best]
    offsets = (np.arange(_SIDE) - (_SIDE - 1) / 2) * _STEP
    at = np.stack(np.meshgrid(offsets, offsets, indexing="ij"), axis=-1)
    y = (rows[:, None, None] + at[None, :, :, 0]).astype(np.float32).reshape(-1, _SIDE * _SIDE)
    x = (columns[:, None, None] + at[None, :, :, 1]).astype(np.float32).reshape(-1, _SIDE * _SIDE)
    patches = cv2.remap(smooth, x, y, cv2.INTER_LINEAR) if len(rows) else np.zeros((0, _SIDE * _SIDE), np.float32)
    waves = cosines(_SIDE, _SIDE)
    looks, poses = _canonical(waves @ patches.reshape(-1, _SIDE, _SIDE) @ waves.T)
    middle = (np.array(grey.shape, np.float32) - 1) / 2
    return Landmarks(np.stack([rows, columns], axis=1).astype(np.float32) - middle, poses, looks)


def _canonical(waves: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Patches as cosine coefficients `(n, 8, 8)`, brought into the pose in which they rise to the right and less down.

    Returns:
        `(looks, poses)` as in `Landmarks`.
    """
    minus = np.where(np.arange(_SIDE) % 2, -1, 1).astype(np.float32)
    down, right = (np.where(part < 0, -1, 1) for part in (waves[:, 1, 0], waves[:, 0, 1]))
    waves = np.where((down < 0)[:, None, None], waves * minus[:, None], waves)
    waves = np.where((right < 0)[:, None, None], waves * minus, waves)
    steep = waves[:, 1, 0] > waves[:, 0, 1]
    waves = np.where(steep[:, None, None], waves.transpose(0, 2, 1), waves)
    poses = np.zeros((len(waves), 2, 2), np.int8)
    level = ~steep
    poses[level, 0, 0], poses[level, 1, 1] = down[level], right[level]
    poses[steep, 0, 1], poses[steep, 1, 0] = right[steep], down[steep]
    order = np.add.outer(np.arange(_SIDE), np.arange(_SIDE)).ravel()
    low = np.argsort(order, kind="stable")[1 : LENGTH + 1]
    looks = waves.reshape(len(waves), _SIDE * _SIDE)[:, low]
    norms = np.sqrt((looks * looks).sum(axis=1, keepdims=True))
    return (looks / np.maximum(norms, 1e-6)).astype(np.float32), poses
