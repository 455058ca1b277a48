"""Two models on the same images: tests against hand-worked cases and scipy, and models that do not differ."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from defectctl.errors import InputError
from defectctl.metrics.bootstrap import number_groups, percentile_interval
from defectctl.metrics.boxes import Detections
from defectctl.metrics.compare import bootstrap_p_value, compare, mcnemar, paired, sign_flip
from defectctl.metrics.instances import INSTANCE_COLUMNS, Instances
from defectctl.metrics.table import ImageTable

THRESHOLDS = {"ng": 0.5}


def make_table(shares: np.ndarray, scores: np.ndarray | None = None, defective: np.ndarray | None = None) -> ImageTable:
    """Images with 1,000 defect pixels, this share of them found, no false alarm."""
    images = len(shares)
    confusion = np.zeros((images, 2, 2))
    confusion[:, 1, 1] = np.round(1000 * np.asarray(shares))
    confusion[:, 1, 0] = 1000 - confusion[:, 1, 1]
    confusion[:, 0, 0] = 9000
    return ImageTable(
        [f"{i:03d}.png" for i in range(images)],
        ["dent"],
        confusion,
        np.zeros(images),
        np.linspace(0, 1, images) if scores is None else scores,
        np.arange(images) % 2 if defective is None else defective,
        np.ones((images, 2)),
        np.zeros((images, 256)),
        np.zeros((images, 256)),
    )


def rows_of(*args, **options):
    return {row.key: row for row in compare(*args, **{"rounds": 500, **options})}


def own(count: int) -> np.ndarray:
    return np.arange(count)


def test_mcnemar_by_hand() -> None:
    # 9 parts mistaken by one model alone, 2 by the other, 30 by both: 2 (1 + 11 + 55) / 2^11
    first = np.array([True] * 9 + [False] * 2 + [True] * 30 + [False] * 50)
    second = np.array([False] * 9 + [True] * 2 + [True] * 30 + [False] * 50)
    assert mcnemar(first, second, own(91)) == pytest.approx(2 * (1 + 11 + 55) / 2**11)
    assert mcnemar(second, first, own(91)) == pytest.approx(stats.binomtest(2, 11).pvalue)
    assert mcnemar(first, first, own(91)) == 1.0
    assert mcnemar(first[:0], first[:0], own(0)) == 1.0
    assert mcnemar(np.array([True, False]), np.array([False, True]), own(2)) == 1.0
    # The nine in three groups of three, the two in one: 2 (1 + 4) / 2^4
    numbers = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, *range(4, 84)])
    assert mcnemar(first, second, numbers) == pytest.approx(2 * (1 + 4) / 2**4)


def test_sign_flip_by_hand_and_as_scipy() -> None:
    # Of the 8 patterns of 1, 2, 4 only all plus and all minus reach 7
    assert sign_flip(np.array([1.0, 2.0, 4.0]), own(3), 100, 0) == 2 / 8
    # 1, 2, -3 sum to 0, which every pattern reaches; ties of rounding count
    assert sign_flip(np.array([0.1, 0.2, -0.3]), own(3), 100, 0) == 1.0
    assert sign_flip(np.array([1.0, np.nan, 2.0, 4.0]), own(4), 100, 0) == 2 / 8
    assert sign_flip(np.array([1.0, 2.0, 4.0]), np.array([0, 0, 0]), 100, 0) == 1.0  # one group can only flip whole
    assert sign_flip(np.zeros(5), own(5), 100, 0) == 1.0
    assert sign_flip(np.full(2, np.nan), own(2), 100, 0) is None
    rng = np.random.default_rng(0)
    for count, tolerance in ((10, 1e-12), (40, 0.03)):
        change = rng.normal(0.3, 1, count)
        reference = stats.permutation_test(
            (change,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", n_resamples=5000, batch=500
        )
        assert sign_flip(change, own(count), 4000, 1) == pytest.approx(reference.pvalue, abs=tolerance)


def test_bootstrap_p_value_and_interval_agree() -> None:
    rng = np.random.default_rng(1)
    for shift in np.linspace(0, 4, 17):
        values = rng.normal(shift, 1, 4000)
        for groups in (8, 400):
            interval = percentile_interval(values, groups, 0.95)
            p_value = bootstrap_p_value(values, groups)
            if abs(p_value - 0.05) > 0.01:
                assert (p_value < 0.05) == (interval.low > 0)
        # with many groups the p-value is that of the normal distribution of the difference
        assert p_value == pytest.approx(2 * stats.norm.sf(shift), abs=0.04)


def test_a_difference_that_is_the_same_in_every_round_is_told() -> None:
    """A recall of 1 against one of 0: no interval, but no doubt either, unless the groups are too few."""
    # one of 2,001 rounds on each side, widened for few groups
    assert bootstrap_p_value(np.ones(2000), 400) == pytest.approx(2 / 2001, rel=0.15)
    assert 2 / 2001 < bootstrap_p_value(np.ones(2000), 8) < 0.05
    assert bootstrap_p_value(np.zeros(2000), 400) == 1.0 and bootstrap_p_value(np.ones(2000), 7) is None
    assert bootstrap_p_value(np.append(np.ones(900), [np.nan] * 100), 400) is None


def test_a_model_against_itself() -> None:
    rng = np.random.default_rng(2)
    table = make_table(rng.random(30), rng.random(30).round(1))
    for groups in (None, ["a"] * 30, [str(i // 3) for i in range(30)]):
        rows = rows_of(table, table.select(rng.permutation(30)), groups, THRESHOLDS)
        assert {row.difference for row in rows.values()} == {0.0} and {row.p_value for row in rows.values()} == {1.0}
        assert "map" not in rows and "pixel_ap" not in rows  # neither model has them
        assert rows["escape_rate"].only_first == rows["escape_rate"].only_second == 0


def test_a_known_shift_is_found() -> None:
    rng = np.random.default_rng(3)
    shares = rng.uniform(0.3, 0.7, 60)
    better = shares + rng.choice([0.05, 0.15], 60)
    rows = rows_of(make_table(shares), make_table(better), None, THRESHOLDS)
    for key in ("defect_iou", "image_iou", "per_class.dent.recall"):
        row = rows[key]
        assert row.second - row.first == pytest.approx(row.difference) == pytest.approx(0.1, abs=0.02)
        # the pairing takes the images' own spread out: the interval is that of the change, not of the level
        half = 1.96 * 0.05 / math.sqrt(60)
        assert row.interval.high - row.interval.low == pytest.approx(2 * half, rel=0.3)
        assert row.interval.low < 0.1 < row.interval.high and row.p_value < 0.01
    assert rows["image_iou"].test == "sign-flip" and rows["defect_iou"].test == "bootstrap"
    assert rows["image_auroc"].difference == 0 and rows["image_auroc"].p_value == 1


def test_p_values_keep_their_level_where_models_do_not_differ() -> None:
    """Pairs of models with the same true IoU: about one in twenty looks different at 0.05."""
    rng, found = np.random.default_rng(4), {"defect_iou": 0, "image_f1": 0}
    for trial in range(40):
        level = rng.uniform(0.2, 0.8, (1, 20))
        one, two = (make_table(level[0] + shift) for shift in rng.uniform(-0.15, 0.15, (2, 20)))
        rows = rows_of(one, two, None, THRESHOLDS, rounds=120, seed=trial)
        found = {key: count + (rows[key].p_value < 0.05) for key, count in found.items()}
    assert all(count <= 7 for count in found.values())  # binomial(40, 0.05) exceeds 7 once in a thousand


def test_single_defects_and_overlap_of_both_models() -> None:
    """Three defects of 20 pixels an image; the second model finds one more in every image, and its map is surer."""
    first, second = (make_table(np.full(8, 0.5)) for _ in range(2))
    for table, found, level in ((first, 1, 90), (second, 2, 110)):
        rows = np.repeat(np.arange(8), 3)
        hit = np.tile(20 * (np.arange(3) < found), 8)
        nothing = {name: np.zeros((0, 73) if name == "pair_histogram" else 0) for name in INSTANCE_COLUMNS}
        of_defects = {"row": rows, "label": np.ones(24), "area": np.full(24, 20), "hit": hit, "hit_class": hit}
        table.instances = Instances(**nothing | of_defects | {"cut": np.zeros(24), "judged": np.ones(8)})
        table.positives[range(8), level + 10 * (np.arange(8) % 3)] = 20
        table.negatives[:, 0] = 100
        table.structure = np.stack([np.linspace(0, 0.7, 8) + found / 10, np.full(8, np.nan)], axis=1)
    rows = rows_of(first, second, None, THRESHOLDS)
    recall = rows["instance_recall"]
    assert (recall.first, recall.second, recall.test) == (pytest.approx(1 / 3), pytest.approx(2 / 3), "bootstrap")
    assert rows["instance_sizes.16.recall"].difference == pytest.approx(1 / 3)
    assert "instance_sizes.4.recall" not in rows and "s_measure" not in rows and "aupro_30" not in rows
    # 20 of 120 pixels err by 20 / 255 less; all changes have one sign, so two of 2^8 patterns are as far from 0
    mae, weighted_f = rows["mae"], rows["weighted_f"]
    assert mae.difference == pytest.approx(-20 * 20 / 255 / 120) and (mae.test, mae.p_value) == ("sign-flip", 2 / 2**8)
    assert (weighted_f.difference, weighted_f.test, weighted_f.p_value) == (pytest.approx(0.1), "sign-flip", 2 / 2**8)
    second.instances = None
    alone = rows_of(first, second, None, THRESHOLDS)
    for key in ("instance_recall", "instance_sizes.16.recall"):
        assert (alone[key].first, alone[key].second) == (pytest.approx(1 / 3), None)
        assert alone[key].difference is alone[key].p_value is alone[key].interval.low is None


def test_verdicts_at_each_models_own_threshold() -> None:
    state = np.array([1] * 6 + [0] * 4 + [-1])
    first = make_table(np.full(11, 0.5), np.array([0.1] * 5 + [0.9] + [0.1] * 4 + [0.1]), state)
    second = make_table(np.full(11, 0.5), np.array([0.35] * 6 + [0.35] * 1 + [0.1] * 3 + [0.9]), state)
    rows = rows_of(first, second, None, THRESHOLDS, {"ng": 0.3})
    escapes, overkill = rows["escape_rate"], rows["overkill_rate"]
    assert (escapes.first, escapes.second, escapes.only_first, escapes.only_second) == (5 / 6, 0, 5, 0)
    assert escapes.p_value == pytest.approx(2 / 2**5) and escapes.test == "mcnemar"
    assert (overkill.only_first, overkill.only_second, overkill.p_value) == (0, 1, 1.0)
    assert rows_of(first, second, None, THRESHOLDS)["escape_rate"].second == 1


@pytest.mark.parametrize("state", [-1, 0, 1])
def test_degenerate_input(state: int) -> None:
    table = make_table(np.full(4, 0.5), np.full(4, 0.5), np.full(4, state))
    other = make_table(np.full(4, 0.25), np.full(4, 0.5), np.full(4, state))
    for rows in (rows_of(table, other, None, {}), rows_of(table.select([0]), other.select([0]), None, {})):
        assert rows["defect_iou"].difference == -0.25 and rows["defect_iou"].interval.low is None
        assert rows["defect_iou"].p_value is None  # the same in every round: nothing to judge by
        assert "image_auroc" not in rows and ("escape_rate" in rows) == (state == 1)
    blank = make_table(np.full(4, 0.5), np.full(4, 0.5), np.full(4, state))
    blank.confusion[:], blank.known[:] = 0, False
    only_one = rows_of(table, blank, None, {})["image_iou"]
    assert (only_one.first, only_one.second, only_one.difference, only_one.p_value) == (0.5, None, None, None)
    assert compare(table.select([]), table.select([]), None, {}, rounds=100) == []


def test_pairs_that_are_none() -> None:
    table = make_table(np.full(4, 0.5))
    with pytest.raises(InputError, match=r"1 are only in the first and 0 only in the second, '003\.png' for one"):
        paired(table, table.select([0, 1, 2]))
    with pytest.raises(InputError, match="same images"):
        paired(table, table.select([0, 1, 2, 3, 3]))
    other = make_table(np.full(4, 0.5))
    other.classes = ["scratch"]
    with pytest.raises(InputError, match="the first has dent, the second scratch"):
        paired(table, other)
    for change in ("defective", "known", "confusion"):
        other = make_table(np.full(4, 0.2))
        getattr(other, change)[2] = 0 if change == "known" else 1 - getattr(other, change)[2]
        other.known[2, 0] = True
        with pytest.raises(InputError, match=r"truth of 1 images, '002\.png' for one"):
            paired(table, other)
    with_boxes = [make_table(np.full(4, 0.5)) for _ in range(2)]
    for count, one in enumerate(with_boxes):
        wide = np.zeros((0, 10), bool)
        one.detections = Detections([], [], [], wide, wide, np.array([[0, count]] * 4))
    assert paired(table, with_boxes[0]).ids == table.ids
    with pytest.raises(InputError, match="truth of 4 images"):
        paired(*with_boxes)


def test_groups_follow_the_first_table() -> None:
    rng = np.random.default_rng(5)
    first, second = make_table(rng.random(12)), make_table(rng.random(12))
    names = [str(i % 4) for i in range(12)]
    rows = rows_of(first, second.select(rng.permutation(12)), names, THRESHOLDS)
    sums = [sum(second.confusion[i::4, 1, 1] - first.confusion[i::4, 1, 1]) for i in range(4)]
    signs = np.array([[1 - 2 * (k >> i & 1) for i in range(4)] for k in range(16)])
    assert rows["image_iou"].p_value == (abs(signs @ sums) >= abs(sum(sums))).mean()
    assert number_groups(names, 12).max() == 3
