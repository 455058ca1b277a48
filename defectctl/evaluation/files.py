"""Writes what an evaluation found: table, per-image CSV, confusion matrix, contact sheet and, last, metrics.json."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from defectctl.dataset.types import Sample
from defectctl.evaluation.part import Part
from defectctl.fileio import write_json, write_text
from defectctl.loading.pictures import PictureStore
from defectctl.metrics.image_level import VERDICTS, verdicts
from defectctl.metrics.segmentation import image_defect_iou
from defectctl.metrics.table import ImageTable

WORST = 12
"""Images on the contact sheet."""

STATES = {1: "defective", 0: "good", -1: ""}
FILES = {
    "table": "table.npz",
    "images": "images.csv",
    "confusion": "confusion.png",
    "worst": "worst.png",
    "metrics": "metrics.json",
}


def write_files(
    out: Path,
    part: Part,
    table: ImageTable,
    result: dict[str, Any],
    predict: Callable[[Sample], np.ndarray],
    pictures: PictureStore,
) -> None:
    """Write all files of `FILES` into `out`; where no pixel is wrong there is no contact sheet.

    Args:
        result: the content of `metrics.json`.
        predict: gives the class map `(H, W)` uint8 of a sample once more, for the contact sheet.
    """
    from defectctl.reports.confusion import draw_confusion

    (out / FILES["metrics"]).unlink(missing_ok=True)
    table.save(out / FILES["table"])
    write_text(out / FILES["images"], images_csv(table, result["thresholds"]))
    names = ["background", *table.classes]
    draw_confusion(table.confusion.sum(axis=0), names, out / FILES["confusion"], f"{part.title}, pixels")
    rows = worst_rows(table)
    if rows:
        _write_sheet(out / FILES["worst"], part, table, rows, predict, pictures)
    else:
        (out / FILES["worst"]).unlink(missing_ok=True)
    write_json(out / FILES["metrics"], result)


def images_csv(table: ImageTable, thresholds: Mapping[str, float]) -> str:
    """One line an image: truth of the part, score, verdict, defect IoU, and the pixels behind it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "truth", "verdict", "score", "defect_iou", "tp", "fp", "fn", "unknown"])
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
            ]
        )
    return text.getvalue()


def worst_rows(table: ImageTable, count: int = WORST) -> list[int]:
    """Row numbers of the images with the lowest defect IoU, among equals those with most wrong pixels first."""
    wrong = table.confusion.sum(axis=(1, 2)) - np.trace(table.confusion, axis1=1, axis2=2)
    iou = image_defect_iou(table)
    judged = [(value, -int(wrong[n]), n) for n, value in enumerate(iou) if value is not None and wrong[n] > 0]
    return [n for *_, n in sorted(judged)[:count]]


def _write_sheet(
    path: Path,
    part: Part,
    table: ImageTable,
    rows: list[int],
    predict: Callable[[Sample], np.ndarray],
    pictures: PictureStore,
) -> None:
    from defectctl.reports.sheet import SheetRow, draw_sheet

    by_id = {sample.id: sample for sample in part.samples}
    iou = image_defect_iou(table)
    drawn = []
    for n in rows:
        sample = by_id[table.ids[n]]
        caption = f"{sample.id}   IoU {iou[n]:.2f}"
        drawn.append(SheetRow(caption, pictures.picture(sample), pictures.mask(sample), predict(sample)))
    colours = [c.colour for c in part.dataset.classes]
    draw_sheet(drawn, table.classes, colours, path, f"Worst images of {part.title}")
