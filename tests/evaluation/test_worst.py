"""Which images go onto the contact sheet, by what was scored."""

from __future__ import annotations

import numpy as np

from defectctl.evaluation.worst import row_remark, worst_rows
from defectctl.metrics.boxes import Detections, match_image
from defectctl.metrics.table import ImageTable


def table_of(confusions, known: bool = True, **columns) -> ImageTable:
    n = len(confusions)
    values = {"score": np.zeros(n), "defective": np.ones(n), **columns}
    side, histograms = np.full((n, 2), known), np.zeros((n, 256))
    return ImageTable(
        [f"{i}.png" for i in range(n)],
        ["dent"],
        np.array(confusions),
        np.zeros(n),
        values["score"],
        values["defective"],
        side,
        histograms,
        histograms,
        values.get("detections"),
    )


NOTHING = [[[0, 0], [0, 0]]]


def test_masks_are_ordered_by_iou_then_by_wrong_pixels() -> None:
    table = table_of([[[9, 1], [0, 1]], [[9, 1], [0, 0]], [[9, 0], [0, 9]], [[9, 5], [0, 0]]])
    assert worst_rows(table) == [3, 1, 0] and worst_rows(table, count=1) == [3]
    assert row_remark(table, 0) == "IoU 0.50, score 0.00"


def test_boxes_are_ordered_by_f1_then_by_mistakes() -> None:
    box, far = [0, 0, 9, 9], [50, 50, 60, 60]
    found = [
        ([box], [0.9], [box]),  # right
        ([far], [0.9], [box]),  # wrong and missed
        ([box, far], [0.9, 0.9], [box]),  # right and wrong
        ([far], [0.2], [box]),  # missed, for the wrong one is not reported
    ]
    parts = [
        match_image(np.array(b), s, [1] * len(b), np.array(t), [1] * len(t), [False] * len(t), [True, True])
        for b, s, t in found
    ]
    table = table_of(NOTHING * 4, known=False, detections=Detections.joined(parts))
    assert worst_rows(table, 0.5) == [1, 3, 2]
    assert row_remark(table, 2, 0.5) == "boxes 1 right, 1 wrong, 0 missed, score 0.00"


def test_verdicts_are_ordered_by_how_wrong_they_are() -> None:
    scores, states = [0.9, 0.2, 0.6, 0.1, 0.9], [1, 1, 0, 0, -1]
    table = table_of(NOTHING * 5, known=False, score=scores, defective=states)
    assert worst_rows(table) == [1, 2]
    assert [row_remark(table, n) for n in (1, 2, 4)] == ["defective, score 0.20", "good, score 0.60", "score 0.90"]
