"""Saliency measures against slow loops written from the papers' equations, hand-worked cases and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest

from defectctl.metrics.saliency import (
    e_curves,
    image_saliency,
    saliency_metrics,
    structure_columns,
    structure_measure,
    weighted_f_measure,
)
from defectctl.metrics.table import ImageTable, count_image


def table_of(*images: tuple[np.ndarray, np.ndarray]) -> ImageTable:
    """A table of (truth, defect byte) pairs of one class; truth may hold 255."""
    rows = [count_image(t.astype(np.uint8), (d > 127).astype(np.uint8), np.ones(2, bool), d) for t, d in images]
    columns = [[getattr(row, name) for row in rows] for name in ("confusion", "unknown", "positives", "negatives")]
    n = len(images)
    return ImageTable(
        [str(i) for i in range(n)],
        ["x"],
        np.array(columns[0]).reshape(n, 2, 2),
        columns[1],
        np.zeros(n),
        np.zeros(n),
        np.ones((n, 2)),
        np.array(columns[2]).reshape(n, 256),
        np.array(columns[3]).reshape(n, 256),
    )


def pictures(seed: int, shape: tuple[int, int] = (7, 9)) -> tuple[np.ndarray, np.ndarray]:
    """A random truth and a map that leans towards it."""
    rng = np.random.default_rng(seed)
    truth = rng.random(shape) < rng.uniform(0.1, 0.9)
    levels = rng.choice([0, 3, 40, 90, 128, 200, 255], shape) * 0.6 + 100 * truth
    return truth, np.clip(levels, 0, 255).astype(np.uint8)


def slow_e(foreground: np.ndarray, truth: np.ndarray) -> float:
    """Fan et al. 2018, equations 1 to 4, pixel by pixel."""
    truth, foreground = truth.astype(float), foreground.astype(float)
    if truth.all() or not truth.any():
        return float((foreground == truth).mean())
    total = 0.0
    for y in range(truth.shape[0]):
        for x in range(truth.shape[1]):
            a, b = truth[y, x] - truth.mean(), foreground[y, x] - foreground.mean()
            total += (1 + 2 * a * b / (a * a + b * b)) ** 2 / 4
    return total / truth.size


def slow_curve(defect: np.ndarray, truth: np.ndarray) -> list[float]:
    """`slow_e` at the thresholds 0..255; between two levels of the map it does not change."""
    steps = {t: slow_e(defect >= t, truth) for t in (0, *(np.unique(defect).astype(int) + 1).tolist())}
    return [steps[max(step for step in steps if step <= t)] for t in range(256)]


def slow_weighted_f(defect: np.ndarray, truth: np.ndarray, pick) -> float:
    """Margolin et al. 2014 by loops; `pick` chooses among the errors of equally near foreground pixels."""
    height, width = truth.shape
    error = np.abs(defect / 255 - truth)
    foreground = [(y, x) for y in range(height) for x in range(width) if truth[y, x]]
    spread, distance = error.copy(), np.zeros(truth.shape)
    for y in range(height):
        for x in range(width):
            if not truth[y, x]:
                squares = [(y - v) ** 2 + (x - u) ** 2 for v, u in foreground]
                near = [error[p] for p, s in zip(foreground, squares, strict=True) if s == min(squares)]
                spread[y, x], distance[y, x] = pick(near), math.sqrt(min(squares))
    gauss = {(i, j): math.exp(-(i * i + j * j) / 50) for i in range(-3, 4) for j in range(-3, 4)}
    whole = sum(gauss.values())
    true_positive = false_positive = misses = 0.0
    for y in range(height):
        for x in range(width):
            if truth[y, x]:
                mean = 0.0
                for (i, j), weight in gauss.items():
                    if 0 <= y + i < height and 0 <= x + j < width:
                        mean += weight / whole * spread[y + i, x + j]
                weighted = min(error[y, x], mean)
                true_positive += 1 - weighted
                misses += weighted
            else:
                false_positive += error[y, x] * (2 - math.exp(math.log(0.5) / 5 * distance[y, x]))
    recall = 1 - misses / len(foreground)
    precision = true_positive / (true_positive + false_positive)
    return 2 * precision * recall / (precision + recall)


def slow_s(defect: np.ndarray, truth: np.ndarray) -> float:
    """Fan et al. 2017 on floats, blocks cut by the rounded centroid, weighed by area."""
    value, height, width = defect / 255, *truth.shape
    rows, columns = [], []
    for y in range(height):
        for x in range(width):
            if truth[y, x]:
                rows.append(y + 1)
                columns.append(x + 1)
    cut_y, cut_x = (math.floor(sum(v) / len(v) + 0.5 + 1e-9) for v in (rows, columns))

    def likeness(values: list[float]) -> float:
        mean = sum(values) / len(values)
        spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1)) if len(values) > 1 else 0.0
        return 2 * mean / (mean * mean + 1 + spread)

    share = len(rows) / truth.size
    objects = share * likeness(value[truth].tolist()) + (1 - share) * likeness((1 - value[~truth]).tolist())
    regions = 0.0
    for ys in (range(cut_y), range(cut_y, height)):
        for xs in (range(cut_x), range(cut_x, width)):
            cells = [(value[y, x], float(truth[y, x])) for y in ys for x in xs]
            if not cells:
                continue
            a, b = (sum(c[i] for c in cells) / len(cells) for i in (0, 1))
            va, vb = (sum((c[i] - m) ** 2 for c in cells) / len(cells) for i, m in ((0, a), (1, b)))
            cov = sum((p - a) * (q - b) for p, q in cells) / len(cells)
            if abs(a * b * cov) > 1e-12:
                regions += len(cells) / truth.size * 4 * a * b * cov / ((a * a + b * b) * (va + vb))
            elif (a * a + b * b) * (va + vb) < 1e-12:
                regions += len(cells) / truth.size
    return max(0.0, 0.5 * objects + 0.5 * regions)


@pytest.mark.parametrize("seed", range(6))
def test_mae_and_e_from_histograms_equal_the_loops(seed: int) -> None:
    truth, defect = pictures(seed)
    found = image_saliency(table_of((truth, defect)))
    by_threshold = slow_curve(defect, truth)
    assert found["mae"][0] == pytest.approx(np.abs(defect / 255 - truth).mean(), abs=1e-12)
    assert found["e_mean"][0] == pytest.approx(np.mean(by_threshold), abs=1e-9)
    assert found["e_max"][0] == pytest.approx(max(by_threshold), abs=1e-9)
    adaptive = min(2 * defect.mean(), 255)
    assert found["e_adaptive"][0] == pytest.approx(slow_e(defect >= adaptive, truth), abs=1e-9)


def test_e_measure_by_hand() -> None:
    # Four pixels, half of them foreground, one of the two found: mean of G 1/2, of F 1/4. The hit has a = 1/2,
    # b = 3/4: 2ab/(a² + b²) = 12/13; the miss a = 1/2, b = -1/4: -4/5; the two others a = -1/2, b = -1/4: 4/5.
    truth, defect = np.array([[1, 1, 0, 0]], bool), np.array([[255, 0, 0, 0]], np.uint8)
    expected = ((25 / 13) ** 2 + (1 / 5) ** 2 + 2 * (9 / 5) ** 2) / 16
    curve = e_curves(*(h[None] for h in (np.bincount([255, 0], minlength=256), np.bincount([0, 0], minlength=256))))
    assert curve[0, 1:] == pytest.approx([expected] * 255, abs=1e-12)
    assert curve[0, 0] == 0.25  # everything is foreground: nothing is aligned, (1 + 0)² / 4
    assert image_saliency(table_of((truth, defect)))["e_adaptive"][0] == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(6))
def test_structure_measure_equals_the_loops(seed: int) -> None:
    truth, defect = pictures(seed)
    assert structure_measure(defect, truth) == pytest.approx(slow_s(defect, truth), abs=1e-9)
    block = np.zeros((8, 6), bool)
    block[seed : seed + 2, 4:6] = True  # touches the edge: blocks may be empty or constant
    _, defect = pictures(seed, block.shape)
    assert structure_measure(defect, block) == pytest.approx(slow_s(defect, block), abs=1e-9)


def test_structure_measure_by_hand() -> None:
    # The centroid of the middle two of four pixels is 2.5, rounded up to 3: blocks of 3 and 1 pixels. The map finds
    # one of the two: S_object = 1/2 O(1, 0) + 1/2 O(1, 1), O(1, 0) = 1 / (1/4 + 1 + sqrt(1/2)), O(1, 1) = 1.
    truth, defect = np.array([[0, 1, 1, 0]], bool), np.array([[0, 255, 0, 0]], np.uint8)
    objects = 0.5 / (1.25 + math.sqrt(0.5)) + 0.5
    # means 1/3 and 2/3, covariance 1/3 - 2/9 = 1/9, variances 2/9 each: 4 (2/9)(1/9) / ((5/9)(4/9)) = 2/5
    regions = 3 / 4 * (2 / 5) + 1 / 4 * 1
    assert structure_measure(defect, truth) == pytest.approx((objects + regions) / 2, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_weighted_f_of_a_rectangle_equals_the_loops(seed: int) -> None:
    """The pixel of a rectangle nearest to one outside is unique, so that there is one answer."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((12, 14), bool)
    y, x = rng.integers(0, 8), rng.integers(0, 9)
    truth[y : y + rng.integers(1, 6), x : x + rng.integers(1, 6)] = True
    defect = (rng.integers(0, 256, truth.shape) * (rng.random(truth.shape) < 0.6)).astype(np.uint8)
    assert weighted_f_measure(defect, truth) == pytest.approx(slow_weighted_f(defect, truth, max), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_weighted_f_of_any_truth_lies_between_the_loops(seed: int) -> None:
    """Among equally near foreground pixels any may lend its error: between the smallest and the largest."""
    truth, defect = pictures(seed, (9, 10))
    low, high = (slow_weighted_f(defect, truth, pick) for pick in (min, max))
    found = weighted_f_measure(defect, truth)
    assert min(low, high) - 1e-9 <= found <= max(low, high) + 1e-9
    assert abs(high - low) < 0.05


def test_weighted_f_by_hand() -> None:
    # One foreground pixel, found; a sure false alarm 5 pixels beside it counts 2 - 1/2: P = 1 / 2.5, R = 1.
    truth, defect = np.zeros((20, 20), bool), np.zeros((20, 20), np.uint8)
    truth[10, 10], defect[10, 10], defect[10, 15] = True, 255, 255
    assert weighted_f_measure(defect, truth) == pytest.approx(2 * 0.4 / 1.4, abs=1e-12)
    assert weighted_f_measure(defect, truth, 0.3) == pytest.approx(1.3 * 0.4 / (0.3 * 0.4 + 1), abs=1e-12)


@pytest.mark.parametrize("away", [4, 20, 264, 270, 271, 3000])
def test_weighted_f_of_a_far_alarm_by_hand(away: int) -> None:
    truth, defect = np.zeros((2, away + 1), bool), np.zeros((2, away + 1), np.uint8)
    truth[1, 0], defect[1, 0], defect[1, away] = True, 255, 51
    precision = 1 / (1 + (2 - 0.5 ** (away / 5)) / 5)
    assert weighted_f_measure(defect, truth) == pytest.approx(2 * precision / (precision + 1), abs=1e-14)


def test_a_perfect_map_is_best_and_its_inverse_worst() -> None:
    truth = np.zeros((30, 40), bool)
    truth[8:20, 10:25] = True
    perfect, inverse = truth.astype(np.uint8) * 255, (~truth).astype(np.uint8) * 255
    found = image_saliency(table_of((truth, perfect), (truth, inverse)))
    assert found["mae"].tolist() == [0, 1]
    assert found["e_max"] == pytest.approx([1, 0.25]) and found["e_adaptive"] == pytest.approx([1, 0])
    # Threshold 0 alone calls all foreground.
    assert found["e_mean"] == pytest.approx([255.25 / 256, 0.25 / 256])
    assert weighted_f_measure(perfect, truth) == 1 and weighted_f_measure(inverse, truth) == pytest.approx(0)
    assert structure_measure(perfect, truth) == pytest.approx(1) and structure_measure(inverse, truth) == 0


@pytest.mark.parametrize("level", [0, 77, 255])
def test_constant_maps_and_truths_without_or_full_of_defect(level: int) -> None:
    defect = np.full((6, 5), level, np.uint8)
    nothing, everything = np.zeros(defect.shape, bool), np.ones(defect.shape, bool)
    found = image_saliency(table_of((nothing, defect), (everything, defect)))
    assert found["mae"] == pytest.approx([level / 255, 1 - level / 255])
    # all is foreground at the thresholds 0..level, nothing above
    assert found["e_mean"] == pytest.approx([1 - (level + 1) / 256, (level + 1) / 256])
    assert structure_measure(defect, nothing) == pytest.approx(1 - level / 255)
    assert structure_measure(defect, everything) == pytest.approx(level / 255)
    assert math.isnan(weighted_f_measure(defect, nothing))
    if level == 255:
        assert weighted_f_measure(defect, everything) == 1


def test_an_empty_map_of_a_good_part_is_perfect_at_the_adaptive_threshold() -> None:
    empty = np.zeros((4, 4), np.uint8)
    assert image_saliency(table_of((empty, empty)))["e_adaptive"].tolist() == [1]
    half = np.zeros((4, 4), bool)
    half[:2] = True
    assert image_saliency(table_of((half, empty)))["e_adaptive"].tolist() == [0.25]


def test_weighted_f_of_a_missed_defect_is_nothing_but_for_the_edge() -> None:
    """Beyond the image's edge there is no error, as in the authors' program: a miss at the edge is forgiven a part."""
    empty, inner, edge = np.zeros((12, 12), np.uint8), np.zeros((12, 12), bool), np.zeros((12, 12), bool)
    inner[4:8, 4:8] = edge[:, :1] = True
    assert weighted_f_measure(empty, inner) == pytest.approx(0)
    forgiven = weighted_f_measure(empty, edge)
    assert forgiven > 0.3 and forgiven == pytest.approx(slow_weighted_f(empty, edge, max))


def test_unknown_pixels_are_left_out_and_leave_no_structure() -> None:
    truth, defect = pictures(3)
    holed = truth.astype(np.uint8)
    holed[2, 3:6] = 255
    counted = holed != 255
    found = image_saliency(table_of((holed, defect)))
    assert found["mae"][0] == pytest.approx(np.abs(defect / 255 - truth)[counted].mean())
    expected = max(slow_curve(defect[counted][None], truth[counted][None]))
    assert found["e_max"][0] == pytest.approx(expected)
    assert all(math.isnan(value) for value in structure_columns(holed, defect, 3))
    mask = truth.astype(np.uint8) * 2
    assert structure_columns(mask, defect, 0) == (weighted_f_measure(defect, truth), structure_measure(defect, truth))


def test_means_over_images() -> None:
    images = [pictures(seed) for seed in range(3)]
    unknown = (np.full((7, 9), 255, np.uint8), images[0][1])
    table = table_of(*images, unknown)
    f, s = np.array([structure_columns(t.astype(np.uint8), d, 0) for t, d in images] + [(np.nan, np.nan)]).T
    found = saliency_metrics(table, f, s)
    assert found["mae"] == pytest.approx(np.mean([np.abs(d / 255 - t).mean() for t, d in images]))
    assert found["weighted_f"] == pytest.approx(f[:3].mean()) and found["s_measure"] == pytest.approx(s[:3].mean())
    curve = np.mean([slow_curve(d, g) for g, d in images], axis=0)
    assert found["e_max"] == pytest.approx(max(curve)) and found["e_mean"] == pytest.approx(np.mean(curve))
    assert np.isnan(image_saliency(table)["mae"][3])
    assert set(saliency_metrics(table.select([3])).values()) == {None}
    assert set(saliency_metrics(table.select([])).values()) == {None}
