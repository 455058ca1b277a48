"""Puts together what the report of an evaluation tells, from the table and the content of `metrics.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from defectctl.evaluation.headline import headline, interval_of
from defectctl.metrics.boxes import OVERLAPS, average_precision, box_counts
from defectctl.metrics.curves import part_curve, pixel_curve
from defectctl.metrics.image_level import verdicts
from defectctl.metrics.table import ImageTable
from defectctl.reports.evaluation_data import (
    BoxScores,
    Case,
    ClassScores,
    Confusion,
    Cost,
    Curve,
    EvaluationPage,
    Mark,
    Notice,
    OperatingPoint,
    Promise,
    RecallRow,
    Record,
    Reliability,
    ReliabilityBin,
    Scores,
    TradeOff,
)

_HOW = {
    "promise": "Chosen to keep what was promised",
    "cost": "Chosen for the lowest cost",
    "f1": "Chosen for the best F1",
}


def build_page(table: ImageTable, result: dict[str, Any], misses: list[Case], alarms: list[Case]) -> EvaluationPage:
    """All that the page tells.

    Args:
        result: the content of `metrics.json`.
        misses, alarms: as `cases_of` returns them.
    """
    about, parts, ranked = result["dataset"], result["parts"], result["masks"] is None
    leak = result["leak"]
    return EvaluationPage(
        model=_name(result),
        dataset=about["name"],
        split=about["split"],
        part=about["part"],
        images=len(table),
        good=parts["good_parts"],
        defective=parts["defective_parts"],
        unknown=parts["parts_unknown"],
        headline=headline(result, everything=True),
        record=_record(result),
        warnings=[Notice(text, leak["serious"] and text == leak["text"]) for text in result["notes"]],
        interval_level=result["confidence"],
        interval_note=_interval_note(result),
        operating=_operating(table, result),
        precision_recall=_precision_recall(table, result["metrics"]) if ranked else None,
        trade_off=_trade_off(table, result) if ranked else None,
        reliability=_reliability(result),
        scores=_scores(table) if ranked else None,
        confusion=_confusion(table),
        recall_by_class=_recall_by_class(result),
        recall_by_size=_recall_by_size(result),
        size_note=_size_note(result),
        classes=_classes(result),
        boxes=_boxes(table, result),
        misses=misses,
        false_alarms=alarms,
    )


def _name(result: dict[str, Any]) -> str:
    if result["model"] is None:
        return f"masks in {result['masks']}"
    files = [fold["file"] for fold in result["model"].get("folds", [result["model"]])]
    return ", ".join(Path(file).parent.name or Path(file).name for file in files)


def _record(result: dict[str, Any]) -> Record:
    model, scored, device = result["model"] or {}, result["scored"], dict(result["device"] or {})
    packages = scored["environment"].get("packages", {})
    kept = {key: value for key, value in scored["environment"].items() if key != "packages"}
    speed = {"scored at": f"{device.pop('images_per_second'):g} images/s"} if "images_per_second" in device else {}
    device.pop("seconds", None)
    if "name" in device:
        device["device"] = f"{device['device']} ({device.pop('name')})"
    told = {**device, **speed, **kept, **{name: packages[name] for name in ("torch", "numpy") if name in packages}}
    again = {}
    if result["command"] != scored["command"]:
        again = {"scored on": scored["date"], "judged again by": result["command"]}
    data = {"dataset" if key == "name" else f"dataset {key}": value for key, value in model.get("dataset", {}).items()}
    return Record(
        dataset=result["dataset"]["fingerprint"],
        split=result["dataset"]["split_fingerprint"],
        model=str(model.get("file", result["masks"])),
        sha256=model.get("sha256", ""),
        training={**data, **model.get("training", {})},
        command=scored["command"],
        environment={**again, **told},
        date=result["date"],
    )


def _interval_note(result: dict[str, Any]) -> str:
    groups, images = result["groups"], result["dataset"]["images"]
    what = f"{images} images" if groups == images else f"{images} images in {groups} independent groups"
    return (
        f"Intervals: {100 * result['confidence']:g} %, from {what}. Rates of parts by the exact binomial bound, the "
        "others by resampling whole groups. They say how far chance in the choice of these images reaches, not how "
        "other parts, another camera or another light would fare."
    )


def _operating(table: ImageTable, result: dict[str, Any]) -> OperatingPoint:
    thresholds, calibration = result["thresholds"], result["calibration"]
    called = verdicts(table, thresholds)
    counts = [np.bincount(called[table.defective == state], minlength=3).tolist() for state in (1, 0, -1)]
    mine = calibration if calibration.get("thresholds") == _of_parts(thresholds) else {}
    promises = [
        Promise(f"{p['kind']} rate", p["limit"], p["confidence"], p["threshold"] is not None, p["sentence"])
        for p in mine.get("promises", {}).values()
    ]
    price = result["cost"]
    cost = None
    if price is not None:
        prices = price["cost_escape"], price["cost_overkill"]
        cost = Cost(*prices, price["total"], price["per_part"] or 0.0)
    return OperatingPoint(
        ok=thresholds.get("ok"),
        ng=thresholds.get("ng"),
        chosen=_how_chosen(result, mine),
        defective=tuple(counts[0]),
        good=tuple(counts[1]),
        unknown=tuple(counts[2]),
        promises=promises,
        cost=cost,
        notes=[note for note in mine.get("notes", ()) if note not in {promise.basis for promise in promises}],
    )


def _of_parts(thresholds: dict[str, float]) -> dict[str, float]:
    """Those that judge parts: without the one that judges pixels."""
    return {key: value for key, value in thresholds.items() if key != "pixel"}


def _how_chosen(result: dict[str, Any], calibration: dict[str, Any]) -> str:
    if calibration:
        data = calibration["dataset"]
        where = f"{data['images']} parts of '{data['name']}', split '{data['split']}', part '{data['part']}'"
        return f"{_HOW.get(calibration['method'], 'Chosen')} on {where}, {calibration['date'][:10]}."
    if result["thresholds"] != result["own_thresholds"]:
        return "Asked for in place of the model's own; not stored."
    return "Not calibrated: it is what the kind of model implies." if not result["calibration"] else ""


def _curve(name: str, found: Any, label: str) -> Curve:
    thin = found.thinned()
    return Curve(name, thin.recall, thin.precision, label)


def _precision_recall(table: ImageTable, metrics: dict[str, Any]) -> list[Curve] | None:
    found = (("parts", part_curve(table), metrics["image_ap"]), ("pixels", pixel_curve(table), metrics["pixel_ap"]))
    return [_curve(name, curve, f"AP {ap:.3f}") for name, curve, ap in found if curve is not None] or None


def _trade_off(table: ImageTable, result: dict[str, Any]) -> TradeOff | None:
    curve = part_curve(table)
    if curve is None:
        return None
    thin, parts = curve.thinned(), result["parts"]
    mark = Mark("operating point", parts["overkill_rate"], parts["escape_rate"])
    return TradeOff(Curve("all thresholds", thin.overkill_rate, thin.escape_rate), [mark])


def _reliability(result: dict[str, Any]) -> Reliability | None:
    found, parts = result["reliability"], result["parts"]
    if found is None or not (parts["good_parts"] and parts["defective_parts"]):
        return None
    bins = [ReliabilityBin(b["predicted"], b["count"], round(b["observed"] * b["count"])) for b in found["bins"]]
    return Reliability(bins, found["calibration_error"])


def _scores(table: ImageTable) -> Scores | None:
    if not (table.defective >= 0).any():
        return None
    return Scores(table.score[table.defective == 0], table.score[table.defective == 1])


def _confusion(table: ImageTable) -> Confusion | None:
    if not table.known[:, 0].any():
        return None
    return Confusion(["background", *table.classes], table.confusion.sum(axis=0))


def _recall_by_class(result: dict[str, Any]) -> list[RecallRow] | None:
    rows = [
        RecallRow(name, row["found"], row["instances"], interval_of(result, f"instance_classes.{name}.recall"))
        for name, row in result["metrics"]["instance_classes"].items()
        if row["instances"]
    ]
    return rows or None


def _recall_by_size(result: dict[str, Any]) -> list[RecallRow] | None:
    rows = []
    for row in result["metrics"]["instance_sizes"]:
        if row["instances"]:
            ends = f"{row['from']:,} to {row['to']:,} px" if row["to"] else f"{row['from']:,} px and more"
            span = interval_of(result, f"instance_sizes.{row['from']}.recall")
            rows.append(RecallRow(ends, row["found"], row["instances"], span))
    return rows or None


def _size_note(result: dict[str, Any]) -> str:
    metrics = result["metrics"]
    if not metrics["instances"]:
        return ""
    smallest, cut = metrics["smallest_found"], metrics["instances_cut"]
    told = "There is no size from which on nine defects out of ten are found."
    if smallest:
        told = (
            f"From {smallest['pixels']:,} pixels on nine defects out of ten are found: {smallest['found']} of "
            f"{smallest['instances']} up to twice that size, at least {smallest['lower']:.0%} with 95 % confidence."
        )
    return told + (f" {cut} defects beside unknown pixels have no known size." if cut else "")


def _classes(result: dict[str, Any]) -> list[ClassScores] | None:
    tasks, metrics = result["tasks"], result["metrics"]
    keys: list[str] = []
    keys += ["iou", "precision", "recall", "f1", "pixels"] if "segmentation" in tasks else []
    keys += ["ap50", "ap", "boxes"] if "detection" in tasks else []
    if not keys:
        return None
    silent = metrics["unknown_classes"] if "segmentation" in tasks else []
    colours = {known["name"]: tuple(known["colour"]) for known in result["dataset"]["classes"]}
    rows = [
        ClassScores(name, colours.get(name), **{k: None if k == "pixels" and name in silent else row[k] for k in keys})
        for name, row in metrics["per_class"].items()
    ]
    if "segmentation" in tasks:
        own = {key: metrics["background"][key] for key in keys[:5]}
        rows.append(ClassScores("background", None, **own))
    return rows


def _boxes(table: ImageTable, result: dict[str, Any]) -> BoxScores | None:
    if table.detections is None or not table.detections.truths.any():
        return None
    score = result["box_score"] or 0.0
    right, wrong, missed = (int(counts.sum()) for counts in box_counts(table.detections, score))
    found = table.detections
    values = []
    for label in range(1, 1 + len(table.classes)):
        mine = found.label == label
        columns = (getattr(found, name)[mine] for name in ("score", "matched", "ignored"))
        values.append(average_precision(*columns, int(found.truths[:, label].sum())))
    means = np.mean([value for value in values if value is not None], axis=0)
    return BoxScores(score, right, wrong, missed, list(zip(OVERLAPS.tolist(), means.tolist(), strict=True)))
