"""Box matching and average precision against pycocotools and by hand."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from defectctl.metrics.boxes import Detections, box_counts, box_metrics, match_image

CLASSES = ["dent", "scratch", "stain"]


def random_image(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """True boxes, some of them crowd regions, and detections near and far, with scores that repeat."""
    truths = int(rng.integers(0, 7))
    corners = rng.uniform(0, 150, (truths, 2))
    truth = np.concatenate([corners, corners + rng.uniform(8, 90, (truths, 2))], axis=1).round(1)
    near = np.repeat(truth, 3, axis=0) + rng.normal(0, 5, (3 * truths, 4))
    corners = rng.uniform(0, 150, (6, 2))
    boxes = np.concatenate([near, np.concatenate([corners, corners + rng.uniform(8, 90, (6, 2))], axis=1)])
    boxes = np.concatenate([boxes[:, :2], np.maximum(boxes[:, 2:], boxes[:, :2] + 1)], axis=1).round(1)
    truth_labels = rng.integers(1, 4, truths)
    labels = np.concatenate([np.repeat(truth_labels, 3), rng.integers(1, 4, 6)])
    flip = rng.random(len(labels)) < 0.1
    return {
        "truth": truth,
        "truth_labels": truth_labels,
        "crowd": rng.random(truths) < 0.25,
        "boxes": boxes,
        "labels": np.where(flip, rng.integers(1, 4, len(labels)), labels),
        "scores": rng.random(len(labels)).round(2),
    }


def coco_precision(images: list[dict[str, np.ndarray]]) -> np.ndarray:
    """pycocotools' AP, `(overlaps, classes)`, -1 where undefined."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def xywh(box: np.ndarray) -> list[float]:
        return [box[0], box[1], box[2] - box[0], box[3] - box[1]]

    annotations, results = [], []
    for number, image in enumerate(images, 1):
        for box, label, crowd in zip(image["truth"], image["truth_labels"], image["crowd"], strict=True):
            shape = xywh(box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(label),
                    "bbox": shape,
                    "area": shape[2] * shape[3],
                    "iscrowd": int(crowd),
                }
            )
        for box, label, score in zip(image["boxes"], image["labels"], image["scores"], strict=True):
            results.append({"image_id": number, "category_id": int(label), "bbox": xywh(box), "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": n} for n in range(1, len(images) + 1)],
            "categories": [{"id": n} for n in (1, 2, 3)],
            "annotations": annotations,
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.params.maxDets = [1, 10, 300]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][:, :, :, 0, 2].mean(axis=1)


def detections_of(images: list[dict[str, np.ndarray]], known: tuple[bool, ...] = (True,) * 4) -> Detections:
    parts = [
        match_image(i["boxes"], i["scores"], i["labels"], i["truth"], i["truth_labels"], i["crowd"], np.array(known))
        for i in images
    ]
    return Detections.joined(parts)


@pytest.mark.parametrize("seed", range(6))
def test_average_precision_equals_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = [random_image(rng) for _ in range(12)]
    expected = coco_precision(images)
    found = box_metrics(detections_of(images), CLASSES)
    for place, name in enumerate(CLASSES):
        row = found["box_classes"][name]
        assert row["ap50"] == pytest.approx(expected[0, place], abs=1e-12)
        assert row["ap"] == pytest.approx(expected[:, place].mean(), abs=1e-12)
    assert found["map50"] == pytest.approx(expected[0].mean(), abs=1e-12)
    assert found["map"] == pytest.approx(expected.mean(), abs=1e-12)


def test_a_hit_a_double_and_a_miss_by_hand() -> None:
    """Two true boxes: found with 0.9, its double with 0.8 is wrong, the other box is missed: precision 1 up to 1/2."""
    box = [0, 0, 10, 10]
    found = match_image(
        np.array([box, box]), [0.9, 0.8], [1, 1], np.array([box, [50, 50, 60, 60]]), [1, 1], [False] * 2, [True, True]
    )
    assert box_metrics(found, ["dent"])["map50"] == pytest.approx(51 / 101)
    assert [c.tolist() for c in box_counts(found, 0.5)] == [[1], [1], [1]]
    assert [c.tolist() for c in box_counts(found, 0.85)] == [[1], [0], [1]]
    assert [c.tolist() for c in box_counts(found, 0.95)] == [[0], [0], [2]]


def test_boxes_inside_a_crowd_region_count_neither_way() -> None:
    boxes = np.array([[0, 0, 10, 10], [20, 20, 30, 30], [80, 80, 90, 90]])
    found = match_image(
        boxes, [0.9, 0.8, 0.7], [1, 1, 1], np.array([[0, 0, 60, 60], [80, 80, 90, 90]]), [1, 1], [True, False], [1, 1]
    )
    assert found.truths.tolist() == [[0, 1]] and found.ignored[:, 0].tolist() == [True, True, False]
    assert box_metrics(found, ["dent"])["map"] == 1.0


def test_classes_of_which_nobody_knows_are_left_out() -> None:
    rng = np.random.default_rng(3)
    images = [random_image(rng) for _ in range(5)]
    found = detections_of(images, (True, True, False, True))
    assert not (found.label == 2).any() and found.truths[:, 2].sum() == 0
    rows = box_metrics(found, CLASSES)["box_classes"]
    assert rows["scratch"] == {"ap50": None, "ap": None, "boxes": 0}
    assert rows["dent"] == box_metrics(detections_of(images), CLASSES)["box_classes"]["dent"]


def test_nothing_known_and_nothing_found() -> None:
    nothing = match_image(np.zeros((0, 4)), [], [], np.zeros((0, 4)), [], [], [False, False])
    assert box_metrics(nothing, ["dent"])["map50"] is None and box_metrics(None, ["dent"])["map"] is None
    missed = match_image(np.zeros((0, 4)), [], [], np.array([[0, 0, 5, 5]]), [1], [False], [True, True])
    assert box_metrics(missed, ["dent"])["map50"] == 0.0
