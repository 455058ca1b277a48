"""The first table of an evaluation: what stands first, and why a figure is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from evaluation_toys import decided, scored_of, square, table_of

from defectctl.evaluation.asked import Asked
from defectctl.evaluation.headline import headline
from defectctl.evaluation.result import build_result
from defectctl.metrics.boxes import match_image
from defectctl.reports.evaluation_data import Headline

QUICK = Asked(rounds=100)
DENT, NONE = square(20, (2, 2, 8, 8)), square(20)


def rows_of(table, everything: bool = True, asked: Asked = QUICK, **about: Any) -> dict[str, Headline]:
    result = build_result(scored_of(table, **about), asked)
    rows = headline(result, everything)
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.reason for row in rows if row.value is None), "what is missing says why"
    return {row.name: row for row in rows}


def test_the_defect_comes_first_then_what_becomes_of_parts():
    half = square(20, (2, 2, 8, 5))
    table = table_of([DENT, DENT, NONE, NONE], [half, NONE, NONE, DENT], [0.9, 0.1, 0.2, 0.7], [1, 1, 0, 0])
    rows = rows_of(table, own_thresholds={"ng": 0.5})
    assert list(rows)[:3] == ["defect IoU", "escapes", "overkill"]
    assert rows["defect IoU"].value == pytest.approx(18 / (72 + 36))
    assert (rows["escapes"].value, rows["escapes"].counts) == (0.5, (1, 2))
    assert (rows["overkill"].value, rows["overkill"].counts) == (0.5, (1, 2))
    assert rows["escapes"].interval[0] < 0.5 < rows["escapes"].interval[1]
    assert rows["defects found"].counts == (1, 2) and rows["false defects per image"].value == 0.25
    assert rows["smallest defect found"].value is None and "10 defects" in rows["smallest defect found"].reason
    assert rows["boundary error"].value > 0
    assert rows["image AUROC"].value == 0.5 and rows["FP at full recall"].counts == (2, 2)
    assert "unsure" not in rows
    between = rows_of(table, asked=Asked({"ok": 0.15, "ng": 0.8}, rounds=100))
    assert between["unsure"].value == 2 and between["escapes"].counts == (1, 2)
    assert between["overkill"].counts == (0, 2)


def test_the_screen_shows_fewer_pixel_figures_in_the_same_order():
    table = table_of([DENT, NONE], [DENT, NONE], [0.9, 0.1], [1, 0])
    few, all_rows = (list(rows_of(table, everything)) for everything in (False, True))
    assert len(few) < len(all_rows) and few == [name for name in all_rows if name in few]


def test_masks_are_ranked_by_nothing():
    table = table_of([DENT, NONE], [DENT, NONE], [1.0, 0.0], [1, 0], maps=False)
    rows = rows_of(table, masks="predicted")
    assert not {"image AP", "image AUROC", "best F1", "FP at full recall"} & set(rows)
    for name in ("pixel AP", "AUPRO 0.3", "AUPRO 0.05", "MAE", "weighted F", "S-measure", "E-measure, max"):
        assert rows[name].value is None and rows[name].interval is None
        assert rows[name].reason == "masks hold no probability"
    assert rows["defect IoU"].value == rows["defects found"].value == 1.0


def test_masks_of_which_nothing_is_known_say_so():
    rows = rows_of(table_of([None], [DENT], [1.0], [-1], maps=False), masks="predicted")
    for name in ("defect IoU", "mIoU", "Dice", "defects found", "false defects per image"):
        assert rows[name].value is None and "no image has a mask" in rows[name].reason
    assert rows["escapes"].value is None and rows["escapes"].reason == "no part is known to be defective"
    assert rows["overkill"].reason == "no part is known to be good"


def test_only_good_parts_leave_nothing_to_find():
    rows = rows_of(table_of([NONE, NONE], [NONE, NONE], [0.1, 0.2], [0, 0]))
    assert rows["escapes"].value is None and rows["overkill"].counts == (2, 2), "without `ng` any score stops a part"
    for name in ("defect IoU", "mIoU of defects", "Dice"):
        assert rows[name].value is None and "no known pixel is a defect" in rows[name].reason
    assert "true defect" in rows["defects found"].reason and "takes pixels of true defects" in rows["pixel AP"].reason
    assert rows["mIoU"].value == rows["F1 per image"].value == 1.0 and rows["false defects per image"].value == 0
    for name in ("image AP", "image AUROC"):
        assert rows[name].value is None and rows[name].reason == "takes both good and defective parts"
    assert "best F1" not in rows and "FP at full recall" not in rows


def test_only_defective_parts_and_one_image():
    rows = rows_of(table_of([DENT], [DENT], [0.9], [1]))
    assert rows["overkill"].value is None and rows["escapes"].counts == (0, 1)
    assert rows["image AP"].value is None and rows["defect IoU"].value == 1.0 and rows["defect IoU"].interval is None
    assert rows["boundary error"].value == 0.0


def test_unknown_classes_are_left_out_of_the_means():
    table = table_of([DENT, NONE], [DENT, NONE], [0.9, 0.1], [1, 0], classes=("dent", "scratch"))
    table.known[:, 2] = False
    rows = rows_of(table)
    assert rows["mIoU of defects"].value == 1.0
    result = build_result(scored_of(table), QUICK)
    assert "no mask speaks for scratch: left out" in result["notes"]
    assert result["metrics"]["per_class"]["scratch"]["iou"] is None


def test_a_decision_is_told_by_parts_alone():
    rows = rows_of(decided([0.9, 0.3, 0.4], [1, 1, 0]), tasks=["decision"], own_thresholds={"ng": 0.5})
    assert list(rows) == ["escapes", "overkill", "image AP", "image AUROC", "best F1", "FP at full recall"]
    assert rows["escapes"].counts == (1, 2) and rows["image AUROC"].value == 0.5
    unknown = rows_of(decided([0.9, 0.3], [-1, -1]), tasks=["decision"])
    assert all(row.value is None for row in unknown.values())


def test_a_detector_without_true_boxes():
    known = np.array([False, False])
    found = match_image(np.array([[0, 0, 5, 5]]), [0.9], [1], np.zeros((0, 4)), [], [], known)
    rows = rows_of(decided([0.9], [-1], detections=found), tasks=["detection"], box_score=0.25)
    assert list(rows)[:2] == ["mAP50", "mAP"] and rows["mAP"].reason == "no true box is known"


def test_no_interval_is_no_interval_of_zero_width():
    """All defects are missed in every resampled set, so resampling says nothing of the next parts."""
    rows = rows_of(table_of([DENT] * 3, [NONE] * 3, [0.0] * 3, [1] * 3))
    assert rows["defects found"].value == 0.0 and rows["defects found"].interval is None
    assert rows["escapes"].interval is not None and rows["escapes"].interval[0] < 1.0
