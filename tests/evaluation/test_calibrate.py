"""Thresholds chosen on calibration parts: what is stored, what obeys it, and what is refused with nothing stored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from calibration_toys import CPU, ESCAPES, QUICK, columns, refused, run

from defectctl.checkpoints.weights import network_fingerprint, read_contract, rewrite_contract
from defectctl.errors import InputError
from defectctl.evaluation.asked import Asked
from defectctl.evaluation.calibrate import calibrate, calibrate_again
from defectctl.evaluation.evaluate import Hardware, evaluate
from defectctl.evaluation.part import load_part
from defectctl.evaluation.scored import load_scored
from defectctl.evaluation.wanted import Wanted
from defectctl.inference.maps import pixel_level
from defectctl.inference.postprocess import verdict
from defectctl.metrics.operating_point import by_best_f1, by_cost, by_promise


@pytest.mark.parametrize(
    "rates",
    [
        {"max_escape": 0.1},
        {"max_overkill": 0.1},
        {"max_escape": 0.1, "max_overkill": 0.1},
        {"max_escape": 0.6, "max_overkill": 0.45},
    ],
)
def test_what_is_stored_is_what_the_promise_gives_and_verdicts_obey_it(line, bench, rates):
    path = bench.model()
    result = run(path, line, Wanted(**rates))
    promised = by_promise(*columns(line), **rates)
    contract = read_contract(path)
    assert promised.chosen and contract.thresholds == promised.thresholds
    assert result["thresholds"] == result["own_thresholds"] == promised.thresholds
    assert result["calibration"] == json.loads(json.dumps(contract.calibration))
    assert contract.calibration["method"] == "promise" and contract.calibration["pixel"] is None
    assert contract.calibration["dataset"]["part"] == "calibration"
    assert contract.calibration["dataset"]["split"] == "official", "the model's split, not the dataset's default"
    assert {p["k"] for p in contract.calibration["promises"].values()} == {p.k for p in promised.promises.values()}
    score, state, _ = columns(line)
    called = np.array([verdict(s, contract.thresholds) for s in score])
    assert ((called == "OK") & (state == 1)).sum() == result["parts"]["escapes"] == promised.figures["escapes"]
    assert ((called == "NG") & (state == 0)).sum() == result["parts"]["overkill"] == promised.figures["overkill"]
    assert ("UNSURE" in called) == ("ok" in contract.thresholds)


def test_predict_obeys_the_stored_thresholds(line, bench, tmp_path):
    from defectctl.inference.abilities import tasks_of, thresholds_in_force
    from defectctl.inference.options import PredictOptions
    from defectctl.inference.predict import predict_files
    from defectctl.inference.sources import InputFile

    path = bench.model()
    run(path, line, Wanted(max_escape=0.2, max_overkill=0.1, max_missed_pixels=0.2))
    contract = read_contract(path)
    assert set(contract.thresholds) >= {"ng", "pixel"}
    runner = bench.runner(contract.thresholds["pixel"])
    preset = contract.preset_config()
    runner.predict, runner.input = preset.predict, preset.input
    runner.precision, runner.device = "float32", torch.device("cpu")
    samples = load_part(line.root, "official", "test").samples
    inputs = [InputFile(line.dataset.image_path(s), s.id, s.id) for s in samples]
    options = PredictOptions(thresholds=thresholds_in_force(contract.thresholds, tasks_of(contract), 0.25))
    predict_files(inputs, tmp_path / "out", runner, contract, path, options)
    rows = [json.loads(row) for row in (tmp_path / "out" / "predictions.jsonl").read_text("utf-8").splitlines()]
    level = pixel_level(contract.thresholds["pixel"])
    ng, ok = contract.thresholds["ng"], contract.thresholds.get("ok", contract.thresholds["ng"])
    scores = [line.score(s.id, level) for s in samples]
    expected = ["NG" if s >= ng else "UNSURE" if s >= ok else "OK" for s in scores]
    assert [row["verdict"] for row in rows] == expected and len(set(expected)) > 1


def test_the_weights_stay_and_the_network_is_the_same_before_and_after(line, bench):
    from safetensors import safe_open

    path = bench.model()
    before = path.read_bytes()
    contract = read_contract(path)
    network = network_fingerprint(path, contract)
    result = run(path, line)
    after = path.read_bytes()
    assert after != before and after[-48:] == before[-48:]
    with safe_open(str(path), framework="pt") as stored:
        assert stored.get_tensor("w").tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert network_fingerprint(path, read_contract(path)) == network == result["model"]["network"]
    assert not list(path.parent.glob("*.part")) and not list(path.parent.glob(".*"))


def test_groups_count_once(line, bench):
    score, state, groups = columns(line)
    path = bench.model()
    run(path, line, Wanted(max_escape=0.049))
    stored = read_contract(path)
    promise = stored.calibration["promises"]["escape"]
    assert promise["groups"] == 60 and promise["parts"] == 80
    lowest = {}
    for s, d, g, n in zip(score, state, groups, range(len(score)), strict=True):
        if d:
            lowest[g or n] = min(s, lowest.get(g or n, 1.0))
    # 60 groups carry 4.9 % without a miss, so the lowest group sets it; 80 parts would have allowed no more.
    assert len(lowest) == 60 and stored.thresholds == {"ng": min(lowest.values())}
    assert "4.88 %" in refused(path, line, Wanted(max_escape=0.04)), "what 60 groups carry, though 80 parts carry 3.7 %"


def test_other_limits_take_the_saved_scores(line, bench):
    path = bench.model()
    run(path, line)
    bench.broken = True
    first = path.read_bytes()
    result = run(path, line, Wanted(max_escape=0.6))
    assert read_contract(path).thresholds == by_promise(*columns(line), max_escape=0.6).thresholds
    assert path.read_bytes() != first and result["parts"]["escapes"] > 0
    run(path, line, Wanted(), Asked(cost_escape=5, cost_overkill=1, rounds=100))
    assert read_contract(path).calibration["method"] == "cost"
    assert read_contract(path).thresholds == by_cost(*columns(line)[:2], 5, 1).thresholds


def test_scores_of_another_precision_are_not_taken(line, bench):
    path = bench.model()
    run(path, line)
    assert bench.loads == 1
    calibrate(path, ESCAPES, line.root, hardware=Hardware("cpu", "bf16", threads=1), asked=QUICK)
    assert bench.loads == 2 and read_contract(path).calibration["precision"] == "bf16"
    calibrate(path, ESCAPES, line.root, hardware=Hardware("cpu", threads=1), asked=QUICK)
    assert bench.loads == 2


def test_an_earlier_evaluation_is_calibrated_without_network_or_dataset(line, bench, tmp_path):
    path = bench.model()
    folder = Path(evaluate(path, line.root, "official", "calibration", hardware=CPU, asked=QUICK)["out"])
    bench.broken = True
    result = calibrate_again(load_scored(folder), ESCAPES, QUICK, tmp_path / "again")
    assert read_contract(path).thresholds == by_promise(*columns(line), max_escape=0.1).thresholds
    assert result["out"] == str(tmp_path / "again")
    stored = json.loads((tmp_path / "again" / "metrics.json").read_text("utf-8"))
    assert stored["thresholds"] == read_contract(path).thresholds
    assert stored["calibration"] == read_contract(path).calibration


def test_an_earlier_evaluation_of_a_model_that_has_changed_is_refused(line, bench):
    path = bench.model()
    folder = Path(evaluate(path, line.root, "official", "calibration", hardware=CPU, asked=QUICK)["out"])
    bench.model(min_area=3)
    with pytest.raises(InputError, match="is not the one that"):
        calibrate_again(load_scored(folder), ESCAPES, QUICK)
    assert read_contract(path).thresholds == {}


def test_earlier_evaluations_that_have_no_one_model_are_refused(line, bench, tmp_path):
    path = bench.model()
    folder = Path(evaluate(path, line.root, "official", "calibration", hardware=CPU, asked=QUICK)["out"])
    scored = load_scored(folder)
    with pytest.raises(InputError, match="so the network must run"):
        calibrate_again(scored, Wanted(max_missed_pixels=0.1), QUICK)
    scored.about["device"] = None
    with pytest.raises(InputError, match="pooled from several models"):
        calibrate_again(scored, ESCAPES, QUICK)
    scored.about["model"] = None
    with pytest.raises(InputError, match="evaluation of masks"):
        calibrate_again(scored, ESCAPES, QUICK)


def test_a_results_folder_in_the_way_is_told_before_anything_is_stored(line, bench, tmp_path):
    path = bench.model()
    folder = Path(evaluate(path, line.root, "official", "calibration", hardware=CPU, asked=QUICK)["out"])
    (tmp_path / "busy").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="busy"):
        calibrate_again(load_scored(folder), ESCAPES, QUICK, tmp_path / "busy" / "out")
    assert "busy" in refused(path, line, out=tmp_path / "busy" / "out")


def test_a_model_that_cannot_be_changed_is_told_before_the_network_runs(line, bench, monkeypatch):
    path = bench.model()
    bench.broken = True
    monkeypatch.setattr("defectctl.checkpoints.weights.os.access", lambda *_: False)
    assert "read-only; calibrate a copy" in refused(path, line)


def test_parts_that_trained_or_chose_the_model_or_test_it_are_refused(line, bench):
    path = bench.model()
    bench.broken = True
    for wanted in (ESCAPES, Wanted()):
        assert "trained on 6 of the 6 parts" in refused(path, line, wanted, part="train")
        assert "part 'test' is for testing" in refused(path, line, wanted, part="test")
    assert "8 of the 8 did" in refused(path, line, part="val")
    assert "trained on 6 of the 6 parts" in refused(path, line, split="torn", part="calibration"), "whatever its name"
    assert "8 of the 88 did" in refused(path, line, split="chosen", part="calibration")


def test_a_split_without_calibration_part_says_how_to_get_one(line, bench, capsys):
    path = bench.model(split="plain")
    bench.broken = True
    for part in (None, "calibration"):
        text = refused(path, line, part=part)
        assert "split 'plain' of" in text and "--calibration 0.2" in text and "trained on that split" in text
    assert "--calibration" in refused(path, line, Wanted(), part="calibration"), "asked for by name"
    bench.broken = False
    result = run(path, line, Wanted())
    assert result["dataset"]["part"] == "val" and read_contract(path).calibration["method"] == "f1"
    err = capsys.readouterr().err
    assert "thresholds are chosen on part 'val'" in err and "8 of these 8 images were used to choose" in err
    assert "no promise" in err


def test_the_part_of_another_dataset_needs_a_word_of_the_user(line, other, bench):
    path = bench.model()
    text = refused(path, other, split="official")
    assert "trained on other data ('line0')" in text and text.endswith("say so with --unseen")
    assert "--unseen" in refused(path, other, Wanted(), part="train")
    result = run(path, other, Wanted(max_escape=0.1, unseen=True), split="official")
    assert result["calibration"]["dataset"]["name"] == "line1"
    assert read_contract(path).thresholds == by_promise(*columns(other), max_escape=0.1).thresholds


def test_new_parts_may_lie_in_a_part_of_any_name_but_test(line, other, bench):
    path = bench.model()
    for part in ("train", "val"):
        unseen = Wanted(max_escape=0.6, unseen=True)
        assert run(path, other, unseen, part=part)["dataset"]["part"] == part
    assert "for testing" in refused(path, other, Wanted(max_escape=0.6, unseen=True), part="test")


def test_other_splits_must_not_lend_parts_that_test_the_model_or_are_kin_to_its_training(line, bench):
    path = bench.model()
    bench.broken = True
    text = refused(path, line, Wanted(), split="tested", part="calibration")
    assert "8 of the 158 parts lie in part 'test' of the model's split 'official'" in text
    path = bench.model(split="kin")
    text = refused(path, line, split="firsts", part="calibration")
    assert "10 of the 140 parts belong to groups of which others trained or chose the model" in text
    bench.broken = False
    folder = Path(run(path, line, Wanted(), split="firsts")["out"])
    before = path.read_bytes()
    with pytest.raises(InputError, match="give the model with --split firsts --part calibration"):
        calibrate_again(load_scored(folder), ESCAPES, QUICK)
    assert path.read_bytes() == before


def test_a_split_that_has_changed_since_needs_a_word_of_the_user(line, bench):
    changed = {**line.contract().dataset, "split_fingerprint": "00"}
    path = bench.model(dataset=changed)
    assert "has changed since" in refused(path, line)
    run(path, line, Wanted(max_escape=0.1, unseen=True))
    assert "ng" in read_contract(path).thresholds


def test_too_few_parts_are_told_before_the_network_runs(line, bench):
    path = bench.model()
    bench.broken = True
    text = refused(path, line, Wanted(max_escape=0.01))
    assert text == (
        "no threshold is stored: escapes: 60 defective groups (80 parts) carry 4.88 % at 95 % confidence; "
        "1 % takes 299, 239 more"
    )
    text = refused(path, line, Wanted(max_escape=0.05, max_overkill=0.2), split="few")
    assert "escapes: 3 defective groups (6 parts) carry 63.2 %" in text and "5 % takes 59, 56 more" in text
    assert "the promise of overkill can be kept, but only alone" in text
    assert "overkill: there is no good part" in refused(path, line, Wanted(max_overkill=0.1), split="bad")
    assert "escapes: there is no defective part" in refused(path, line, split="good")
    assert "carry 7.39 %" in refused(
        path, line, Wanted(max_escape=0.05), Asked(confidence=0.99, rounds=100), split="bad"
    )


def test_too_few_parts_for_pixels_are_told_before_the_network_runs(line, bench):
    path = bench.model()
    bench.broken = True
    text = refused(path, line, Wanted(max_missed_pixels=0.01, max_missed_defects=0.1))
    assert text == (
        "no threshold is stored: missed defect pixels: 60 defective parts (or groups) carry 4.88 % at best at 95 % "
        "confidence; 1 % takes 299 at least, 239 more"
    )
    text = refused(path, line, Wanted(max_escape=0.1, max_missed_defects=0.06))
    assert "missed defects: 30 defective parts (or groups) carry 9.51 % at best" in text
    assert "the parts are divided between the pixel threshold and the promise about parts" in text
    assert "there is no" in refused(path, line, Wanted(max_missed_defects=0.06), split="good")


@pytest.mark.parametrize(("split", "missing"), [("bad", "good"), ("good", "defective")])
@pytest.mark.parametrize("prices", [{}, {"cost_escape": 5.0, "cost_overkill": 1.0}])
def test_one_kind_of_part_gives_no_threshold(line, bench, split, missing, prices):
    path = bench.model()
    text = refused(path, line, Wanted(), Asked(rounds=100, **prices), split=split)
    assert f"there is no {missing} part among the calibration parts" in text


def test_best_f1_and_lowest_cost_are_stored_without_promise(line, bench, capsys):
    path = bench.model()
    run(path, line, Wanted())
    assert read_contract(path).thresholds == by_best_f1(*columns(line)[:2]).thresholds
    assert read_contract(path).calibration["promises"] == {} and "no promise" in capsys.readouterr().err
    run(path, line, Wanted(prevalence=0.01), Asked(cost_escape=500, cost_overkill=20, rounds=100))
    assert read_contract(path).thresholds == by_cost(*columns(line)[:2], 500, 20, 0.01).thresholds


@pytest.mark.parametrize(
    ("wanted", "asked", "words"),
    [
        (Wanted(), Asked(cost_escape=1), "--cost-escape needs --cost-overkill"),
        (Wanted(), Asked(cost_escape=0, cost_overkill=0), "are both 0"),
        (Wanted(), Asked(cost_escape=-1, cost_overkill=2), "--cost-escape must be a price"),
        (Wanted(max_escape=1.5), Asked(), "--max-escape must lie between 0 and 1"),
        (Wanted(max_missed_pixels=0.0), Asked(), "--max-missed-pixels must lie"),
        (Wanted(max_escape=float("nan")), Asked(), "--max-escape must lie"),
        (ESCAPES, Asked(confidence=95), "--confidence must lie between 0 and 1"),
        (ESCAPES, Asked(rounds=20), "at least 100 rounds"),
        (ESCAPES, Asked(thresholds={"ng": 0.5}), "--threshold gives one"),
        (Wanted(prevalence=0.1), Asked(), "give --cost-escape and --cost-overkill"),
        (Wanted(0.1, prevalence=0.1), Asked(cost_escape=1, cost_overkill=1), "--max-escape or --max-overkill chooses"),
    ],
)
def test_requests_that_make_no_sense_are_refused(line, bench, wanted, asked, words):
    path = bench.model()
    bench.broken = True
    assert words in refused(path, line, wanted, asked)


def test_a_model_without_masks_promises_no_pixels(line, bench):
    path = bench.model(name="resnet18")
    bench.broken = True
    assert "need a model that outlines defects" in refused(path, line, Wanted(max_missed_pixels=0.1))


def test_a_failing_write_leaves_the_old_model(line, bench, monkeypatch):
    path = bench.model()
    before = path.read_bytes()
    monkeypatch.setattr("defectctl.checkpoints.weights.shutil.copyfileobj", _full)
    with pytest.raises(OSError, match="No space"):
        run(path, line)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]


def _full(*_) -> None:
    raise OSError(28, "No space left on device")


def test_a_report_of_a_calibrated_model_tells_the_promise(line, bench):
    path = bench.model()
    result = run(path, line)
    page = Path(result["files"]["report"]).read_text("utf-8")
    assert "at most 10 % of defective groups" in page and "judge the model on part" in page
    rewrite_contract(path, read_contract(path))
    tested = evaluate(path, line.root, "official", "test", hardware=CPU, asked=QUICK)
    assert tested["thresholds"] == result["thresholds"] and tested["calibration"] == result["calibration"]
