"""The content of `metrics.json`: every figure of a scored part, with intervals, and what it was made from."""

from __future__ import annotations

import shlex
import sys
from datetime import datetime, timezone
from typing import Any

from defectctl.checkpoints.runs import environment
from defectctl.evaluation.asked import Asked
from defectctl.evaluation.scored import Scored
from defectctl.metrics.bootstrap import intervals
from defectctl.metrics.image_level import image_metrics
from defectctl.metrics.instances import cost
from defectctl.metrics.reliability import part_reliability, pixel_reliability
from defectctl.metrics.summary import all_metrics
from defectctl.metrics.table import ImageTable

RESULT_FORMAT = 2
"""Version of the layout of `metrics.json`."""

RANKINGS = (
    "image_ap",
    "image_auroc",
    "best_f1",
    "fp_at_full_recall",
    "pixel_ap",
    "mae",
    "e_mean",
    "e_max",
    "e_adaptive",
    "aupro_30",
    "aupro_05",
)
"""Figures that need scores, which masks on disk do not have."""


def made_by() -> dict[str, Any]:
    """Command, date (UTC) and environment of this moment."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"command": shlex.join(sys.argv), "date": now, "environment": environment()}


def build_result(scored: Scored, asked: Asked = Asked()) -> dict[str, Any]:
    """All figures of a scored part, no network needed; plain values that JSON carries.

    Returns:
        `metrics` as `metrics.summary.all_metrics` returns them, `parts` as `image_metrics`, `intervals` {key: {low,
        high, method, reason}} with the `confidence` of them all, `reliability` of the image score and
        `pixel_reliability` of the defect probability, or None, `cost` or None, `notes`, the `thresholds` in force, and
        all of `Scored.about`.
    """
    table, about = scored.table, scored.about
    thresholds = in_force(about["own_thresholds"], asked)
    metrics, parts = all_metrics(table, about["min_area"]), image_metrics(table, thresholds)
    found = intervals(table, named_groups(table), thresholds, asked.confidence, asked.rounds)
    spans = {key: {"low": i.low, "high": i.high, "method": i.method, "reason": i.reason} for key, i in found.items()}
    reliability, by_pixel = part_reliability(table), pixel_reliability(table)
    if about["masks"] is not None:
        # A mask says yes or no: there is no probability to rank parts or pixels by.
        metrics.update(dict.fromkeys(RANKINGS))
        spans, reliability = {key: span for key, span in spans.items() if key.split(".")[0] not in RANKINGS}, None
        by_pixel = None
    return {
        "format": RESULT_FORMAT,
        "tasks": about["tasks"],
        "metrics": metrics,
        "parts": parts,
        "confidence": asked.confidence,
        "intervals": spans,
        "groups": independent(table),
        "reliability": None if reliability is None else reliability.to_dict(),
        "pixel_reliability": None if by_pixel is None else by_pixel.to_dict(),
        "cost": verdict_cost(parts, asked),
        "notes": notes(about, table, metrics),
        "thresholds": thresholds,
        **about,
        **made_by(),
    }


def verdict_cost(parts: dict[str, Any], asked: Asked) -> dict[str, Any] | None:
    """What the verdicts cost, as `metrics.instances.cost` returns it; None where no prices are asked."""
    if asked.cost_escape is None or asked.cost_overkill is None:
        return None
    return cost(parts, asked.cost_escape, asked.cost_overkill)


def in_force(own: dict[str, float], asked: Asked) -> dict[str, float]:
    """The thresholds asked for, else the model's own; its pixel threshold, by which the table was made, stays."""
    if asked.thresholds is None:
        return dict(own)
    return dict(asked.thresholds) | {key: value for key, value in own.items() if key == "pixel"}


def named_groups(table: ImageTable) -> list[str | None]:
    """Group of each image as resampling and promises take it: None stands alone."""
    return [group or None for group in table.groups]


def independent(table: ImageTable) -> int:
    """How many groups (images that stand alone among them) the intervals rest on."""
    return len({group for group in table.groups if group}) + table.groups.count("")


def notes(about: dict[str, Any], table: ImageTable, metrics: dict[str, Any]) -> list[str]:
    """What is to be known before the figures are read, a sentence each; a leak comes first."""
    told = [about["leak"]["text"]] if about["leak"]["text"] else []
    if "segmentation" in about["tasks"]:
        told += _mask_notes(table, metrics)
    if "detection" in about["tasks"]:
        told += _box_notes(metrics)
    return told


def _mask_notes(table: ImageTable, pixels: dict[str, Any]) -> list[str]:
    """What the true masks leave open, and classes that the model never finds."""
    told = []
    without = int((table.confusion.sum(axis=(1, 2)) == 0).sum())
    if without == len(table):
        told.append("no image has a mask whose classes are known: there are no pixel figures")
    elif without:
        told.append(f"{without} of {len(table)} images have no known mask and count only as parts")
    if pixels["unknown_share"] and without < len(table):
        told.append(f"{pixels['unknown_share']:.1%} of the pixels have an unknown truth and are left out")
    if pixels["unknown_classes"] and without < len(table):
        told.append(f"no mask speaks for {', '.join(pixels['unknown_classes'])}: left out")
    never = [n for n, row in pixels["per_class"].items() if row["pixels"] and row["recall"] == 0]
    if never:
        told.append(f"never found although it is there: {', '.join(never)}")
    return told


def _box_notes(metrics: dict[str, Any]) -> list[str]:
    """Classes of which no true box is known, and those that are never found at overlap 0.5."""
    rows = metrics["per_class"]
    if not any(row["boxes"] for row in rows.values()):
        return ["no image has boxes (or masks) that are known: there are no box figures"]
    without = [name for name, row in rows.items() if not row["boxes"]]
    never = [name for name, row in rows.items() if row["boxes"] and row["ap50"] == 0]
    told = [f"no true box of {', '.join(without)}: left out of mAP"] if without else []
    return told + ([f"boxes never found although they are there: {', '.join(never)}"] if never else [])
