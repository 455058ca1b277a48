"""Picks the images on which a model does worst, by what it delivers: masks, boxes, or a verdict."""

from __future__ import annotations

import numpy as np

from defectctl.metrics.boxes import box_counts
from defectctl.metrics.segmentation import image_defect_iou
from defectctl.metrics.table import ImageTable

WORST = 12
"""Images on the contact sheet."""


def worst_rows(table: ImageTable, box_score: float = 0.0, count: int = WORST) -> list[int]:
    """Row numbers of the worst images, worst first; images without any mistake are left out.

    Where masks were scored: lowest defect IoU, among equals most wrong pixels. Else where boxes were: lowest F1 of the
    boxes of at least `box_score` at overlap 0.5, among equals most wrong and missed boxes. Else the parts whose score
    is furthest from their state, from half a probability on.
    """
    if table.known[:, 0].any():
        judged = _by_masks(table)
    elif table.detections is not None:
        judged = _by_boxes(table, box_score)
    else:
        judged = _by_score(table)
    return [row for *_, row in sorted(judged)[:count]]


def row_remark(table: ImageTable, row: int, box_score: float = 0.0) -> str:
    """What is wrong with one image, in a few words."""
    words = []
    if (iou := image_defect_iou(table)[row]) is not None:
        words.append(f"IoU {iou:.2f}")
    if table.detections is not None:
        right, wrong, missed = (int(counts[row]) for counts in box_counts(table.detections, box_score))
        words.append(f"boxes {right} right, {wrong} wrong, {missed} missed")
    state = {1: "defective", 0: "good"}.get(int(table.defective[row]))
    words.append(f"{state + ', ' if state and not words else ''}score {table.score[row]:.2f}")
    return ", ".join(words)


def _by_masks(table: ImageTable) -> list[tuple[float, int, int]]:
    wrong = table.confusion.sum(axis=(1, 2)) - np.trace(table.confusion, axis1=1, axis2=2)
    iou = image_defect_iou(table)
    return [(value, -int(wrong[n]), n) for n, value in enumerate(iou) if value is not None and wrong[n] > 0]


def _by_boxes(table: ImageTable, box_score: float) -> list[tuple[float, int, int]]:
    assert table.detections is not None
    right, wrong, missed = box_counts(table.detections, box_score)
    mistakes = wrong + missed
    f1 = 2 * right / np.maximum(2 * right + mistakes, 1)
    return [(float(f1[n]), -int(mistakes[n]), n) for n in np.flatnonzero(mistakes).tolist()]


def _by_score(table: ImageTable) -> list[tuple[float, int]]:
    distance = np.abs(table.score - table.defective)
    return [(-float(distance[n]), n) for n in np.flatnonzero((table.defective >= 0) & (distance >= 0.5)).tolist()]
