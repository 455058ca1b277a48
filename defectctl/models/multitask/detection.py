"""The detection decoder of YOLOv5 v6: a path back down to stride 32, and a 1x1 head on each of three levels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from defectctl.models.blocks.cbs import CBS
from defectctl.models.blocks.csp import C3
from defectctl.models.multitask.encoder import Features

STRIDES = (8, 16, 32)
"""Pixels of the network's input a cell, by level."""

ANCHORS_PER_LEVEL = 3


class DetectionDecoder(nn.Module):
    """`forward`: the encoder's `Features` to N4 `(N, w[3], H / 16, W / 16)`, N5 `(N, w[4], H / 32, W / 32)` and a list.

    The list holds the raw detections of F3, N4 and N5, `(N, 3 (5 + classes), h, w)` each: per anchor x, y, width,
    height, objectness and classes, all before the sigmoid.

    Args:
        classes: defect classes.
        widths: the encoder's.
        repeats: bottlenecks of each block.
    """

    def __init__(self, classes: int, widths: tuple[int, ...], repeats: int) -> None:
        super().__init__()
        _, _, w3, w4, w5 = widths
        self.down4 = CBS(w3, w3, 3, 2)
        self.merge4 = C3(2 * w3, w4, repeats, add=False)
        self.down5 = CBS(w4, w4, 3, 2)
        self.merge5 = C3(2 * w4, w5, repeats, add=False)
        self.heads = nn.ModuleList(nn.Conv2d(width, ANCHORS_PER_LEVEL * (5 + classes), 1) for width in (w3, w4, w5))
        self._start_rare(classes)

    def _start_rare(self, classes: int) -> None:
        """Start with the belief that 8 objects stand in an image of 640 x 640, and that classes are equally likely.

        Otherwise the many empty cells would rule the first updates (arXiv 1708.02002, section 3.3).
        """
        with torch.no_grad():
            for head, stride in zip(self.heads, STRIDES, strict=True):
                bias = head.bias.view(ANCHORS_PER_LEVEL, 5 + classes)
                bias[:, 4] = math.log(8 / (640 / stride) ** 2)
                if classes > 1:
                    bias[:, 5:] = math.log(0.6 / (classes - 1))

    def forward(self, features: Features) -> tuple[Tensor, Tensor, list[Tensor]]:
        n4 = self.merge4(torch.cat([self.down4(features.f3), features.t4], dim=1))
        n5 = self.merge5(torch.cat([self.down5(n4), features.t5], dim=1))
        levels = (features.f3, n4, n5)
        return n4, n5, [head(level) for head, level in zip(self.heads, levels, strict=True)]
