"""The figures of an evaluation in the order in which they matter: for the screen, and for the report's first table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from defectctl.evaluation.result import RANKINGS
from defectctl.metrics.instances import FEWEST
from defectctl.reports.evaluation_data import Headline

_PIXELS = (
    ("mIoU of defects", "miou_defects", "mean over the defect classes"),
    ("mIoU", "miou", "mean with background, as papers print it"),
    ("precision", "precision", "mean over classes, with background"),
    ("MPA", "mpa", "mean recall over classes, with background"),
    ("pixel accuracy", "pixel_accuracy", "background counts as much as it covers"),
    ("Dice", "dice", "mean over the defect classes"),
    ("F1 per image", "image_f1", "any defect; mean over images, ± their standard deviation"),
    ("IoU per image", "image_iou", "any defect; mean over images, ± their standard deviation"),
    ("pixel AP", "pixel_ap", "pixels ranked by defect probability, any defect"),
    ("AUPRO 0.3", "aupro_30", "overlap of each true region, up to 30 % false pixels"),
    ("AUPRO 0.05", "aupro_05", "the same up to 5 % false pixels"),
    ("MAE", "mae", "of the defect probability; less is better"),
    ("weighted F", "weighted_f", "F-measure that weighs pixels by place; images with a defect"),
    ("S-measure", "s_measure", "likeness of structure"),
    ("E-measure, mean", "e_mean", "enhanced alignment, mean over 256 thresholds"),
    ("E-measure, max", "e_max", "the same at the best one"),
    ("E-measure, adaptive", "e_adaptive", "the same at twice the map's mean"),
)
"""Name, key and meaning of the pixel figures."""

_FIRST_PIXELS = ("miou_defects", "miou", "dice", "image_f1", "pixel_ap")
"""Those that the screen shows; the report and `metrics.json` hold them all."""

_NO_KINDS = "takes both good and defective parts"
_NO_MASKS = "no image has a mask whose classes are known"
_NO_DEFECT = "no known pixel is a defect, in truth or prediction"
_NO_TRUE_DEFECT = "no known pixel is a true defect"
_NO_WHOLE_MASK = "no image has a mask that is known to its last pixel"

_OF_MAPS = {*RANKINGS, "weighted_f", "s_measure"}
"""Figures of the defect probability, which masks on disk do not have."""

_REASONS = {
    **dict.fromkeys(("defect_iou", "miou_defects", "dice"), _NO_DEFECT),
    **dict.fromkeys(("pixel_ap", "aupro_30", "aupro_05"), "takes pixels of true defects and of background"),
    "weighted_f": "takes an image with a defect whose mask is known to its last pixel",
    "s_measure": _NO_WHOLE_MASK,
}
"""Why a pixel figure is absent although there are known pixels."""


def headline(result: dict[str, Any], everything: bool = False) -> list[Headline]:
    """The rows, most telling first; only what the model delivers.

    Args:
        result: the content of `metrics.json`.
        everything: all pixel figures, not only those that fit a screen.
    """
    outlines = "segmentation" in result["tasks"]
    rows: list[Headline] = []
    if outlines:
        meaning = "any defect against background, all pixels"
        rows.append(_pixel(result, "defect IoU", "defect_iou", meaning))
    rows += [*_boxes(result)] if "detection" in result["tasks"] else []
    rows += [*_verdicts(result)]
    rows += [*_defects(result)] if outlines else []
    rows += [*_ranking(result)] if result["masks"] is None else []
    if outlines:
        rows += [_pixel(result, *row) for row in _PIXELS if everything or row[1] in _FIRST_PIXELS]
    return rows


def _defects(result: dict[str, Any]) -> Iterator[Headline]:
    """What becomes of single defects."""
    metrics = result["metrics"]
    found = (metrics["instances_found"], metrics["instances"]) if metrics["instances"] else None
    meaning, nothing = f"at least {100 * metrics['found_at']:g} % of its pixels", _NO_MASKS
    if metrics["images_judged"]:
        nothing = _NO_TRUE_DEFECT
    yield _row(result, "defects found", "instance_recall", meaning, "percent", found, nothing)
    smallest, least = metrics["smallest_found"], None
    meaning = "pixels; from this size on nine of ten are found"
    if smallest:
        least = smallest["pixels"]
        meaning += f" ({smallest['found']} of {smallest['instances']} up to twice as large)"
    reason = "no size from which on nine of ten are found"
    if metrics["instances"] - metrics["instances_cut"] < FEWEST:
        reason = f"takes {FEWEST} defects of known size"
    yield Headline("smallest defect found", least, meaning, kind="number", reason=reason)
    meaning = "predicted defects that touch no true one"
    yield _row(result, "false defects per image", "false_blobs_per_image", meaning, "number", reason=_NO_MASKS)
    far = metrics["boundary_error_p95"]
    meaning = "pixels between true and predicted outline of found defects" + (f"; 95 % within {far:.3g}" if far else "")
    yield _row(result, "boundary error", "boundary_error", meaning, "number", reason="no defect is found")


def _boxes(result: dict[str, Any]) -> Iterator[Headline]:
    yield _row(result, "mAP50", "map50", "boxes, mean over classes, overlap 0.5", reason="no true box is known")
    meaning = "boxes, mean over classes and overlaps 0.5 to 0.95"
    yield _row(result, "mAP", "map", meaning, reason="no true box is known")


def _verdicts(result: dict[str, Any]) -> Iterator[Headline]:
    """What becomes of whole parts at the thresholds in force."""
    parts = result["parts"]
    for name, total, meaning in (
        ("escapes", "defective_parts", "defective parts called OK"),
        ("overkill", "good_parts", "good parts called NG"),
    ):
        counts = (parts[name], parts[total]) if parts[total] else None
        key, state = {"escapes": ("escape_rate", "defective"), "overkill": ("overkill_rate", "good")}[name]
        interval = interval_of(result, key)
        rate = parts[name] / parts[total] if parts[total] else None
        yield Headline(name, rate, meaning, interval, "percent", counts, f"no part is known to be {state}")
    if parts["unsure"]:
        yield Headline("unsure", parts["unsure"], "parts between the two thresholds", kind="number")


def _ranking(result: dict[str, Any]) -> Iterator[Headline]:
    """How whole parts are told apart at any threshold."""
    parts, metrics = result["parts"], result["metrics"]
    yield _row(result, "image AP", "image_ap", "parts ranked by score, average precision", reason=_NO_KINDS)
    meaning = "chance that a defective part scores above a good one"
    yield _row(result, "image AUROC", "image_auroc", meaning, reason=_NO_KINDS)
    if best := metrics["best_f1"]:
        at = f"parts; at score {best['threshold']:.3f}: TP {best['tp']}, FP {best['fp']}, FN {best['fn']}"
        yield Headline("best F1", best["f1"], f"{at}, TN {best['tn']}", interval_of(result, "best_f1.f1"))
    if (alarms := metrics["fp_at_full_recall"]) is not None:
        good, meaning = parts["good_parts"], "good parts called NG if no defect may escape"
        ends = interval_of(result, "fp_at_full_recall")
        share = None if ends is None else (min(1.0, ends[0] / good), min(1.0, ends[1] / good))
        yield Headline("FP at full recall", alarms / good, meaning, share, "percent", (alarms, good))


def _pixel(result: dict[str, Any], name: str, key: str, meaning: str) -> Headline:
    metrics = result["metrics"]
    if "±" in meaning and metrics[key] is not None:
        meaning = meaning.replace("± their standard deviation", f"deviation {metrics[f'{key}_std']:.3f}")
    return _row(result, name, key, meaning, reason=_why_absent(result, key))


def _why_absent(result: dict[str, Any], key: str) -> str:
    """Why a pixel figure has no value, if it has none."""
    if result["masks"] is not None and key in _OF_MAPS:
        return "masks hold no probability"
    return _NO_MASKS if result["metrics"]["pixel_accuracy"] is None else _REASONS.get(key, _NO_MASKS)


def _row(
    result: dict[str, Any],
    name: str,
    key: str,
    meaning: str,
    kind: Any = "ratio",
    counts: tuple[int, int] | None = None,
    reason: str = "",
) -> Headline:
    return Headline(name, result["metrics"][key], meaning, interval_of(result, key), kind, counts, reason)


def interval_of(result: dict[str, Any], key: str) -> tuple[float, float] | None:
    """Both ends of the interval under a key of `intervals`, None where there is none."""
    interval = result["intervals"].get(key)
    return None if interval is None or interval["low"] is None else (interval["low"], interval["high"])
