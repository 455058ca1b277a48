"""Anchors of a YOLOv5 detector for an input size: the published ones, or fitted to boxes that those do not match."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from scipy.cluster.vq import kmeans2

ANCHORS_640 = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
"""Width and height of YOLOv5's anchors at an input of 640 x 640, three for each of the strides 8, 16 and 32."""
LARGEST_RATIO = 4.0
"""A box and an anchor match where no side of one is this many times that of the other."""
ENOUGH = 0.98
"""Share of matched boxes above which the published anchors stay."""


class AnchorFit(NamedTuple):
    """Anchors for a detector.

    Attributes:
        anchors: `(9, 2)` float64, width and height in network pixels, three for each of the strides 8, 16, 32.
        recall: share of the boxes that match at least one anchor (best possible recall); NaN without boxes.
        refitted: whether they were fitted to the boxes.
    """

    anchors: np.ndarray
    recall: float
    refitted: bool


def fit_anchors(sizes: np.ndarray, input_size: tuple[int, int]) -> AnchorFit:
    """Take YOLOv5's anchors, brought to the input size, or k-means of the boxes where that matches more of them.

    Args:
        sizes: `(M, 2)` width and height of the training boxes in network pixels; empty boxes are left out.
        input_size: height and width of the network's input in pixels.
    """
    sizes = np.asarray(sizes, np.float64).reshape(-1, 2)
    sizes = sizes[(sizes > 0).all(axis=1)]
    height, width = input_size
    anchors = np.round(np.array(ANCHORS_640) * (width / 640, height / 640), 3)
    recall = best_recall(sizes, anchors)
    if not len(sizes) or recall > ENOUGH:
        return AnchorFit(anchors, recall, False)
    fitted = _cluster(sizes, len(ANCHORS_640))
    better = best_recall(sizes, fitted)
    return AnchorFit(fitted, better, True) if better > recall else AnchorFit(anchors, recall, False)


def best_recall(sizes: np.ndarray, anchors: np.ndarray) -> float:
    """Share of the boxes `(M, 2)` whose sides lie within a ratio of 4 of some anchor `(A, 2)`; NaN without boxes."""
    if not len(sizes):
        return float("nan")
    distance = np.abs(np.log(sizes[:, None]) - np.log(anchors)).max(axis=2).min(axis=1)
    return float((distance < np.log(LARGEST_RATIO)).mean())


def _cluster(sizes: np.ndarray, count: int) -> np.ndarray:
    """Centres of k-means of the boxes `(M, 2)`, by area; in logarithms, because anchors match by ratios of sides.

    The start is spread evenly over the boxes in order of area, so that nothing is random.
    """
    logs = np.log(sizes)
    order = np.argsort(logs.sum(axis=1), kind="stable")
    start = logs[order[((np.arange(count) + 0.5) / count * len(logs)).astype(int)]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer kinds of boxes than anchors: some clusters stay empty, at their start
        centres, _ = kmeans2(logs, start, iter=100, minit="matrix", missing="warn")
    centres = centres[np.argsort(centres.sum(axis=1), kind="stable")]
    return np.maximum(np.round(np.exp(centres), 3), 0.001)
