"""All figures of a table under their stable keys, the same for validation, evaluation and studies."""

from __future__ import annotations

from typing import Any

from defectctl.metrics.boxes import box_metrics
from defectctl.metrics.image_ranking import ranking_metrics
from defectctl.metrics.instances import instance_metrics
from defectctl.metrics.region_overlap import region_metrics
from defectctl.metrics.saliency import saliency_metrics
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


def core_metrics(table: ImageTable) -> dict[str, Any]:
    """Pixel metrics (`segmentation_metrics`), box metrics (`box_metrics`) and rankings (`ranking_metrics`) in one.

    Each class's row of `per_class` holds its `ap50`, `ap` and `boxes` beside its pixel figures. What a model does not
    deliver, or the truth cannot tell, is None.
    """
    pixels = segmentation_metrics(table)
    boxes = box_metrics(table.detections, table.classes)
    per_class = {name: {**row, **boxes["box_classes"][name]} for name, row in pixels["per_class"].items()}
    single = {key: boxes[key] for key in ("map50", "map")}
    return {**pixels, "per_class": per_class, **single, **ranking_metrics(table)}


def all_metrics(table: ImageTable, min_area: int = 0) -> dict[str, Any]:
    """`core_metrics`, single defects (`instance_metrics`), saliency (`saliency_metrics`), overlap (`region_metrics`).

    Args:
        min_area: the least area in pixels that the model reports; smaller true defects are told apart.
    """
    structure = (None, None) if table.structure is None else table.structure.T
    return {
        **core_metrics(table),
        **instance_metrics(table.instances, table.classes, min_area),
        **saliency_metrics(table, *structure),
        **region_metrics(table.regions, table.negatives, table.classes),
    }
