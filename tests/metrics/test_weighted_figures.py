"""Weighted figures against the metrics of repeated rows, and hand-worked ones."""

from __future__ import annotations

import numpy as np
import pytest

from defectctl.metrics.boxes import Detections, match_image
from defectctl.metrics.image_level import image_metrics
from defectctl.metrics.instance_matching import match_instances
from defectctl.metrics.instances import Instances
from defectctl.metrics.region_overlap import Regions, regions_of
from defectctl.metrics.summary import all_metrics
from defectctl.metrics.table import ImageTable
from defectctl.metrics.weighted_figures import LESS_IS_BETTER, WeightedFigures, image_values

CLASSES = ["crack", "no. 2", "gone", "seldom"]
THRESHOLDS = {"ng": 0.6, "ok": 0.3}
HEADLINES = [
    *("defect_iou", "miou_defects", "miou", "precision", "mpa", "pixel_accuracy", "dice", "image_f1", "image_iou"),
    *("pixel_ap", "image_ap", "image_auroc", "fp_at_full_recall", "map50", "map"),
]
RATES = ("escape_rate", "overkill_rate")
SINGLE = ("instance_recall", "instance_recall_touched", "instance_recall_class")
DEFECTS = (*SINGLE, "false_blobs_per_image", "boundary_error")
SALIENCY = ("mae", "weighted_f", "s_measure", "e_mean", "e_max", "e_adaptive")
REGIONS = ("aupro_30", "aupro_05")


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


def defects_of(rng: np.random.Generator, images: int) -> tuple[Instances, Regions]:
    """Single defects of random masks, half found: good parts, unknown areas, unknown classes and masks that lack."""
    matched, regions = [], []
    for number in range(images):
        truth, said, level = np.zeros((3, 20, 24), np.uint8)
        for _ in range(number % 4):
            y, x, height, width = rng.integers(0, 16, 4)
            truth[y : y + height % 6 + 1, x : x + width % 6 + 1] = label = rng.choice([1, 2, 4])
            shift = rng.integers(0, 3)
            said[y + shift : y + height % 6 + 2, x : x + width % 6 + 1] = label if shift < 2 else 1
        said[rng.random(said.shape) < 0.01] = 2
        truth[rng.random(truth.shape) < 0.05 * (number % 3 == 0)] = 255
        level[:] = np.clip(rng.normal(60, 40, level.shape) + 100 * (said > 0), 0, 255)
        known = np.array([True, True, True, True, number % 5 > 0])
        mask = None if number % 7 == 6 else truth
        matched.append(match_instances(mask, said, known))
        regions.append(regions_of(mask, level, known))
    return Instances.joined(matched), Regions.joined(regions, [1] * images)


def make_table(seed: int, images: int = 40, boxes: bool = True, defects: bool = True) -> ImageTable:
    """Random counts: images without truth, classes a mask does not know, one class nowhere, scores that repeat."""
    rng = np.random.default_rng(seed)
    confusion = rng.integers(0, 50, (images, 5, 5)) * (rng.random((images, 5, 5)) < 0.5)
    confusion[:, 3] = confusion[:, :, 3] = 0
    confusion[:3] = 0  # no truth
    confusion[3:6, 1:] = confusion[3:6, :, 1:] = 0  # good and called good
    confusion[3:6, 0, 0] = 100
    known = rng.random((images, 5)) < 0.8
    histograms = rng.integers(0, 9, (2, images, 256)) * (rng.random((2, images, 256)) < 0.1)
    columns = [
        *([f"{i:03d}" for i in range(images)], CLASSES, confusion, np.zeros(images)),
        *(rng.random(images).round(1), rng.integers(-1, 2, images), known, *histograms),
    ]
    detections = boxes_of(rng, images) if boxes else None
    if not defects:
        return ImageTable(*columns, detections)
    histograms[:, 7:9] = 0  # nothing counted
    structure = np.where(rng.random((images, 2)) < 0.3, np.nan, rng.random((images, 2)))
    return ImageTable(*columns, detections, *defects_of(rng, images), structure)


def expected(table: ImageTable) -> dict[str, float]:
    """The figures of a table by the functions that define them, under the keys of the weighted ones."""
    metrics, parts = all_metrics(table), image_metrics(table, THRESHOLDS)
    flat = {key: metrics[key] for key in (*HEADLINES, *DEFECTS, *SALIENCY, *REGIONS)}
    flat |= {key: parts[key] for key in RATES}
    flat["best_f1.f1"] = metrics["best_f1"]["f1"] if metrics["best_f1"] else None
    for name in table.classes:
        for key in ("iou", "precision", "recall", "f1", "ap50", "ap"):
            flat[f"per_class.{name}.{key}"] = metrics["per_class"][name][key]
        flat[f"instance_classes.{name}.recall"] = metrics["instance_classes"][name]["recall"]
    flat |= {f"instance_sizes.{row['from']}.recall": row["recall"] for row in metrics["instance_sizes"]}
    return {key: np.nan if value is None else value for key, value in flat.items()}


def check_table(table: ImageTable, weights: np.ndarray) -> None:
    found = WeightedFigures(table, THRESHOLDS)(weights)
    present = {key for key, value in expected(table).items() if not key.startswith("instance_sizes") or value == value}
    assert set(found) == present
    for row, times in enumerate(weights):
        truth = expected(table.select(np.repeat(np.arange(len(table)), times)))
        truth = {key: truth[key] for key in present}
        assert {key: found[key][row] for key in truth} == pytest.approx(truth, rel=1e-12, abs=1e-15, nan_ok=True)


@pytest.mark.parametrize(("boxes", "defects"), [(True, True), (True, False), (False, True)])
def test_weights_of_one_give_the_metrics_themselves(boxes: bool, defects: bool) -> None:
    for seed in range(3):
        table = make_table(seed, boxes=boxes, defects=defects)
        check_table(table, np.ones((1, len(table)), np.int32))
        found = {key: values[0] for key, values in WeightedFigures(table, THRESHOLDS)(np.ones((1, 40), int)).items()}
        # sums of counts are whole numbers, so these are the same to the last bit
        same = ("defect_iou", "miou", "miou_defects", "dice", "pixel_accuracy", "image_auroc", "fp_at_full_recall")
        same += ("instance_recall", "false_blobs_per_image") if defects else ()
        assert {key: found[key] for key in same} == {key: expected(table)[key] for key in same}


@pytest.mark.parametrize("seed", range(3))
def test_whole_weights_give_the_metrics_of_repeated_rows(seed: int) -> None:
    weights = np.random.default_rng(seed).integers(0, 4, (6, 40)) * (np.arange(6)[:, None] < np.arange(40) % 7)
    weights[0, 5], weights[1] = 30, 0  # one image over and over, and none at all
    check_table(make_table(seed), weights)


def test_random_tables_speak_of_everything() -> None:
    """Otherwise the comparisons above would compare nothing with nothing."""
    found = expected(make_table(0))
    missing = {key for key, value in found.items() if value != value}
    per_class = {f"per_class.gone.{key}" for key in ("iou", "precision", "recall", "f1", "ap50", "ap")}
    large = {f"instance_sizes.{size}.recall" for size in (64, 256, 1024, 4096, 16384, 65536)}
    assert missing == per_class | large | {"instance_classes.gone.recall"}
    assert sum(0 < found[key] < 1 for key in (*SINGLE, *SALIENCY, *REGIONS)) == 11 and found["boundary_error"] > 0
    assert found["false_blobs_per_image"] > 0 and make_table(0).instances.cut.any()


@pytest.mark.parametrize("state", [-1, 0, 1])
def test_degenerate_tables(state: int) -> None:
    table = make_table(5, 12)
    table.defective[:] = state
    table.score[:] = 0.5
    check_table(table, np.array([[1] * 12, [0] * 11 + [3]]))
    table.known[:], table.confusion[:] = False, 0
    table.positives[:] = table.negatives[:] = 0
    check_table(table, np.ones((1, 12), int))
    check_table(table.select(range(0)), np.ones((2, 0), int))


def strip(*runs: tuple[int, int, int]) -> np.ndarray:
    """One row of 40 pixels with `(class, from, to)` in it."""
    line = np.zeros((1, 40), np.uint8)
    for label, low, high in runs:
        line[0, low:high] = label
    return line


def two_images() -> ImageTable:
    """A crack of 10 pixels hit by 6 and one of 2 missed; a good part with a false blob of 3. Levels are 0 and 255."""
    truth, said, known = (
        [strip((1, 0, 10), (1, 20, 22)), strip()],
        [strip((1, 4, 10)), strip((1, 30, 33))],
        np.ones(2, bool),
    )
    histograms = np.zeros((2, 2, 256), np.int64)
    histograms[0, 0, [0, 255]] = 6, 6  # of the 12 defective pixels
    histograms[1, 0, 0], histograms[1, 1, 0], histograms[1, 1, 255] = 28, 37, 3
    return ImageTable(
        ["a", "b"],
        ["crack"],
        np.array([[[28, 0], [6, 6]], [[37, 3], [0, 0]]]),
        np.zeros(2),
        np.array([0.9, 0.4]),
        np.array([1, 0]),
        np.ones((2, 2)),
        *histograms,
        None,
        Instances.joined([match_instances(t, s, known) for t, s in zip(truth, said, strict=True)]),
        Regions.joined([regions_of(t, 255 * s, known) for t, s in zip(truth, said, strict=True)], [1, 1]),
        np.array([[0.6, 0.7], [np.nan, 0.9]]),
    )


def test_two_images_by_hand() -> None:
    found = WeightedFigures(two_images(), {"ng": 0.5})(np.array([[1, 1], [1, 3], [0, 2], [2, 0]]))
    nan = np.nan
    by_hand = {
        "instance_recall": [1 / 2, 1 / 2, nan, 1 / 2],
        "instance_recall_touched": [1 / 2, 1 / 2, nan, 1 / 2],
        "instance_classes.crack.recall": [1 / 2, 1 / 2, nan, 1 / 2],
        "instance_sizes.1.recall": [0, 0, nan, 0],
        "instance_sizes.4.recall": [1, 1, nan, 1],
        "false_blobs_per_image": [1 / 2, 3 / 4, 1, 0],
        # the four pixels of the true outline that are not hit are 1, 2, 3 and 4 away; the outlines have 10 and 6
        "boundary_error": [10 / 16, 10 / 16, nan, 10 / 16],
        # 6 of 40 pixels are wrong in the first image, 3 of 40 in the second
        "mae": [9 / 80, 15 / 160, 3 / 40, 6 / 40],
        "weighted_f": [0.6, 0.6, nan, 0.6],
        "s_measure": [0.8, 0.85, 0.9, 0.7],
        # the mean overlap of both regions is (0.6 + 0) / 2 at a rate of 3 m / (28 n + 40 m), whatever is before; from
        # there it rises to 1 at a rate of 1
        "aupro_30": [_area(3 / 68, 0.3), _area(9 / 148, 0.3), nan, _area(0, 0.3)],
        "aupro_05": [_area(3 / 68, 0.05), _area(9 / 148, 0.05), nan, _area(0, 0.05)],
    }
    for key, values in by_hand.items():
        assert found[key] == pytest.approx(values, nan_ok=True), key
    assert not any(key.startswith("instance_sizes.16") for key in found)


def _area(rate: float, limit: float) -> float:
    """Under straight lines from (0, 0) over (rate, 0.3) to (1, 1), up to a limit, divided by it."""
    x = np.linspace(0, limit, 200_001)
    y = np.interp(x, [0, rate, 1], [0, 0.3, 1]) if rate else np.interp(x, [0, 1], [0.3, 1])
    return float(((y[1:] + y[:-1]) / 2).mean())


def test_e_max_is_the_highest_point_of_the_drawn_images_mean_curve() -> None:
    """Two images whose own best thresholds differ: neither maximum is reached by both at one threshold."""
    table = two_images()
    table.positives[:] = table.negatives[:] = 0
    table.positives[0, 200], table.negatives[0, 100] = 10, 30  # perfect at 101 to 200
    table.positives[1, 90], table.negatives[1, 20] = 10, 30  # perfect at 21 to 90
    found = WeightedFigures(table, {})(np.array([[1, 0], [0, 1], [1, 1], [3, 1]]))["e_max"]
    # A map that is all foreground, or none, aligns with nothing: (1 + 0)² / 4
    assert found == pytest.approx([1, 1, (1 + 1 / 4) / 2, (3 + 1 / 4) / 4])


def test_a_table_that_lacks_a_column_has_no_such_figures() -> None:
    found = WeightedFigures(make_table(0, boxes=False, defects=False), {})(np.ones((3, 40), int))
    lacking = (*DEFECTS, "weighted_f", "s_measure", *REGIONS, "map50", "map", "instance_classes.crack.recall")
    assert all(np.isnan(found[key]).all() and found[key].shape == (3,) for key in lacking)
    assert not any(key.startswith("instance_sizes") for key in found)
    assert not np.isnan([found[key] for key in ("mae", "e_mean", "e_max", "e_adaptive")]).any()


def test_small_blocks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    table, weights = make_table(1), np.random.default_rng(1).integers(0, 4, (9, 40))
    whole = WeightedFigures(table, THRESHOLDS)(weights)
    monkeypatch.setattr("defectctl.metrics.weighted_figures.CHUNK", 512 * 7)
    assert WeightedFigures(table, THRESHOLDS)(weights) == {
        key: pytest.approx(values, rel=1e-12, nan_ok=True) for key, values in whole.items()
    }


def test_figures_of_single_images_and_their_direction() -> None:
    values = image_values(two_images())
    assert values["mae"] == pytest.approx([6 / 40, 3 / 40])
    assert values["image_iou"] == pytest.approx([6 / 12, 0]) and values["image_f1"] == pytest.approx([12 / 18, 0])
    assert values["weighted_f"] == pytest.approx([0.6, np.nan], nan_ok=True)
    assert set(WeightedFigures(two_images(), {})(np.ones((1, 2), int))) > LESS_IS_BETTER
