"""Picks the images on which a model does worst: by what it delivers, the worst misses, the worst false alarms."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from defectctl.metrics.boxes import box_counts
from defectctl.metrics.image_level import verdicts
from defectctl.metrics.instances import instance_counts
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


def worst_misses(
    table: ImageTable, thresholds: Mapping[str, float], box_score: float = 0.0, count: int = WORST
) -> list[tuple[int, str]]:
    """Row numbers of the images where most is missed, worst first, each with what is missed.

    Escapes come first, the lowest score before the others; then parts of which single defects (or, of a model that only
    detects, boxes) are missed, the largest share of their defect pixels (boxes) first.
    """
    defects, found, _ = _things(table, box_score)
    missed = defects - found
    recall = _share(table.confusion[:, 1:, 1:].sum(axis=(1, 2)), table.confusion[:, 1:].sum(axis=(1, 2)))
    share = np.where(np.isnan(recall), found / np.maximum(defects, 1), recall)
    called = verdicts(table, thresholds)
    ranked = []
    for row in range(len(table)):
        escape = table.defective[row] == 1 and called[row] == 0
        if escape or missed[row]:
            ranked.append((not escape, float(table.score[row]) if escape else 0.0, float(share[row]), row))
    ranked = sorted(ranked)[:count]
    return [(row, _miss_remark(not later, int(missed[row]), int(defects[row]))) for later, _, _, row in ranked]


def _miss_remark(escape: bool, missed: int, defects: int) -> str:
    told = f"{missed} of {defects} defects missed" if missed else ""
    return ", ".join(filter(None, ("escape" if escape else "", told)))


def worst_alarms(
    table: ImageTable, thresholds: Mapping[str, float], box_score: float = 0.0, count: int = WORST
) -> list[tuple[int, str]]:
    """Row numbers of the worst false alarms, worst first, each with what is false.

    Good parts called NG come first, the highest score before the others; then images with predicted defects (or, of a
    model that only detects, boxes) that touch no true one, the most pixels called a defect wrongly (boxes) first.
    """
    _, _, false = _things(table, box_score)
    pixels = table.confusion[:, 0, 1:].sum(axis=1)
    called = verdicts(table, thresholds)
    ranked = []
    for row in range(len(table)):
        stopped = table.defective[row] == 0 and called[row] == 2
        if stopped or false[row]:
            wrong = int(pixels[row]) or int(false[row])
            ranked.append((not stopped, -float(table.score[row]) if stopped else 0.0, -wrong, row))
    return [(row, _alarm_remark(not later, int(false[row]))) for later, _, _, row in sorted(ranked)][:count]


def _alarm_remark(stopped: bool, false: int) -> str:
    told = f"{false} false {'defect' if false == 1 else 'defects'}" if false else ""
    return ", ".join(filter(None, ("good part stopped" if stopped else "", told)))


def _things(table: ImageTable, box_score: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per image true defects, those found, and false ones: outlined ones, else boxes, else none."""
    if table.instances is not None:
        return instance_counts(table.instances)
    if table.detections is not None:
        right, wrong, missed = box_counts(table.detections, box_score)
        return right + missed, right, wrong
    nothing = np.zeros(len(table), np.int64)
    return nothing, nothing, nothing


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


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
