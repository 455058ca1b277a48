"""The three losses of a YOLOv5 detector: complete IoU of the boxes, objectness of all cells, class of the boxes."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from defectctl.models.multitask.assignment import Assigned, assign
from defectctl.models.multitask.decoding import split_anchors, to_corners
from defectctl.models.multitask.detection import STRIDES
from defectctl.models.output import Targets

LEVEL_WEIGHTS = (4.0, 1.0, 0.4)
"""Of the objectness at strides 8, 16, 32: fine levels have more cells, and so a smaller share of positives."""

BOX_GAIN, CLASS_GAIN, OBJECTNESS_GAIN = 0.05, 0.5, 1.0
"""YOLOv5's gains, tuned for COCO: 80 classes and images of 640 px."""

EPS = 1e-7


def complete_iou(first: Tensor, second: Tensor) -> Tensor:
    """Complete IoU of boxes pair by pair, in -1.5..1 (Zheng et al., AAAI 2020, arXiv 1911.08287, eqs. 10 to 12).

    `IoU - d^2 / c^2 - a v` with d the distance of the centres, c the diagonal of the smallest box around both,
    `v = 4 / pi^2 (atan(w / h) - atan(w' / h'))^2` and `a = v / (1 - IoU + v)`, through which no gradient flows.

    Args:
        first, second: `(P, 4)` `xyxy` float32.

    Returns:
        `(P,)`.
    """
    low, high = torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:])
    common = (high - low).clamp_min(0).prod(1)
    side, other = first[:, 2:] - first[:, :2], second[:, 2:] - second[:, :2]
    iou = common / (side.prod(1) + other.prod(1) - common + EPS)
    around = torch.maximum(first[:, 2:], second[:, 2:]) - torch.minimum(first[:, :2], second[:, :2])
    apart = (first[:, :2] + first[:, 2:] - second[:, :2] - second[:, 2:]) / 2
    distance = apart.square().sum(1) / (around.square().sum(1) + EPS)
    angle = torch.atan(side[:, 0] / (side[:, 1] + EPS)) - torch.atan(other[:, 0] / (other[:, 1] + EPS))
    shape = 4 / math.pi**2 * angle.square()
    with torch.no_grad():
        trade = shape / (1 - iou + shape + EPS)
    return iou - distance - trade * shape


class Truth(NamedTuple):
    """All boxes of a batch that somebody vouches for, and what is known of each image.

    Attributes:
        boxes: `(M, 4)` `xyxy`.
        image: `(M,)` int64, the image a box lies in.
        label: `(M,)` int64, 0 for the first class.
        known: `(N, classes)` bool, classes whose boxes are complete.
    """

    boxes: Tensor
    image: Tensor
    label: Tensor
    known: Tensor

    @classmethod
    def of(cls, targets: Targets) -> Truth:
        """Join the images' boxes, leaving out those of classes that are not known."""
        known = targets.known_boxes[:, 1:]
        counts = torch.tensor([len(boxes) for boxes in targets.boxes], device=known.device)
        image = torch.repeat_interleave(torch.arange(len(counts), device=known.device), counts)
        boxes = torch.cat([boxes.reshape(-1, 4) for boxes in targets.boxes]).float()
        label = torch.cat([labels.reshape(-1) for labels in targets.box_labels]).long() - 1
        vouched = known[image, label]
        return cls(boxes[vouched], image[vouched], label[vouched], known)


def box_losses(levels: list[Tensor], targets: Targets, anchors: Tensor) -> dict[str, Tensor]:
    """The sums over the levels of each loss, YOLOv5's gains in them.

    `box`: 0.05 mean(1 - CIoU) over the assigned pairs. `objectness`: (size / 640)^2 times the mean binary
    cross-entropy over all anchors of all cells, times 4, 1 and 0.4 by level; the target is the CIoU of the pair
    without its gradient, at least 0 (the largest where a prediction answers for several boxes), and 0 elsewhere; size
    is the geometric mean of the input's sides. `class`: 0.5 classes / 80 times the mean binary cross-entropy over the
    pairs' classes; 0 where there is one class. YOLOv5 multiplies all three by the batch size; here the preset's
    weights do.

    An image teaches only what is known of its boxes: `class` looks at its known classes alone, and its empty cells
    count for `objectness` only where all classes are known, since elsewhere something unlabelled may stand there. An
    image of which nothing is known does not count at all.

    Args:
        levels: raw detections at strides 8, 16, 32.
        targets: the truth.
        anchors: `(3, 3, 2)` width and height in network pixels by level.

    Returns:
        `box`, `objectness` and `class`, float32 scalars; 0, and attached to the graph, where there is no box.
    """
    with torch.autocast(levels[0].device.type, enabled=False):
        truth = Truth.of(targets)
        sums = [torch.zeros((), device=levels[0].device) for _ in range(3)]
        for level, sizes, stride, weight in zip(levels, anchors, STRIDES, LEVEL_WEIGHTS, strict=True):
            raw = split_anchors(level)
            pairs = assign(truth.boxes, sizes, stride, (raw.shape[2], raw.shape[3]))
            chosen = raw[truth.image[pairs.box], pairs.anchor, pairs.row, pairs.column]
            cells = torch.stack([pairs.column, pairs.row], dim=1)
            overlap = complete_iou(
                to_corners(chosen[:, :4], cells, sizes[pairs.anchor], stride), truth.boxes[pairs.box]
            )
            terms = (
                (1 - overlap).sum() / max(1, len(overlap)),
                weight * _objectness(raw[..., 4], pairs, overlap.detach(), truth),
                _class(chosen[:, 5:], pairs, truth),
            )
            sums = [total + term for total, term in zip(sums, terms, strict=True)]
        height, width = targets.images.shape[2:]
        classes = truth.known.shape[1]
        return {
            "box": BOX_GAIN * sums[0],
            "objectness": OBJECTNESS_GAIN * height * width / 640**2 * sums[1],
            "class": CLASS_GAIN * classes / 80 * sums[2],
        }


def _objectness(logits: Tensor, pairs: Assigned, overlap: Tensor, truth: Truth) -> Tensor:
    """Mean over the predictions `(N, 3, h, w)` of the images of which anything is known."""
    count, anchors, height, width = logits.shape
    place = ((truth.image[pairs.box] * anchors + pairs.anchor) * height + pairs.row) * width + pairs.column
    goal = torch.zeros(logits.numel(), device=logits.device)
    goal = goal.scatter_reduce(0, place, overlap.clamp_min(0), "amax").view_as(logits)
    counted = truth.known.all(1).repeat_interleave(logits[0].numel())
    counted[place] = True
    values = F.binary_cross_entropy_with_logits(logits, goal, reduction="none")
    speaking = truth.known.any(1).sum().clamp_min(1)
    return (values * counted.view_as(logits)).sum() / (speaking * (logits.numel() // count))


def _class(logits: Tensor, pairs: Assigned, truth: Truth) -> Tensor:
    """Mean over the pairs `(P, classes)` and the classes known in their images."""
    if logits.shape[1] == 1:
        return 0 * logits.sum()
    goal = F.one_hot(truth.label[pairs.box], logits.shape[1]).to(logits.dtype)
    counted = truth.known[truth.image[pairs.box]].to(logits.dtype)
    values = F.binary_cross_entropy_with_logits(logits, goal, reduction="none")
    return (values * counted).sum() / counted.sum().clamp_min(1)
