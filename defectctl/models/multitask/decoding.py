"""From raw detections to boxes: YOLOv5's formulas for places and sizes, and the choice of candidates."""

from __future__ import annotations

import torch
from torch import Tensor

from defectctl.models.multitask.detection import ANCHORS_PER_LEVEL, STRIDES
from defectctl.models.output import Boxes

LEAST_SCORE = 1e-3
"""Candidates below it are dropped (YOLOv5's evaluation)."""

MOST_CANDIDATES = 1000
"""Candidates kept of an image, the best of all classes; suppression of overlaps comes after."""


def split_anchors(level: Tensor) -> Tensor:
    """A raw level `(N, 3 (5 + classes), h, w)` as `(N, 3, h, w, 5 + classes)` float32 (a view where it was float32)."""
    count, planes, height, width = level.shape
    by_anchor = level.view(count, ANCHORS_PER_LEVEL, planes // ANCHORS_PER_LEVEL, height, width)
    return by_anchor.permute(0, 1, 3, 4, 2).float()


def to_corners(raw: Tensor, cells: Tensor, anchors: Tensor, stride: int) -> Tensor:
    """Boxes `xyxy` in network pixels.

    `xy = (2 sigmoid(t) - 0.5 + cell) * stride`, `wh = (2 sigmoid(t))^2 * anchor`: a centre may lie half a cell outside
    its cell, a side be up to 4 times the anchor's (YOLOv5 v6).

    Args:
        raw: `(..., 4)` x, y, width, height before the sigmoid.
        cells: `(..., 2)` column and row of the cell.
        anchors: `(..., 2)` width and height of the anchor in network pixels.
        stride: pixels a cell.
    """
    unit = 2 * raw.sigmoid()
    centre = (unit[..., :2] - 0.5 + cells) * stride
    half = unit[..., 2:4] ** 2 * anchors / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def decode(levels: list[Tensor], anchors: Tensor) -> list[Boxes]:
    """The candidates of each image, at most 1000 with a score above 0.001, best first.

    A cell's anchor gives a candidate for every class, with the score sigmoid(objectness) * sigmoid(class); where there
    is one class, whose logit no loss trains, the score is sigmoid(objectness).

    Args:
        levels: raw detections at strides 8, 16, 32.
        anchors: `(3, 3, 2)` width and height in network pixels by level.
    """
    places, best, index, classes = best_candidates(levels, anchors)
    found = []
    for image in range(len(best)):
        keep = best[image] > LEAST_SCORE
        chosen = index[image][keep]
        found.append(Boxes(places[image][chosen // classes], best[image][keep], chosen % classes + 1))
    return found


def best_candidates(levels: list[Tensor], anchors: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """What `decode` chooses from, the same number of candidates for every image.

    Returns:
        `(places, scores, index, classes)`: boxes `(N, A, 4)` `xyxy` in network pixels of all A anchors; scores `(N, M)`
        falling; `(N, M)` the number of each candidate's anchor times `classes` plus its class, counted from 0.
    """
    corners, scores = [], []
    for level, sizes, stride in zip(levels, anchors, STRIDES, strict=True):
        raw = split_anchors(level)
        rows, columns = (torch.arange(side, device=raw.device) for side in raw.shape[2:4])
        cells = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
        corners.append(to_corners(raw[..., :4], cells, sizes[:, None, None], stride).flatten(1, 3))
        score = raw[..., 4:5].sigmoid()
        scores.append((score * raw[..., 5:].sigmoid() if raw.shape[-1] > 6 else score).flatten(1, 3))
    places = torch.cat(corners, dim=1)
    by_class = torch.cat(scores, dim=1)
    classes = by_class.shape[2]
    best, index = by_class.flatten(1).topk(min(MOST_CANDIDATES, by_class[0].numel()))
    return places, best, index, classes
