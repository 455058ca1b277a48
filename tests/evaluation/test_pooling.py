"""Folds put into one: the figures of one table of all images, and what cannot be pooled."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from evaluation_toys import decided, scored_of, square, table_of

from defectctl.errors import InputError
from defectctl.evaluation.asked import Asked
from defectctl.evaluation.evaluate import judge_again
from defectctl.evaluation.page import build_page
from defectctl.evaluation.pooling import pool
from defectctl.evaluation.result import build_result
from defectctl.evaluation.scored import load_scored
from defectctl.fileio import write_bytes

QUICK, JPEG = Asked(rounds=100), b"\xff\xd8"
DENT, HALF, NONE = square(20, (2, 2, 8, 8)), square(20, (2, 2, 8, 4)), square(20)
TRUTHS, GUESSES, SCORES, STATES = [DENT, NONE] * 3, [HALF, NONE, DENT, DENT, NONE, NONE], [3, 1, 4, 6, 0, 2], [1, 0] * 3
NAMES = ["b", "d", "a", "e", "c", "f"]
SCORES = [score / 10 for score in SCORES]


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("defectctl.reports.confusion.draw_confusion", lambda *more: write_bytes(more[2], b"matrix"))


def fold(rows: slice, name: str = "a", split: str = "fold-0", **more):
    table = table_of(TRUTHS[rows], GUESSES[rows], SCORES[rows], STATES[rows], ids=NAMES[rows])
    scored = scored_of(table, **({"own_thresholds": {"ng": 0.25}} | more))
    scored.about["dataset"] |= {"split": split, "split_fingerprint": split}
    if scored.about["model"] is not None:
        scored.about["model"]["file"] = f"runs/{name}-001/model.safetensors"
    return scored


def folds(**more):
    return [fold(slice(0, 3), "a", "fold-0", **more), fold(slice(3, 6), "b", "fold-1", **more)]


def figures(result: dict) -> dict[str, float]:
    """All numbers below `metrics`, whose sums may have been made in another order."""

    def numbers(value, name: str):
        pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in pairs:
            yield from numbers(inner, f"{name}.{key}")
        if isinstance(value, int | float):
            yield name, value

    return dict(numbers(result["metrics"], ""))


def test_the_pool_has_the_figures_of_one_table_of_all_images(tmp_path: Path):
    result = pool(folds(), QUICK, tmp_path / "o")
    whole = build_result(fold(slice(0, 6)), QUICK)
    assert figures(result) == pytest.approx(figures(whole)) and len(figures(whole)) > 50
    assert result["parts"] == whole["parts"]
    assert result["metrics"]["defect_iou"] == pytest.approx((12 + 36) / (3 * 36 + 36))
    assert result["dataset"]["images"] == 6 and result["dataset"]["split"] == "fold-0, fold-1"
    assert result["leak"]["train_images"] == 0 and result["groups"] == 6
    again = judge_again(load_scored(tmp_path / "o"), Asked({"ng": 0.5}, rounds=100), tmp_path / "again")
    assert figures(again) == figures(result) and again["parts"]["escapes"] == 3
    files = [fold["file"] for fold in again["model"]["folds"]]
    assert files == ["runs/a-001/model.safetensors", "runs/b-001/model.safetensors"]
    assert build_page(load_scored(tmp_path / "o").table, result, [], []).model == "a-001, b-001"


def test_pictures_of_the_folds_follow_their_images(tmp_path: Path):
    """'a' is row 2 of the first fold and row 0 of the pool; what another evaluation left in the folder goes."""
    first, second = folds()
    write_bytes(tmp_path / "1" / "pictures" / "000002-truth.jpg", JPEG + b"a")
    write_bytes(tmp_path / "1" / "pictures" / "000000-truth.jpg", JPEG + b"b")
    write_bytes(tmp_path / "2" / "pictures" / "000001-map.jpg", JPEG + b"c")
    write_bytes(tmp_path / "o" / "pictures" / "000004-truth.jpg", b"stale")
    write_bytes(tmp_path / "o" / "worst.png", b"stale")
    pool([replace(first, folder=tmp_path / "1"), replace(second, folder=tmp_path / "2")], QUICK, tmp_path / "o")
    kept = {p.name: p.read_bytes() for p in (tmp_path / "o" / "pictures").iterdir()}
    assert kept == {"000000-truth.jpg": JPEG + b"a", "000001-truth.jpg": JPEG + b"b", "000002-map.jpg": JPEG + b"c"}
    assert not (tmp_path / "o" / "worst.png").exists()


def test_leaks_add_up_and_unknown_stays_unknown(tmp_path: Path):
    leak = {"train_images": 2, "val_images": 1, "text": "LEAK: 2", "serious": True}
    first, second = folds()
    first.about["leak"] = leak
    assert pool([first, second], QUICK, tmp_path / "o")["leak"] == {**leak, "text": "LEAK: 2"}
    second.about["leak"] = {"train_images": None, "val_images": None, "text": "not known", "serious": False}
    result = pool([first, second], QUICK, tmp_path / "o")
    assert result["leak"] == {"train_images": None, "val_images": None, "text": "LEAK: 2; not known", "serious": True}


def test_masks_of_folds_are_pooled_under_all_their_names(tmp_path: Path):
    first, second = folds(own_thresholds={}, masks="m")
    second.about["masks"] = "n"
    result = pool([first, second], QUICK, tmp_path / "o")
    assert result["masks"] == "m, n" and result["model"] is None and result["metrics"]["image_ap"] is None
    assert json.loads((tmp_path / "o" / "metrics.json").read_text(encoding="utf-8"))["masks"] == "m, n"


def test_thresholds_that_differ_need_one_for_all_which_stays(tmp_path: Path):
    first, second = folds()
    second.about["own_thresholds"] = {"ng": 0.9}
    with pytest.raises(InputError, match="--threshold"):
        pool([first, second], QUICK, tmp_path / "o")
    assert not (tmp_path / "o").exists()
    result = pool([first, second], Asked({"ng": 0.35}, rounds=100), tmp_path / "o")
    assert result["thresholds"] == {"ng": 0.35} and result["parts"]["escapes"] == 2
    again = judge_again(load_scored(tmp_path / "o"), QUICK)
    assert again["parts"]["escapes"] == 2, "the first fold's own threshold is not the pool's"


def test_what_does_not_belong_together_is_refused(tmp_path: Path):
    first = folds()[0]
    out = tmp_path / "o"

    def refused(other, word: str, base=first):
        with pytest.raises(InputError, match=word):
            pool([base, other], QUICK, out)
        assert not out.exists()

    refused(first, "more than one")
    refused(fold(slice(3, 6), tasks=["segmentation", "decision"]), "deliver different things")
    refused(fold(slice(3, 6), min_area=5), "different least areas")
    refused(fold(slice(3, 6), box_score=0.5), "boxes from different scores")
    refused(fold(slice(3, 6), masks="m"), "masks and of models")
    other = fold(slice(3, 6))
    other.about["dataset"]["fingerprint"] = "0"
    refused(other, "different data")
    old = fold(slice(3, 6))
    old.table.instances = None
    refused(old, "single defects")
    with pytest.raises(InputError, match="two evaluations or more"):
        pool([first], QUICK, out)
    mixed = scored_of(decided([0.1], [0]), own_thresholds={"ng": 0.25})
    refused(mixed, "single defects")


def test_the_folder_of_a_fold_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pool(folds(), QUICK, tmp_path / "fold")
    before = (tmp_path / "fold" / "metrics.json").read_bytes()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="one of the evaluations to be pooled"):
        pool([load_scored(tmp_path / "fold"), fold(slice(3, 6))], QUICK, Path("fold"))
    assert (tmp_path / "fold" / "metrics.json").read_bytes() == before
