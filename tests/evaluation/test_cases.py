"""The pictures of the worst images: which are drawn, kept, and shown again."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from evaluation_toys import decided, scored_of

from defectctl.evaluation.asked import Asked
from defectctl.evaluation.cases import cases_of, copy_pictures, draw_pictures, true_boxes
from defectctl.evaluation.part import load_part
from defectctl.evaluation.result import build_result
from defectctl.evaluation.shown import Shown
from defectctl.loading.pictures import PictureStore

JPEG = b"\xff\xd8"


@pytest.fixture
def told():
    """Six parts, of which 1 and 2 escape and 4 is stopped."""
    table = decided([0.9, 0.2, 0.1, 0.3, 0.8, 0.4], [1, 1, 1, 0, 0, -1])
    asked = Asked(rounds=100)
    return table, build_result(scored_of(table, tasks=["decision"], own_thresholds={"ng": 0.5}), asked)


def test_pictures_are_drawn_kept_and_found_again(told, tmp_path: Path):
    table, result = told
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "000001-map.jpg").write_bytes(JPEG + b"of an earlier evaluation")

    def draw(row: int) -> dict[str, bytes]:
        return {"truth": JPEG + b"t%d" % row, "prediction": JPEG + b"p%d" % row}

    misses, alarms = cases_of(table, result, tmp_path, draw)
    assert [(c.id, c.verdict, c.score, c.remark) for c in misses] == [
        ("02.png", "OK", 0.1, "escape"),
        ("01.png", "OK", 0.2, "escape"),
    ]
    assert [(c.id, c.verdict) for c in alarms] == [("04.png", "NG")]
    assert misses[0].pictures == [("truth", JPEG + b"t2"), ("prediction", JPEG + b"p2")]
    assert len(list((tmp_path / "pictures").iterdir())) == 6, "those of the earlier evaluation are gone"
    assert cases_of(table, result, tmp_path, None) == (misses, alarms)


def test_rows_without_a_kept_picture_are_told_without_one(told, tmp_path: Path):
    table, result = told
    cases_of(table, {**result, "thresholds": {"ng": 0.15}}, tmp_path, lambda row: {"truth": JPEG})
    misses, alarms = cases_of(table, result, tmp_path, None)
    assert [len(case.pictures) for case in misses] == [1, 0] and len(alarms[0].pictures) == 1


def test_what_is_no_jpeg_is_not_shown(told, tmp_path: Path):
    table, result = told
    cases_of(table, result, tmp_path, lambda row: {"truth": b"", "map": JPEG})
    assert cases_of(table, result, tmp_path, None)[0][0].pictures == [("defect map", JPEG)]


def test_pictures_are_numbered_by_the_new_table(tmp_path: Path):
    for folder, row, data in (("a", 0, b"a0"), ("a", 1, b"a1"), ("b", 0, b"b0"), ("o", 7, b"old")):
        (tmp_path / folder / "pictures").mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "pictures" / f"{row:06d}-truth.jpg").write_bytes(data)
    copy_pictures(
        [(tmp_path / "a", [2, 0]), (None, [5]), (tmp_path / "b", [1]), (tmp_path / "none", [3])], tmp_path / "o"
    )
    found = {p.name: p.read_bytes() for p in (tmp_path / "o" / "pictures").iterdir()}
    assert found == {"000002-truth.jpg": b"a0", "000000-truth.jpg": b"a1", "000001-truth.jpg": b"b0"}


@pytest.fixture
def pictures(steel):
    part = load_part(steel.root, None, "test")
    return part, PictureStore(part.dataset, "rgb", cache_bytes=0)


def test_only_what_is_known_and_delivered_is_drawn(steel, pictures):
    part, store = pictures
    sample = part.samples[2]
    mask = steel.guess(sample.id)
    full = Shown(mask, np.full(mask.shape, 9, np.uint8), [(1, (5, 5, 20, 20), 0.9)])

    def drawn(shown: Shown) -> dict[str, bytes]:
        return draw_pictures(part, sample, shown, store, 0)

    assert set(drawn(full)) == {"truth", "prediction", "map"}
    assert set(drawn(Shown(mask))) == {"truth", "prediction"}
    assert set(drawn(Shown(None, None, []))) == {"truth", "prediction"}
    assert set(drawn(Shown(None))) == {"truth"}, "a decision outlines nothing"
    for data in drawn(full).values():
        assert data.startswith(JPEG) and cv2.imdecode(np.frombuffer(data, np.uint8), 1).ndim == 3
    outlined, plain = (drawn(Shown(m))["prediction"] for m in (mask, np.zeros_like(mask)))
    assert outlined != plain


def test_without_a_known_truth_the_picture_alone_is_drawn(steel, pictures, monkeypatch):
    part, store = pictures
    monkeypatch.setattr(store, "mask", lambda sample: None)
    monkeypatch.setattr("defectctl.evaluation.cases.true_boxes", lambda *_: None)
    shown = (Shown(None), Shown(np.zeros((48, 64), np.uint8)), Shown(None, None, []))
    drawn = [set(draw_pictures(part, part.samples[0], one, store, 0)) for one in shown]
    assert drawn == [{"picture"}, {"prediction"}, {"prediction"}]


def test_true_boxes_are_the_components_of_a_known_mask(steel, pictures):
    part, store = pictures
    good, bad = part.samples[0], part.samples[2]
    assert true_boxes(part, good, store.mask(good), 0) == []
    assert true_boxes(part, bad, None, 0) is None
    boxes = true_boxes(part, bad, store.mask(bad), 0)
    truth = steel.truth[bad.id]
    for label, (left, top, right, bottom) in boxes:
        assert (truth[int(top) : int(bottom), int(left) : int(right)] == label).any()
    assert len(true_boxes(part, bad, store.mask(bad), 10**6)) == 0
