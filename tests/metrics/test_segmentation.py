"""Pixel metrics against hand-worked numbers, scikit-learn and torchmetrics."""

from __future__ import annotations

import json

import numpy as np
import pytest

from defectctl.metrics.segmentation import image_defect_iou, segmentation_metrics
from defectctl.metrics.table import ImageTable, count_image

UNKNOWN = 255


def make_table(truths, predictions, classes, known=None) -> ImageTable:
    side = 1 + len(classes)
    known = np.ones((len(truths), side), bool) if known is None else np.asarray(known, bool)
    counts = [count_image(t, p, k) for t, p, k in zip(truths, predictions, known, strict=True)]
    return ImageTable(
        [f"{i:03d}" for i in range(len(truths))],
        list(classes),
        np.stack([c.confusion for c in counts]),
        [c.unknown for c in counts],
        [float((p > 0).any()) for p in predictions],
        np.full(len(truths), -1),
        known,
        np.stack([c.positives for c in counts]),
        np.stack([c.negatives for c in counts]),
    )


def random_masks(seed: int, count: int = 6, classes: int = 4, absent: int = 3):
    """Masks with unknown pixels, some of them empty, and one class that occurs nowhere."""
    rng = np.random.default_rng(seed)
    present = [c for c in range(1 + classes) if c != absent]
    truths = rng.choice([*present, UNKNOWN], size=(count, 17, 23)).astype(np.uint8)
    predictions = np.where(rng.random(truths.shape) < 0.6, truths, rng.choice(present, size=truths.shape))
    predictions[predictions == UNKNOWN] = 0
    truths[0], predictions[0] = 0, 0
    truths[1] = 0
    predictions[2] = 0
    return truths, predictions.astype(np.uint8)


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_scikit_learn(seed):
    from sklearn import metrics as sk

    truths, predictions = random_masks(seed)
    result = segmentation_metrics(make_table(truths, predictions, ["a", "b", "gone", "d"]))
    counted = truths != UNKNOWN
    t, p = truths[counted], predictions[counted]
    present, defects = [0, 1, 2, 4], [1, 2, 4]
    iou = sk.jaccard_score(t, p, labels=present, average=None)
    assert result["defect_iou"] == pytest.approx(sk.jaccard_score(t > 0, p > 0))
    assert result["miou"] == pytest.approx(iou.mean())
    assert result["miou_defects"] == pytest.approx(iou[1:].mean())
    assert result["pixel_accuracy"] == pytest.approx(sk.accuracy_score(t, p))
    assert result["mpa"] == pytest.approx(sk.balanced_accuracy_score(t, p))
    assert result["precision"] == pytest.approx(sk.precision_score(t, p, labels=present, average="macro"))
    assert result["dice"] == pytest.approx(sk.f1_score(t, p, labels=defects, average="macro"))
    recall = sk.recall_score(t, p, labels=defects, average=None)
    for k, name in enumerate(["a", "b", "d"]):
        assert result["per_class"][name]["iou"] == pytest.approx(iou[1 + k])
        assert result["per_class"][name]["recall"] == pytest.approx(recall[k])
    assert result["per_class"]["gone"]["iou"] is None
    assert result["unknown_share"] == pytest.approx(1 - counted.mean())


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_torchmetrics(seed):
    torch = pytest.importorskip("torch")
    classification = pytest.importorskip("torchmetrics.functional.classification")
    truths, predictions = random_masks(seed)
    result = segmentation_metrics(make_table(truths, predictions, ["a", "b", "gone", "d"]))
    t, p = torch.from_numpy(truths).long(), torch.from_numpy(predictions).long()
    common = {"num_classes": 5, "ignore_index": UNKNOWN}
    assert result["miou"] == pytest.approx(
        classification.multiclass_jaccard_index(p, t, average="macro", **common).item(), abs=1e-6
    )
    f1 = classification.multiclass_f1_score(p, t, average="none", **common)
    for index, name in ((1, "a"), (2, "b"), (4, "d")):
        assert result["per_class"][name]["f1"] == pytest.approx(f1[index].item(), abs=1e-6)
    assert result["pixel_accuracy"] == pytest.approx(
        classification.multiclass_accuracy(p, t, average="micro", **common).item(), abs=1e-6
    )


def test_per_image_scores_equal_scikit_learn_with_empty_masks_worth_one():
    from sklearn.metrics import f1_score, jaccard_score

    truths, predictions = random_masks(5)
    result = segmentation_metrics(make_table(truths, predictions, ["a", "b", "gone", "d"]))
    pairs = [((t[t != UNKNOWN] > 0), (p[t != UNKNOWN] > 0)) for t, p in zip(truths, predictions, strict=True)]
    f1 = [f1_score(t, p, zero_division=1.0) for t, p in pairs]
    iou = [jaccard_score(t, p) if t.any() or p.any() else 1.0 for t, p in pairs]
    assert iou[0] == 1.0 and iou[1] == 0.0 and iou[2] == 0.0
    assert result["image_f1"] == pytest.approx(np.mean(f1))
    assert result["image_f1_std"] == pytest.approx(np.std(f1))
    assert result["image_iou"] == pytest.approx(np.mean(iou))
    assert result["image_iou_std"] == pytest.approx(np.std(iou))


def test_finding_nothing_scores_zero_whatever_the_background_says():
    """A model that calls everything background: mIoU looks like half a success, the headline must not."""
    truth = np.zeros((1, 100, 100), np.uint8)
    truth[0, :2, :] = 1
    result = segmentation_metrics(make_table(truth, np.zeros_like(truth), ["scratch"]))
    assert result["defect_iou"] == 0.0
    assert result["miou"] == pytest.approx(0.49)
    assert result["per_class"]["scratch"] == {
        "iou": 0.0,
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "pixels": 200,
        "images": 1,
    }
    assert next(iter(result)) == "defect_iou"


def test_masks_in_which_every_defect_is_unknown_score_nothing_rather_than_one():
    """0/255 masks read as they are: 255 is "unknown", so nothing is left to score, and the share says so."""
    truth = np.zeros((1, 10, 10), np.uint8)
    truth[0, :5] = UNKNOWN
    result = segmentation_metrics(make_table(truth, np.zeros_like(truth), ["scratch"]))
    assert result["defect_iou"] is None and result["miou_defects"] is None and result["dice"] is None
    assert result["unknown_share"] == 0.5


def test_ignoring_a_class_does_not_raise_the_mean_precision():
    truth = np.array([[[0, 0, 1, 1]]], np.uint8)
    result = segmentation_metrics(make_table(truth, np.zeros_like(truth), ["x"]))
    assert result["precision"] == pytest.approx((0.5 + 0.0) / 2)


def test_a_class_counts_only_where_the_mask_speaks_for_it():
    truths = np.array([[[0, 1, 0, 2]], [[0, 1, 0, 0]]], np.uint8)
    predictions = np.array([[[0, 1, 0, 2]], [[0, 2, 2, 0]]], np.uint8)
    table = make_table(truths, predictions, ["x", "y", "z"], known=[[1, 1, 1, 0], [1, 1, 0, 0]])
    result = segmentation_metrics(table)
    assert result["per_class"]["y"]["iou"] == 1.0, "in the second image nobody knows y"
    assert result["per_class"]["y"]["images"] == 1
    assert result["per_class"]["x"]["iou"] == 0.5
    assert result["unknown_classes"] == ["z"]
    assert result["unknown_share"] == 1 / 8


def test_an_empty_table_and_images_without_truth_give_none_and_valid_json():
    empty = make_table(np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2, 2), np.uint8), ["x"]).select([])
    for table in (empty, make_table([None], [np.zeros((2, 2), np.uint8)], ["x"], known=[[0, 0]])):
        result = segmentation_metrics(table)
        assert result["defect_iou"] is None and result["image_f1"] is None and result["pixel_accuracy"] is None
        json.dumps(result, allow_nan=False)
    assert image_defect_iou(table) == [None]
