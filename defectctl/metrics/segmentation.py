"""Pixel metrics of segmentation from an `ImageTable`: the defect first, background beside it.

TP, FP and FN are pixels pooled over all images; a number that the data leave undefined is None, never NaN. A class
counts only in the images whose mask speaks for it. Formulas: Everingham et al., "The Pascal Visual Object Classes
Challenge: A Retrospective", IJCV 2015, section 3.2 (IoU); Long et al., "Fully Convolutional Networks for Semantic
Segmentation", CVPR 2015, section 5 (pixel accuracy, mean accuracy, mean IoU).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from defectctl.metrics.table import ImageTable


def segmentation_metrics(table: ImageTable) -> dict[str, Any]:
    """All pixel metrics of a table under their stable keys, most telling first; every share is in 0..1 or None.

    Returns:
        `defect_iou`, `miou_defects`, `miou`, `precision`, `mpa`, `pixel_accuracy`, `dice`, `image_f1`, `image_f1_std`,
        `image_iou`, `image_iou_std`, `per_class` {name: {iou, precision, recall, f1, pixels, images}}, `background`
        (the same keys), `unknown_share` and `unknown_classes` (classes for which no mask speaks).
    """
    rows = [_class_scores(table, index) for index in range(1 + len(table.classes))]
    defects = rows[1:]
    f1, iou = image_scores(table)
    return {
        "defect_iou": defect_iou(table),
        "miou_defects": _mean(row["iou"] for row in defects),
        "miou": _mean(row["iou"] for row in rows),
        "precision": _mean(row["precision"] for row in rows),
        "mpa": _mean(row["recall"] for row in rows),
        "pixel_accuracy": pixel_accuracy(table),
        "dice": _mean(row["f1"] for row in defects),
        "image_f1": _mean(f1),
        "image_f1_std": float(np.std(f1)) if f1 else None,
        "image_iou": _mean(iou),
        "image_iou_std": float(np.std(iou)) if iou else None,
        "per_class": dict(zip(table.classes, defects, strict=True)),
        "background": rows[0],
        "unknown_share": unknown_share(table),
        "unknown_classes": [n for i, n in enumerate(table.classes, 1) if not table.known[:, i].any()],
    }


def defect_iou(table: ImageTable) -> float | None:
    """IoU of "any defect" against background, TP / (TP + FP + FN), classes not told apart.

    None where no counted pixel is, or is said to be, a defect; 0 where there are defects and none is found.
    """
    tp, fp, fn = (int(c.sum()) for c in _defect_counts(table))
    return _ratio(tp, tp + fp + fn)


def pixel_accuracy(table: ImageTable) -> float | None:
    """Share of counted pixels with the right class, sum of TP / pixels (Long et al. 2015, "pixel acc.")."""
    total = table.confusion.sum(axis=0)
    return _ratio(int(np.trace(total)), int(total.sum()))


def image_scores(table: ImageTable) -> tuple[list[float], list[float]]:
    """F1 = 2 TP / (2 TP + FP + FN) and IoU of "any defect" within each image, one number an image that has a truth.

    An image without a defect in truth and prediction scores 1; with one in the prediction only, 0. Images of which
    no pixel is counted are left out. The metrics give mean and (population) standard deviation over the images.
    """
    counted = table.confusion.sum(axis=(1, 2)) > 0
    tp, fp, fn = (c[counted].astype(np.float64) for c in _defect_counts(table))
    union = tp + fp + fn
    empty = union == 0
    f1 = np.where(empty, 1.0, 2 * tp / np.where(empty, 1.0, union + tp))
    iou = np.where(empty, 1.0, tp / np.where(empty, 1.0, union))
    return f1.tolist(), iou.tolist()


def image_defect_iou(table: ImageTable) -> list[float | None]:
    """IoU of "any defect" of every row in the table's order (1 where both are empty), None for a row without truth."""
    values = iter(image_scores(table)[1])
    return [next(values) if counted else None for counted in table.confusion.sum(axis=(1, 2)) > 0]


def unknown_share(table: ImageTable) -> float | None:
    """Share of all pixels that were left out because their truth is unknown."""
    left_out = int(table.unknown.sum())
    return _ratio(left_out, left_out + int(table.confusion.sum()))


def _class_scores(table: ImageTable, index: int) -> dict[str, Any]:
    """Scores of one class over the images whose mask speaks for it.

    iou = TP / (TP + FP + FN), precision = TP / (TP + FP), recall = TP / (TP + FN), f1 = 2 TP / (2 TP + FP + FN).
    Absent from truth and prediction: all None. Recall is None without true pixels; precision is 0, not None, where
    true pixels are there and none is predicted, so that ignoring a class never raises the mean. `pixels` are true
    pixels, `images` those whose mask speaks for the class.
    """
    speaks = table.known[:, index]
    total = table.confusion[speaks].sum(axis=0)
    tp = int(total[index, index])
    fp, fn = int(total[:, index].sum()) - tp, int(total[index].sum()) - tp
    present = tp + fp + fn > 0
    return {
        "iou": _ratio(tp, tp + fp + fn),
        "precision": (_ratio(tp, tp + fp) or 0.0) if present else None,
        "recall": _ratio(tp, tp + fn),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "pixels": tp + fn,
        "images": int(speaks.sum()),
    }


def _defect_counts(table: ImageTable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """TP, FP, FN of "any defect" per image, `(N,)` each."""
    tp = table.confusion[:, 1:, 1:].sum(axis=(1, 2))
    return tp, table.confusion[:, 0, 1:].sum(axis=1), table.confusion[:, 1:, 0].sum(axis=1)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: Any) -> float | None:
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None
