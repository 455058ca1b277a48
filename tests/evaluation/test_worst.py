"""Which images go onto the contact sheet, by what was scored."""

from __future__ import annotations

import numpy as np
from evaluation_toys import square
from evaluation_toys import table_of as table_of_masks

from defectctl.evaluation.worst import row_remark, worst_alarms, worst_misses, worst_rows
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


def dents(*rows: tuple[list, list, float, int]) -> ImageTable:
    """A segmentation's table; each row: boxes of true dents, of predicted ones, score and state of the part."""
    truths = [square(40, *true) for true, *_ in rows]
    guesses = [square(40, *said) for _, said, *_ in rows]
    return table_of_masks(truths, guesses, [row[2] for row in rows], [row[3] for row in rows])


BIG, SMALL, FAR = (0, 0, 10, 10), (20, 20, 23, 23), (30, 30, 34, 34)


def test_escapes_come_before_missed_defects_and_lower_scores_first() -> None:
    table = dents(
        ([BIG], [BIG], 0.9, 1),  # found
        ([BIG, SMALL], [BIG], 0.8, 1),  # NG, though one dent is missed
        ([BIG], [], 0.3, 1),  # escape
        ([SMALL], [SMALL], 0.2, 1),  # escape, although it is outlined
        ([BIG, SMALL], [SMALL], 0.9, 1),  # NG; the larger dent is missed
        ([], [BIG], 0.1, 0),  # no miss
        ([BIG], [], 0.1, -1),  # state unknown: nothing escaped, but a defect is missed
    )
    expected = [
        (3, "escape"),
        (2, "escape, 1 of 1 defects missed"),
        (6, "1 of 1 defects missed"),
        (4, "1 of 2 defects missed"),
        (1, "1 of 2 defects missed"),
    ]
    assert worst_misses(table, {"ng": 0.5}) == expected
    assert worst_misses(table, {"ng": 0.5}, count=2) == expected[:2]
    assert [row for row, _ in worst_misses(table, {"ok": 0.25, "ng": 0.5})] == [3, 2, 6, 4, 1], "UNSURE is no escape"


def test_good_parts_stopped_come_before_false_defects_and_higher_scores_first() -> None:
    table = dents(
        ([], [], 0.1, 0),
        ([], [SMALL], 0.6, 0),
        ([], [], 0.9, 0),
        ([BIG], [BIG, SMALL, FAR], 0.9, 1),
        ([BIG], [BIG], 0.9, 1),
        ([], [FAR], 0.2, 0),  # OK, with a false defect of 16 pixels
        ([], [BIG], 0.4, -1),
    )
    assert worst_alarms(table, {"ng": 0.5}) == [
        (2, "good part stopped"),
        (1, "good part stopped, 1 false defect"),
        (6, "1 false defect"),
        (3, "2 false defects"),
        (5, "1 false defect"),
    ]


def corners(boxes: list) -> np.ndarray:
    return np.array(boxes, np.float64).reshape(-1, 4)


def test_a_detectors_misses_and_alarms_are_its_boxes() -> None:
    box, far = [0, 0, 9, 9], [50, 50, 60, 60]
    found = [
        ([box], [0.9], [box]),  # right
        ([far], [0.9], [box]),  # wrong and missed
        ([], [], [box, far]),  # both missed, an escape
        ([far], [0.2], []),  # below the score from which boxes are reported
        ([far, box], [0.9, 0.8], []),  # a good part stopped by two boxes
    ]
    parts = [
        match_image(corners(b), s, [1] * len(b), corners(t), [1] * len(t), [False] * len(t), [True] * 2)
        for b, s, t in found
    ]
    columns = {"score": [0.9, 0.9, 0.0, 0.2, 0.9], "defective": [1, 1, 1, 0, 0]}
    table = table_of(NOTHING * 5, known=False, detections=Detections.joined(parts), **columns)
    assert worst_misses(table, {"ng": 0.5}, 0.5) == [(2, "escape, 2 of 2 defects missed"), (1, "1 of 1 defects missed")]
    assert worst_alarms(table, {"ng": 0.5}, 0.5) == [(4, "good part stopped, 2 false defects"), (1, "1 false defect")]


def test_a_decisions_misses_and_alarms_are_its_verdicts() -> None:
    scores, states = [0.9, 0.2, 0.6, 0.1, 0.4, 0.9, 0.7], [1, 1, 0, 0, 1, -1, 0]
    table = table_of(NOTHING * 7, known=False, score=scores, defective=states)
    assert worst_misses(table, {"ng": 0.5}) == [(1, "escape"), (4, "escape")]
    assert worst_alarms(table, {"ng": 0.5}) == [(6, "good part stopped"), (2, "good part stopped")]
    assert worst_misses(table, {"ng": 0.0}) == [] == worst_alarms(table, {"ng": 1.0})
