"""Writes what an evaluation found: table, per-image CSV, confusion matrix, contact sheet and, last, metrics.json."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from defectctl.dataset.types import Box, Sample
from defectctl.evaluation.part import Part
from defectctl.evaluation.worst import row_remark, worst_rows
from defectctl.fileio import write_json, write_text
from defectctl.loading.pictures import PictureStore
from defectctl.metrics.boxes import box_counts
from defectctl.metrics.image_level import VERDICTS, verdicts
from defectctl.metrics.segmentation import image_defect_iou
from defectctl.metrics.table import ImageTable

STATES = {1: "defective", 0: "good", -1: ""}
FILES = {
    "table": "table.npz",
    "images": "images.csv",
    "confusion": "confusion.png",
    "worst": "worst.png",
    "metrics": "metrics.json",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """One image's prediction once more, for the contact sheet; None where the model does not deliver it.

    Attributes:
        class_map: `(H, W)` uint8.
        defect: `(H, W)` uint8, 255 * (1 - P(background)).
        boxes: class index, `xyxy` box and score of those that are reported.
    """

    class_map: np.ndarray | None
    defect: np.ndarray | None = None
    boxes: list[tuple[int, Box, float]] | None = None


def write_files(
    out: Path,
    part: Part,
    table: ImageTable,
    result: dict[str, Any],
    predict: Callable[[Sample], Shown],
    pictures: PictureStore,
) -> None:
    """Write all files of `FILES` into `out`: no confusion matrix without masks, no contact sheet without mistakes.

    Args:
        result: the content of `metrics.json`.
        predict: what was found in a sample once more, for the contact sheet.
    """
    from defectctl.reports.confusion import draw_confusion

    (out / FILES["metrics"]).unlink(missing_ok=True)
    table.save(out / FILES["table"])
    box_score = result["box_score"] or 0.0
    write_text(out / FILES["images"], images_csv(table, result["thresholds"], box_score))
    if table.known[:, 0].any():
        names = ["background", *table.classes]
        draw_confusion(table.confusion.sum(axis=0), names, out / FILES["confusion"], f"{part.title}, pixels")
    else:
        (out / FILES["confusion"]).unlink(missing_ok=True)
    rows = worst_rows(table, box_score)
    if rows:
        _write_sheet(out / FILES["worst"], part, table, rows, predict, pictures, box_score, result["min_area"])
    else:
        (out / FILES["worst"]).unlink(missing_ok=True)
    write_json(out / FILES["metrics"], result)


def images_csv(table: ImageTable, thresholds: Mapping[str, float], box_score: float = 0.0) -> str:
    """One line an image: truth of the part, score, verdict, defect IoU, and the pixels behind it.

    A detecting model adds its boxes of at least `box_score` at overlap 0.5: right ones, wrong ones, misses.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    boxes = [] if table.detections is None else list(zip(*box_counts(table.detections, box_score), strict=True))
    more = ["boxes_tp", "boxes_fp", "boxes_fn"] if table.detections is not None else []
    writer.writerow(["id", "truth", "verdict", "score", "defect_iou", "tp", "fp", "fn", "unknown", *more])
    called, iou = verdicts(table, thresholds), image_defect_iou(table)
    for n, name in enumerate(table.ids):
        counts = table.confusion[n]
        share = "" if iou[n] is None else f"{iou[n]:.6f}"
        writer.writerow(
            [
                name,
                STATES[int(table.defective[n])],
                VERDICTS[called[n]],
                f"{table.score[n]:.6f}",
                share,
                counts[1:, 1:].sum(),
                counts[0, 1:].sum(),
                counts[1:, 0].sum(),
                table.unknown[n],
                *(boxes[n] if boxes else ()),
            ]
        )
    return text.getvalue()


def _write_sheet(
    path: Path,
    part: Part,
    table: ImageTable,
    rows: list[int],
    predict: Callable[[Sample], Shown],
    pictures: PictureStore,
    box_score: float,
    min_area: int,
) -> None:
    from defectctl.loading.box_truth import box_truth
    from defectctl.reports.sheet import SheetRow, draw_sheet

    by_id = {sample.id: sample for sample in part.samples}
    drawn = []
    for n in rows:
        sample = by_id[table.ids[n]]
        shown, truth = predict(sample), pictures.mask(sample)
        boxes = None
        if shown.boxes is not None:
            known = box_truth(part.dataset, sample, truth, min_area)
            boxes = list(zip(known.labels.tolist(), known.boxes.tolist(), strict=True)) if known.known else None
        drawn.append(
            SheetRow(
                sample.id,
                pictures.picture(sample),
                truth if shown.class_map is not None else None,
                shown.class_map,
                shown.defect,
                boxes,
                shown.boxes,
                row_remark(table, n, box_score),
            )
        )
    colours = [c.colour for c in part.dataset.classes]
    draw_sheet(drawn, table.classes, colours, path, f"Worst images of {part.title}")
