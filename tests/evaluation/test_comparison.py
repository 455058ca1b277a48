"""Two models on the same images: who is ahead, what is not compared, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from evaluation_toys import decided, scored_of, square, table_of

from defectctl.errors import InputError
from defectctl.evaluation.asked import Asked
from defectctl.evaluation.comparison import compare_scored
from defectctl.evaluation.result import RANKINGS
from defectctl.metrics.weighted_figures import LESS_IS_BETTER

QUICK = Asked(rounds=200)
DENT, HALF, NONE = square(20, (2, 2, 8, 8)), square(20, (2, 2, 8, 4)), square(20)
TRUTHS, STATES = [DENT] * 12 + [NONE] * 12, [1] * 12 + [0] * 12


def good():
    return table_of(TRUTHS, [DENT] * 12 + [NONE] * 12, np.linspace(1, 0, 24), STATES)


def poor():
    scores = np.r_[np.linspace(0.0, 0.9, 12), np.linspace(1.0, 0.1, 12)]
    return table_of(TRUTHS, [DENT, NONE] + [HALF, NONE] * 5 + [NONE, DENT] * 6, scores, STATES)


def ng(table, name: str = "a", **more):
    model = {"file": name, "sha256": "", "network": name, "training": {}, "dataset": {}}
    return scored_of(table, **({"own_thresholds": {"ng": 0.5}, "model": model} | more))


def test_better_is_said_by_sign_and_test_and_turns_with_the_order():
    one = compare_scored(ng(good()), ng(poor(), "b"), QUICK)
    two = compare_scored(ng(poor(), "b"), ng(good()), QUICK)
    rows = one["differences"]
    assert (one["first"]["name"], one["second"]["name"], one["images"], one["groups"]) == ("a", "b", 24, 24)
    for key in ("defect_iou", "instance_recall", "false_blobs_per_image", "escape_rate", "image_auroc", "mae"):
        assert rows[key]["better"] == "first", key
        assert two["differences"][key]["better"] == "second", key
        fell = rows[key]["difference"] < 0
        assert fell != (key in LESS_IS_BETTER) and rows[key]["p_value"] < 0.05
    assert rows["escape_rate"]["only_second"] == 7 and rows["escape_rate"]["only_first"] == 0
    same = compare_scored(ng(good()), ng(good(), "b"), QUICK)["differences"]
    assert {row["better"] for row in same.values()} == {None}
    assert {row["difference"] for row in same.values()} == {0.0}


def test_chance_is_left_open():
    scores = np.linspace(1, 0, 24)
    other = scores.copy()
    other[11] = 0.4  # one more escape
    rows = compare_scored(
        ng(table_of(TRUTHS, TRUTHS, scores, STATES)), ng(table_of(TRUTHS, TRUTHS, other, STATES)), QUICK
    )
    assert rows["differences"]["escape_rate"]["p_value"] == 1.0 and rows["differences"]["escape_rate"]["better"] is None


def test_thresholds_and_prices_that_are_asked_hold_for_both():
    asked = Asked({"ng": 0.0}, cost_escape=10, cost_overkill=2, rounds=100)
    found = compare_scored(ng(good()), ng(poor(), own_thresholds={"ng": 0.9, "pixel": 0.3}), asked)
    assert found["first"]["thresholds"] == {"ng": 0.0} and found["second"]["thresholds"] == {"ng": 0.0, "pixel": 0.3}
    assert [found[name]["cost"]["total"] for name in ("first", "second")] == [24, 24]
    own = compare_scored(ng(good()), ng(poor(), own_thresholds={"ng": 2.0}), QUICK)
    assert own["second"]["parts"]["escapes"] == 12 and own["second"]["cost"] is None


def test_masks_are_not_ranked_against_a_model():
    masks = scored_of(table_of(TRUTHS, TRUTHS, STATES, STATES, maps=False), masks="predicted")
    rows = compare_scored(ng(poor()), masks, QUICK)["differences"]
    assert not set(RANKINGS) & set(rows)
    assert rows["defect_iou"]["second"] == 1.0 and rows["defect_iou"]["better"] == "second"
    assert rows["s_measure"]["second"] is None and rows["s_measure"]["difference"] is None


def test_a_decision_and_a_segmentation_share_what_both_have():
    rows = compare_scored(ng(good()), ng(decided(np.zeros(24), STATES)), QUICK)["differences"]
    assert rows["escape_rate"]["difference"] == 1.0 and rows["image_auroc"]["difference"] is not None
    assert rows["defect_iou"]["second"] is None and rows["defect_iou"]["better"] is None


def test_it_is_written_as_strict_json(tmp_path: Path):
    result = compare_scored(ng(good()), ng(poor()), QUICK, tmp_path / "o")

    def refuse(text: str):
        raise AssertionError(text)

    text = (tmp_path / "o" / "comparison.json").read_text(encoding="utf-8")
    stored = json.loads(text, parse_constant=refuse)
    assert result.pop("out") == str(tmp_path / "o") and stored == json.loads(json.dumps(result))
    assert {"command", "date", "environment", "notes", "confidence"} <= set(stored)


def test_a_leak_and_a_changed_dataset_are_told(capsys: pytest.CaptureFixture):
    leak = {"train_images": 24, "val_images": 0, "text": "LEAK: trained on them", "serious": True}
    dataset = ng(good()).about["dataset"] | {"fingerprint": "0" * 64}
    found = compare_scored(ng(good(), leak=leak), ng(poor(), dataset=dataset), QUICK)
    assert found["notes"][0] == "'a': LEAK: trained on them" and "dataset has changed" in found["notes"][1]
    assert "warning: 'a': LEAK" in capsys.readouterr().err and found["first"]["leak"] == leak


def test_other_images_classes_and_truths_are_refused(tmp_path: Path):
    out = tmp_path / "o"
    fewer = good().select(np.arange(23))
    with pytest.raises(InputError, match=r"do not hold the same images.*'23\.png'"):
        compare_scored(ng(good()), ng(fewer), QUICK, out)
    renamed = good()
    renamed.classes = ["scratch"]
    with pytest.raises(InputError, match="different classes"):
        compare_scored(ng(good()), ng(renamed), QUICK, out)
    smaller = [square(20, (2, 2, 8, 7)), *TRUTHS[1:]]
    with pytest.raises(InputError, match=r"truth of 1 images, '00\.png'"):
        compare_scored(ng(good()), ng(table_of(smaller, TRUTHS, np.zeros(24), STATES)), QUICK, out)
    with pytest.raises(InputError, match="truth"):
        compare_scored(ng(good()), ng(table_of(TRUTHS, TRUTHS, np.zeros(24), STATES[::-1])), QUICK, out)
    with pytest.raises(InputError, match="--confidence"):
        compare_scored(ng(good()), ng(poor()), Asked(confidence=95), out)
    assert not out.exists()


def test_images_in_another_order_are_the_same_images():
    rows = compare_scored(ng(good()), ng(good().select(np.arange(24)[::-1])), QUICK)["differences"]
    assert {row["difference"] for row in rows.values()} == {0.0}
