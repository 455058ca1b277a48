"""Which cells and anchors of a level answer for which true box (YOLOv5 v6: by shape, and with near neighbours)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LARGEST_RATIO = 4.0
"""A box and an anchor match where no side of one is this many times that of the other."""


class Assigned(NamedTuple):
    """Pairs of a true box and a prediction that shall answer for it, all `(P,)` int64.

    Attributes:
        box: index of the true box.
        anchor, row, column: place of the prediction in its level.
    """

    box: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor


def assign(boxes: Tensor, anchors: Tensor, stride: int, grid: tuple[int, int]) -> Assigned:
    """Assign true boxes to one level's predictions.

    An anchor matches where `max(w / wa, wa / w, h / ha, ha / h) < 4`. The box is given to the cell of its centre and,
    inside the grid, to the neighbour to the left or right and to the one above or below, each on the side that the
    centre is nearer to (to none of the two where it lies exactly between). A box may match several anchors, on several
    levels, or none; one without area matches none.

    Args:
        boxes: `(M, 4)` `xyxy` in network pixels.
        anchors: `(A, 2)` width and height in network pixels.
        stride: pixels a cell.
        grid: rows and columns of the level.
    """
    sizes = boxes[:, 2:] - boxes[:, :2]
    ratios = sizes[:, None] / anchors
    matches = (torch.maximum(ratios, 1 / ratios).amax(2) < LARGEST_RATIO) & (sizes > 0).all(1)[:, None]
    box, anchor = matches.nonzero(as_tuple=True)

    centre = (boxes[box, :2] + boxes[box, 2:]) / (2 * stride)
    last = torch.tensor([grid[1] - 1, grid[0] - 1], device=boxes.device)
    cell = torch.minimum(centre.floor().long().clamp_min(0), last)
    side = torch.sign(centre - cell - 0.5).long()  # -1: nearer to the left or upper edge of its cell
    across, down = side.clone(), side.clone()
    across[:, 1], down[:, 0] = 0, 0

    places = torch.cat([cell, cell + across, cell + down])
    moved = torch.cat([torch.ones_like(box, dtype=torch.bool), side[:, 0] != 0, side[:, 1] != 0])
    keep = moved & (places >= 0).all(1) & (places <= last).all(1)
    places = places[keep]
    return Assigned(box.repeat(3)[keep], anchor.repeat(3)[keep], places[:, 1], places[:, 0])
