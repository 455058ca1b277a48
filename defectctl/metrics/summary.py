"""All figures of a table under their stable keys, the same for validation, evaluation and studies."""

from __future__ import annotations

from typing import Any

from defectctl.metrics.boxes import box_metrics
from defectctl.metrics.image_ranking import ranking_metrics
from defectctl.metrics.segmentation import segmentation_metrics
from defectctl.metrics.table import ImageTable

IMAGE_RANKING = ("image_ap", "image_auroc")
"""Figures of the image score, which every model has."""

TASK_METRICS: dict[str, tuple[str, ...]] = {
    "segmentation": (
        "defect_iou",
        "miou_defects",
        "miou",
        "precision",
        "mpa",
        "pixel_accuracy",
        "dice",
        "image_f1",
        "image_iou",
        "pixel_ap",
    ),
    "detection": ("map50", "map"),
    "decision": (),
}
"""Figures of which more is better, by the task that a model must deliver for them."""


def all_metrics(table: ImageTable) -> dict[str, Any]:
    """Pixel metrics (`segmentation_metrics`), box metrics (`box_metrics`) and rankings (`ranking_metrics`) in one.

    Each class's row of `per_class` holds its `ap50`, `ap` and `boxes` beside its pixel figures. What a model does not
    deliver, or the truth cannot tell, is None.
    """
    pixels = segmentation_metrics(table)
    boxes = box_metrics(table.detections, table.classes)
    per_class = {name: {**row, **boxes["box_classes"][name]} for name, row in pixels["per_class"].items()}
    single = {key: boxes[key] for key in ("map50", "map")}
    return {**pixels, "per_class": per_class, **single, **ranking_metrics(table)}
