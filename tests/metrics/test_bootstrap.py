"""Intervals against scipy and a known truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from defectctl.errors import InputError
from defectctl.metrics.bootstrap import (
    binomial_interval,
    draw_weights,
    intervals,
    number_groups,
    percentile_interval,
)
from defectctl.metrics.image_level import image_metrics
from defectctl.metrics.instances import DISTANCE_EDGES, Instances
from defectctl.metrics.region_overlap import Regions
from defectctl.metrics.summary import all_metrics
from defectctl.metrics.table import ImageTable

CLASSES = ["crack", "no. 2", "gone", "seldom"]
THRESHOLDS = {"ng": 0.6, "ok": 0.3}


def make_table(seed: int, images: int = 40) -> ImageTable:
    """Random counts: images without truth, classes a mask does not know, one class nowhere, scores that repeat."""
    rng = np.random.default_rng(seed)
    confusion = rng.integers(0, 50, (images, 5, 5)) * (rng.random((images, 5, 5)) < 0.5)
    confusion[:, 3] = confusion[:, :, 3] = 0
    confusion[:3] = 0  # no truth
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
        None,
        defects_of(rng, images),
        Regions(range(images), np.ones(images), np.ones(images), rng.integers(0, 9, (images, 256))),
        rng.random((images, 2)),
    )


def defects_of(rng: np.random.Generator, images: int) -> Instances:
    """Three defects of 20 pixels an image, found by half, a blob and a pair of outlines."""
    rows, outline = np.repeat(np.arange(images), 3), np.zeros((images, len(DISTANCE_EDGES)), np.int64)
    outline[:, 4] = rng.integers(1, 30, images)
    return Instances(
        row=rows,
        label=rng.integers(1, 3, 3 * images),
        area=np.full(3 * images, 20),
        hit=rng.integers(0, 20, 3 * images),
        hit_class=np.zeros(3 * images),
        cut=np.zeros(3 * images),
        blob_row=np.arange(images),
        blob_label=np.ones(images),
        blob_area=np.ones(images),
        blob_true=rng.integers(0, 2, images),
        blob_unknown=np.zeros(images),
        pair_row=np.arange(images),
        pair_area=np.full(images, 10),
        pair_hit=np.full(images, 9),
        pair_distance=rng.uniform(0, 60, images),
        pair_histogram=outline,
        judged=np.ones(images),
    )


def test_tables_without_images_have_no_intervals() -> None:
    for images in (0, 1):
        found = intervals(make_table(5, 12).select(range(images)), None, {}, rounds=100)
        assert all(i.low is None and i.reason for i in found.values() if i.method == "bootstrap")


def test_every_headline_has_an_interval_around_it() -> None:
    table = make_table(6)
    metrics, found = all_metrics(table), intervals(table, None, THRESHOLDS, rounds=200)
    keys = [
        *("instance_recall", "instance_recall_touched", "false_blobs_per_image", "boundary_error", "mae", "weighted_f"),
        *("s_measure", "e_mean", "e_adaptive", "e_max", "aupro_30", "aupro_05", "defect_iou", "pixel_ap", "image_ap"),
    ]
    assert all(found[key].low < metrics[key] < found[key].high for key in keys)
    recalls = {row["from"]: row["recall"] for row in metrics["instance_sizes"] if row["instances"]}
    assert list(recalls) == [16] and found["instance_sizes.16.recall"] == found["instance_recall"]
    assert found["instance_sizes.16.recall"].low < recalls[16] < found["instance_sizes.16.recall"].high
    assert found["instance_recall_class"].reason == "the same in every resampled set"
    assert found["instance_classes.gone.recall"].reason == "not defined for these images"
    assert found["instance_classes.crack.recall"].low is not None


def test_the_boundary_error_as_scipys_bootstrap_of_a_ratio() -> None:
    table = make_table(7, 60)
    found = intervals(table, None, THRESHOLDS, rounds=4000)["boundary_error"]
    pixels = table.instances.pair_histogram.sum(axis=1)
    low, high = scipys_interval(table.instances.pair_distance, pixels)
    assert found[:2] == pytest.approx((low, high), abs=0.05 * (high - low))


def scipys_interval(part: np.ndarray, whole: np.ndarray) -> tuple[float, float]:
    """The percentile interval, widened as for so many groups, of the ratio of two sums."""
    count = len(part)
    level = 2 * stats.norm.cdf(np.sqrt(count / (count - 1)) * stats.t.ppf(0.975, count - 1)) - 1
    return tuple(
        stats.bootstrap(
            (part, whole),
            lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
            paired=True,
            confidence_level=level,
            n_resamples=4000,
            batch=500,
            method="percentile",
            random_state=np.random.default_rng(1),
        ).confidence_interval
    )


def test_groups_are_drawn_together() -> None:
    numbers = number_groups(["a", None, "b", "a", "", "b"], 6)
    assert numbers.tolist() == [0, 1, 2, 0, 3, 2]
    weights = np.concatenate(list(draw_weights(numbers, 4000, seed=1)))
    assert (weights[:, 0] == weights[:, 3]).all() and (weights[:, 2] == weights[:, 5]).all()
    assert (weights[:, [0, 1, 2, 4]].sum(axis=1) == 4).all()
    # Multinomial: variance n p (1 - p), covariance -n p p, with n = 4 and p = 1/4
    covariance = np.cov(weights[:, [0, 1, 2, 4]].T)
    assert covariance == pytest.approx(np.full((4, 4), -0.25) + np.eye(4), abs=0.06)
    assert number_groups(["", "", None, "a"], 4).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="2 groups for 6 images"):
        number_groups(["a", None], 6)


def test_same_seed_same_intervals_whatever_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    table = make_table(0, 20)
    first = intervals(table, None, THRESHOLDS, rounds=150, seed=3)
    assert intervals(table, None, THRESHOLDS, rounds=150, seed=3) == first
    assert intervals(table, None, THRESHOLDS, rounds=150, seed=4) != first
    for module in ("bootstrap", "weighted_figures"):
        monkeypatch.setattr(f"defectctl.metrics.{module}.CHUNK", 600)
    assert {k: i[:2] for k, i in intervals(table, None, THRESHOLDS, rounds=150, seed=3).items()} == {
        key: pytest.approx(found[:2], rel=1e-12) if found.low is not None else (None, None)
        for key, found in first.items()
    }


def test_close_to_scipys_percentile_bootstrap() -> None:
    table = make_table(1, 60)
    found = intervals(table, None, THRESHOLDS, rounds=4000)["defect_iou"]
    tp = table.confusion[:, 1:, 1:].sum(axis=(1, 2))
    union = table.confusion.sum(axis=(1, 2)) - table.confusion[:, 0, 0]
    low, high = scipys_interval(tp, union)
    assert found[:2] == pytest.approx((low, high), abs=0.05 * (high - low))


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
    table = make_table(2, 60)
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
    table = make_table(0, 20)
    table.defective[:] = 0
    table.defective[4] = 1
    found = intervals(table, None, THRESHOLDS, rounds=1500)
    assert found["image_ap"].low is None and found["image_ap"].undefined == pytest.approx(0.95**20, abs=0.04)
    assert "too few images" in found["image_ap"].reason
    assert found["map"] == (None, None, 1.0, "bootstrap", "not defined for these images")
    one_group = intervals(table, ["a"] * 20, THRESHOLDS, rounds=100)
    assert one_group["defect_iou"].reason == "too few independent groups to resample: 1, it takes 8"
    assert one_group["escape_rate"].high == pytest.approx(0.975), "one observation without an escape, not twenty"
    assert [percentile_interval(np.arange(100.0), n, 0.95).low is None for n in (7, 8)] == [True, False]
    assert percentile_interval(np.ones(100), 9, 0.95).reason == "the same in every resampled set"
    some = percentile_interval(np.append(np.arange(97.0), [np.nan] * 3), 9, 0.95)
    assert some.undefined == pytest.approx(0.03) and 0 <= some.low < 5 and 91 < some.high <= 96


@pytest.mark.parametrize(("confidence", "rounds", "words"), [(1.0, 500, "between 0 and 1"), (0.9, 5, "at least 100")])
def test_settings_out_of_range(confidence: float, rounds: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        intervals(make_table(0, 4), None, {}, confidence, rounds)
