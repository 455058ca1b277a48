"""Writes what an evaluation found: table, per-image CSV, confusion matrix, report, contact sheet and metrics.json."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from defectctl.dataset.types import Sample
from defectctl.evaluation.cases import cases_of, copy_pictures, true_boxes
from defectctl.evaluation.part import Part
from defectctl.evaluation.scored import METRICS_FILE, TABLE_FILE, Scored
from defectctl.evaluation.shown import Shown
from defectctl.evaluation.worst import row_remark, worst_rows
from defectctl.fileio import write_bytes, write_json, write_text
from defectctl.loading.pictures import PictureStore
from defectctl.metrics.boxes import box_counts
from defectctl.metrics.image_level import VERDICTS, verdicts
from defectctl.metrics.instances import instance_counts
from defectctl.metrics.segmentation import image_defect_iou
from defectctl.metrics.table import ImageTable

STATES = {1: "defective", 0: "good", -1: ""}
FILES = {
    "table": TABLE_FILE,
    "report": "report.html",
    "images": "images.csv",
    "confusion": "confusion.png",
    "worst": "worst.png",
    "metrics": METRICS_FILE,
}
"""Files of an evaluation by what they hold."""


def write_files(
    out: Path, scored: Scored, result: dict[str, Any], draw: Callable[[int], dict[str, bytes]] | None = None
) -> None:
    """Write table, one line an image, confusion matrix, report and, last, `metrics.json` into `out`.

    Args:
        result: the content of `metrics.json`.
        draw: as in `cases_of`.
    """
    from defectctl.evaluation.page import build_page
    from defectctl.reports.confusion import draw_confusion
    from defectctl.reports.evaluation_page import evaluation_page

    table, about = scored.table, result["dataset"]
    if not same_folder(scored.folder, out):  # else the table stays, and what it was made from is not put at risk
        (out / FILES["metrics"]).unlink(missing_ok=True)
        if draw is None:
            _copy_drawn(scored, out)
        table.save(out / FILES["table"])
    write_text(out / FILES["images"], images_csv(table, result["thresholds"], result["box_score"] or 0.0))
    if table.known[:, 0].any():
        title = f"{about['name']}, split '{about['split']}', part '{about['part']}', pixels"
        draw_confusion(table.confusion.sum(axis=0), ["background", *table.classes], out / FILES["confusion"], title)
    else:
        (out / FILES["confusion"]).unlink(missing_ok=True)
    misses, alarms = cases_of(table, result, out, draw)
    write_text(out / FILES["report"], evaluation_page(build_page(table, result, misses, alarms)))
    write_json(out / FILES["metrics"], result)


def same_folder(first: Path | None, second: Path) -> bool:
    """Whether both name one existing folder."""
    return first is not None and first.exists() and second.exists() and first.samefile(second)


def _copy_drawn(scored: Scored, out: Path) -> None:
    """Take over what an earlier evaluation drew, in the place of what another one may have drawn in `out`."""
    if scored.folder is None:
        (out / FILES["worst"]).unlink(missing_ok=True)
        return
    copy_pictures([(scored.folder, range(len(scored.table)))], out)
    if (scored.folder / FILES["worst"]).is_file():
        write_bytes(out / FILES["worst"], (scored.folder / FILES["worst"]).read_bytes())
    else:
        (out / FILES["worst"]).unlink(missing_ok=True)


def images_csv(table: ImageTable, thresholds: Mapping[str, float], box_score: float = 0.0) -> str:
    """One line an image: group, truth of the part, verdict, score, defect IoU, and the pixels behind it.

    A model that outlines adds true defects, those found and false ones; a detecting model its boxes of at least
    `box_score` at overlap 0.5: right ones, wrong ones, misses.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    more: dict[str, np.ndarray] = {}
    if table.instances is not None:
        more |= zip(("defects", "defects_found", "false_defects"), instance_counts(table.instances), strict=True)
    if table.detections is not None:
        counts = box_counts(table.detections, box_score)
        more |= zip(("boxes_tp", "boxes_fp", "boxes_fn"), counts, strict=True)
    writer.writerow(["id", "group", "truth", "verdict", "score", "defect_iou", "tp", "fp", "fn", "unknown", *more])
    called, iou = verdicts(table, thresholds), image_defect_iou(table)
    for n, name in enumerate(table.ids):
        counts = table.confusion[n]
        share = "" if iou[n] is None else f"{iou[n]:.6f}"
        writer.writerow(
            [
                name,
                table.groups[n],
                STATES[int(table.defective[n])],
                VERDICTS[called[n]],
                f"{table.score[n]:.6f}",
                share,
                counts[1:, 1:].sum(),
                counts[0, 1:].sum(),
                counts[1:, 0].sum(),
                table.unknown[n],
                *(int(column[n]) for column in more.values()),
            ]
        )
    return text.getvalue()


def write_sheet(
    out: Path,
    part: Part,
    table: ImageTable,
    result: dict[str, Any],
    show: Callable[[Sample], Shown],
    pictures: PictureStore,
) -> None:
    """Write the contact sheet of the worst images; none where no image has a mistake.

    Args:
        show: what was found in a sample once more.
    """
    from defectctl.reports.sheet import SheetRow, draw_sheet

    path, box_score = out / FILES["worst"], result["box_score"] or 0.0
    rows = worst_rows(table, box_score)
    if not rows:
        path.unlink(missing_ok=True)
        return
    by_id = {sample.id: sample for sample in part.samples}
    drawn = []
    for n in rows:
        sample = by_id[table.ids[n]]
        shown, truth = show(sample), pictures.mask(sample)
        drawn.append(
            SheetRow(
                sample.id,
                pictures.picture(sample),
                truth if shown.class_map is not None else None,
                shown.class_map,
                shown.defect,
                None if shown.boxes is None else true_boxes(part, sample, truth, result["min_area"]),
                shown.boxes,
                row_remark(table, n, box_score),
            )
        )
    colours = [c.colour for c in part.dataset.classes]
    draw_sheet(drawn, table.classes, colours, path, f"Worst images of {part.title}")
