"""The files of an evaluation: the line of each image, and that no file of an earlier one is left among them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from evaluation_toys import decided, scored_of, square, table_of

from defectctl.evaluation.asked import Asked
from defectctl.evaluation.files import images_csv, same_folder, write_files
from defectctl.evaluation.result import build_result
from defectctl.fileio import write_bytes
from defectctl.metrics.boxes import match_image

DENT, HALF, NONE = square(20, (2, 2, 8, 8)), square(20, (2, 2, 8, 5)), square(20)


def lines(table, thresholds: dict, box_score: float = 0.0) -> list[dict[str, str]]:
    return list(csv.DictReader(images_csv(table, thresholds, box_score).splitlines()))


def test_each_image_has_its_counts():
    ids = ["a, b.png", "c.png", "ж.png"]
    table = table_of(
        [DENT, NONE, None], [HALF, DENT, DENT], [0.5, 0.9, 0.4], [1, 0, -1], ids=ids, groups=["p", "p", ""]
    )
    first, second, third = lines(table, {"ok": 0.45, "ng": 0.8})
    assert first == {
        "id": "a, b.png",
        "group": "p",
        "truth": "defective",
        "verdict": "UNSURE",
        "score": "0.500000",
        "defect_iou": "0.500000",
        "tp": "18",
        "fp": "0",
        "fn": "18",
        "unknown": "0",
        "defects": "1",
        "defects_found": "1",
        "false_defects": "0",
    }
    assert [second[key] for key in ("truth", "verdict", "defect_iou", "fp", "false_defects")] == [
        "good",
        "NG",
        "0.000000",
        "36",
        "1",
    ]
    assert [third[key] for key in ("id", "group", "truth", "verdict", "defect_iou", "unknown", "defects")] == [
        "ж.png",
        "",
        "",
        "OK",
        "",
        "400",
        "0",
    ]


def test_a_detector_tells_its_boxes_and_a_decision_neither():
    box = np.array([[0, 0, 9, 9], [50, 50, 60, 60]])
    found = match_image(box, [0.9, 0.4], [1, 1], box[:1], [1], [False], [True, True])
    row = lines(decided([0.9], [1], detections=found), {"ng": 0.5}, 0.5)[0]
    assert (row["boxes_tp"], row["boxes_fp"], row["boxes_fn"]) == ("1", "0", "0")
    row = lines(decided([0.9], [1], detections=found), {"ng": 0.5}, 0.3)[0]
    assert (row["boxes_tp"], row["boxes_fp"], row["boxes_fn"]) == ("1", "1", "0")
    assert list(lines(decided([0.9], [1]), {"ng": 0.5})[0])[-1] == "unknown"


def test_a_confusion_matrix_of_before_goes_where_no_mask_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("defectctl.reports.confusion.draw_confusion", lambda *more: write_bytes(more[2], b"matrix"))
    masked, judged = table_of([DENT], [DENT], [0.9], [1]), decided([0.9], [1])
    for table, there in ((masked, True), (judged, False)):
        scored = scored_of(table, own_thresholds={"ng": 0.5})
        write_files(tmp_path, scored, build_result(scored, Asked(rounds=100)), lambda row: {})
        assert (tmp_path / "confusion.png").exists() is there


def test_one_folder_has_many_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    assert same_folder(tmp_path / "a", Path("a")) and same_folder(Path("a"), tmp_path / "a" / ".." / "a")
    assert not same_folder(tmp_path, tmp_path / "a") and not same_folder(None, tmp_path)
    assert not same_folder(tmp_path / "b", tmp_path / "b"), "what does not exist holds nothing"
