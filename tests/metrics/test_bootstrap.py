"""Weighted figures against the metrics of repeated rows, intervals against scipy and a known truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from defectctl.errors import InputError
from defectctl.metrics.bootstrap import (
    WeightedFigures,
    binomial_interval,
    draw_weights,
    intervals,
    number_groups,
    percentile_interval,
)
from defectctl.metrics.boxes import Detections, match_image
from defectctl.metrics.image_level import image_metrics
from defectctl.metrics.summary import all_metrics
from defectctl.metrics.table import ImageTable

CLASSES = ["crack", "no. 2", "gone", "seldom"]
THRESHOLDS = {"ng": 0.6, "ok": 0.3}
HEADLINES = [
    *("defect_iou", "miou_defects", "miou", "precision", "mpa", "pixel_accuracy", "dice", "image_f1", "image_iou"),
    *("pixel_ap", "image_ap", "image_auroc", "fp_at_full_recall", "map50", "map"),
]
RATES = ("escape_rate", "overkill_rate")


def boxes_of(rng: np.random.Generator, images: int) -> Detections:
    """Matched boxes with crowd regions and scores that repeat between images but not within one."""
    found = []
    for _ in range(images):
        count = int(rng.integers(0, 5))
        corners = rng.uniform(0, 100, (count, 2))
        truth = np.concatenate([corners, corners + rng.uniform(10, 60, (count, 2))], axis=1)
        astray = rng.uniform(0, 40, (3, 4)) + np.array([0, 0, 60, 60])
        boxes = np.concatenate([truth, truth, astray])
        boxes = boxes + rng.normal(0, 4, boxes.shape)
        labels = rng.choice([1, 2, 4], count)
        said = np.concatenate([labels, labels, rng.integers(1, 5, 3)])
        scores = rng.choice(np.arange(1, 40) / 40, len(said), replace=False)
        found.append(match_image(boxes, scores, said, truth, labels, rng.random(count) < 0.2, np.ones(5, bool)))
    return Detections.joined(found)


def make_table(seed: int, images: int = 40, boxes: bool = True) -> ImageTable:
    """Random counts: images without truth, classes a mask does not know, one class nowhere, scores that repeat."""
    rng = np.random.default_rng(seed)
    confusion = rng.integers(0, 50, (images, 5, 5)) * (rng.random((images, 5, 5)) < 0.5)
    confusion[:, 3] = confusion[:, :, 3] = 0
    confusion[:3] = 0  # no truth
    confusion[3:6, 1:] = confusion[3:6, :, 1:] = 0  # good and called good
    confusion[3:6, 0, 0] = 100
    known = rng.random((images, 5)) < 0.8
    histograms = rng.integers(0, 9, (2, images, 256)) * (rng.random((2, images, 256)) < 0.1)
    return ImageTable(
        [f"{i:03d}" for i in range(images)],
        CLASSES,
        confusion,
        np.zeros(images),
        rng.random(images).round(1),
        rng.integers(-1, 2, images),
        known,
        *histograms,
        boxes_of(rng, images) if boxes else None,
    )


def expected(table: ImageTable) -> dict[str, float]:
    """The figures of a table by the functions that define them, under the keys of the weighted ones."""
    metrics, parts = all_metrics(table), image_metrics(table, THRESHOLDS)
    flat = {key: metrics[key] for key in HEADLINES} | {key: parts[key] for key in RATES}
    for name in table.classes:
        for key in ("iou", "precision", "recall", "f1", "ap50", "ap"):
            flat[f"per_class.{name}.{key}"] = metrics["per_class"][name][key]
    return {key: np.nan if value is None else value for key, value in flat.items()}


def check(table: ImageTable, weights: np.ndarray) -> None:
    found = WeightedFigures(table, THRESHOLDS)(weights)
    for row, times in enumerate(weights):
        truth = expected(table.select(np.repeat(np.arange(len(table)), times)))
        assert set(truth) == set(found)
        assert {key: found[key][row] for key in truth} == pytest.approx(truth, rel=1e-12, abs=1e-15, nan_ok=True)


@pytest.mark.parametrize("boxes", [True, False])
def test_weights_of_one_give_the_metrics_themselves(boxes: bool) -> None:
    for seed in range(3):
        table = make_table(seed, boxes=boxes)
        check(table, np.ones((1, len(table)), np.int32))
        found = {key: values[0] for key, values in WeightedFigures(table, THRESHOLDS)(np.ones((1, 40), int)).items()}
        # sums of counts are whole numbers, so these are the same to the last bit
        same = ("defect_iou", "miou", "miou_defects", "dice", "pixel_accuracy", "image_auroc", "fp_at_full_recall")
        assert {key: found[key] for key in same} == {key: expected(table)[key] for key in same}


@pytest.mark.parametrize("seed", range(3))
def test_whole_weights_give_the_metrics_of_repeated_rows(seed: int) -> None:
    weights = np.random.default_rng(seed).integers(0, 4, (6, 40)) * (np.arange(6)[:, None] < np.arange(40) % 7)
    weights[0, 5], weights[1] = 30, 0  # one image over and over, and none at all
    check(make_table(seed), weights)


@pytest.mark.parametrize("state", [-1, 0, 1])
def test_degenerate_tables(state: int) -> None:
    table = make_table(5, 12)
    table.defective[:] = state
    table.score[:] = 0.5
    check(table, np.array([[1] * 12, [0] * 11 + [3]]))
    table.known[:], table.confusion[:] = False, 0
    check(table, np.ones((1, 12), int))
    for images in (0, 1):
        found = intervals(table.select(range(images)), None, {}, rounds=100)
        assert all(i.low is None and i.reason for i in found.values() if i.method == "bootstrap")


def test_groups_are_drawn_together() -> None:
    numbers = number_groups(["a", None, "b", "a", None, "b"], 6)
    assert numbers.tolist() == [0, 1, 2, 0, 3, 2]
    weights = np.concatenate(list(draw_weights(numbers, 4000, seed=1)))
    assert (weights[:, 0] == weights[:, 3]).all() and (weights[:, 2] == weights[:, 5]).all()
    assert (weights[:, [0, 1, 2, 4]].sum(axis=1) == 4).all()
    # Multinomial: variance n p (1 - p), covariance -n p p, with n = 4 and p = 1/4
    covariance = np.cov(weights[:, [0, 1, 2, 4]].T)
    assert covariance == pytest.approx(np.full((4, 4), -0.25) + np.eye(4), abs=0.06)
    with pytest.raises(ValueError, match="2 groups for 6 images"):
        number_groups(["a", None], 6)


def test_same_seed_same_intervals_whatever_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    table = make_table(0, 20)
    first = intervals(table, None, THRESHOLDS, rounds=150, seed=3)
    assert intervals(table, None, THRESHOLDS, rounds=150, seed=3) == first
    assert intervals(table, None, THRESHOLDS, rounds=150, seed=4) != first
    monkeypatch.setattr("defectctl.metrics.bootstrap.CHUNK", 600)
    assert {k: i[:2] for k, i in intervals(table, None, THRESHOLDS, rounds=150, seed=3).items()} == {
        key: pytest.approx(found[:2], rel=1e-12) if found.low is not None else (None, None)
        for key, found in first.items()
    }


def test_close_to_scipys_percentile_bootstrap() -> None:
    table = make_table(1, 60, boxes=False)
    found = intervals(table, None, THRESHOLDS, rounds=4000)["defect_iou"]
    tp = table.confusion[:, 1:, 1:].sum(axis=(1, 2))
    union = table.confusion.sum(axis=(1, 2)) - table.confusion[:, 0, 0]
    level = 2 * stats.norm.cdf(np.sqrt(60 / 59) * stats.t.ppf(0.975, 59)) - 1
    reference = stats.bootstrap(
        (tp, union),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        confidence_level=level,
        n_resamples=4000,
        batch=500,
        method="percentile",
        random_state=np.random.default_rng(1),
    ).confidence_interval
    width = reference.high - reference.low
    assert found[:2] == pytest.approx(tuple(reference), abs=0.05 * width)


def test_coverage_of_a_known_iou_with_groups() -> None:
    """Groups of one to three alike images; hits are a share of the union, so the true IoU is the mean share, 0.6."""
    rng, images, covered, singly = np.random.default_rng(0), 60, 0, 0
    for trial in range(120):
        numbers = np.sort(rng.integers(0, 30, images))
        share = np.clip(rng.normal(0.6, 0.15, 30), 0.2, 1.0)[numbers]  # of the group, mean 0.6 (clipped evenly)
        union = rng.integers(500, 1500, images)
        confusion = np.zeros((images, 2, 2))
        confusion[:, 1, 1] = np.round(share * union)
        confusion[:, 1, 0] = union - confusion[:, 1, 1]
        nothing = np.zeros((images, 256))
        state = np.ones(images)
        table = ImageTable(
            [str(i) for i in range(images)],
            ["x"],
            confusion,
            state,
            state,
            state,
            np.ones((images, 2)),
            nothing,
            nothing,
        )
        grouped = intervals(table, [str(n) for n in numbers], {}, rounds=150, seed=trial)["defect_iou"]
        alone = intervals(table, None, {}, rounds=150, seed=trial)["defect_iou"]
        covered += grouped.low <= 0.6 <= grouped.high
        singly += alone.low <= 0.6 <= alone.high
    assert 0.9 <= covered / 120 <= 0.99
    assert singly < covered - 10  # images taken for independent promise too much


def test_rates_have_the_exact_binomial_interval() -> None:
    table = make_table(2, 60, boxes=False)
    parts, found = image_metrics(table, THRESHOLDS), intervals(table, None, THRESHOLDS, 0.9, rounds=100)
    for key, mistakes, count in (
        ("escape_rate", "escapes", "defective_parts"),
        ("overkill_rate", "overkill", "good_parts"),
    ):
        reference = stats.binomtest(parts[mistakes], parts[count]).proportion_ci(0.9, "exact")
        assert found[key][:2] == pytest.approx((reference.low, reference.high)) and found[key].method == "binomial"


def test_no_escape_is_not_a_rate_of_zero() -> None:
    events, own = np.zeros(34, bool), np.arange(34)
    assert binomial_interval(events, own, 0.9).high == pytest.approx(1 - 0.05 ** (1 / 34))
    assert binomial_interval(~events, own, 0.9)[:2] == (pytest.approx(0.05 ** (1 / 34)), 1.0)
    # 17 groups of two count as 17 observations, a single group as one
    assert binomial_interval(events, own // 2, 0.9).high == pytest.approx(1 - 0.05 ** (1 / 17))
    assert binomial_interval(events, own * 0, 0.9).high == pytest.approx(0.95)
    assert binomial_interval(events[:0], own[:0], 0.9).reason == "no such part"


def test_why_there_is_no_interval() -> None:
    # One defective part among 20 is in a resampled set 1 - (19 / 20) ** 20 = 64 % of the time
    table = make_table(0, 20, boxes=False)
    table.defective[:] = 0
    table.defective[4] = 1
    found = intervals(table, None, THRESHOLDS, rounds=1500)
    assert found["image_ap"].low is None and found["image_ap"].undefined == pytest.approx(0.95**20, abs=0.04)
    assert "too few images" in found["image_ap"].reason
    assert found["map"] == (None, None, 1.0, "bootstrap", "not defined for these images")
    one_group = intervals(table, ["a"] * 20, THRESHOLDS, rounds=100)
    assert one_group["defect_iou"].reason == "all images are of one group"
    assert percentile_interval(np.ones(100), 9, 0.95).reason == "the same in every resampled set"
    some = percentile_interval(np.append(np.arange(97.0), [np.nan] * 3), 9, 0.95)
    assert some.undefined == pytest.approx(0.03) and 0 <= some.low < 5 and 91 < some.high <= 96


@pytest.mark.parametrize(("confidence", "rounds", "words"), [(1.0, 500, "between 0 and 1"), (0.9, 5, "at least 100")])
def test_settings_out_of_range(confidence: float, rounds: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        intervals(make_table(0, 4), None, {}, confidence, rounds)
