"""Compares two models by their tables: every figure's difference on the same images, with a paired test."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from defectctl.evaluation.asked import Asked
from defectctl.evaluation.result import RANKINGS, in_force, independent, made_by, named_groups, verdict_cost
from defectctl.evaluation.scored import Scored
from defectctl.fileio import check_writable, write_json
from defectctl.messages import say, warn
from defectctl.metrics.compare import compare
from defectctl.metrics.image_level import image_metrics
from defectctl.metrics.weighted_figures import LESS_IS_BETTER

COMPARISON_FILE = "comparison.json"


def compare_scored(first: Scored, second: Scored, asked: Asked, out: Path | None = None) -> dict[str, Any]:
    """Hold two scored models against each other.

    Args:
        asked: thresholds, if any, are put in force for both; prices, if any, are put on the verdicts of both.
        out: folder for `comparison.json`; None: nothing is written.

    Returns:
        `first`, `second` {name, thresholds, dataset, model, leak, parts, cost}, `notes`, `differences` {key: {first,
        second, difference, low, high, p_value, test, only_first, only_second, better}}, `better` being `first`,
        `second` or None where the test does not tell, `images`, `groups`, `confidence`, and what it was made by.

    Raises:
        InputError: the images, classes or truths differ.
    """
    asked.check()
    if out is not None:
        check_writable(out, "the results folder")
    thresholds = [in_force(one.about["own_thresholds"], asked) for one in (first, second)]
    found = compare(
        first.table,
        second.table,
        named_groups(first.table),
        *thresholds,
        confidence=asked.confidence,
        rounds=asked.rounds,
    )
    masks = any(one.about["masks"] is not None for one in (first, second))
    rows = {}
    for row in found:
        if masks and row.key.split(".")[0] in RANKINGS:
            continue
        values = asdict(row)
        del values["key"], values["interval"]
        low, high = row.interval.low, row.interval.high
        better = _better(row.key, row.difference, row.p_value, 1 - asked.confidence)
        rows[row.key] = {**values, "low": low, "high": high, "better": better}
    result = {
        "format": 1,
        "first": _side(first, thresholds[0], asked),
        "second": _side(second, thresholds[1], asked),
        "notes": _notes(first, second),
        "images": len(first.table),
        "groups": independent(first.table),
        "confidence": asked.confidence,
        "differences": rows,
        **made_by(),
    }
    if out is not None:
        write_json(out / COMPARISON_FILE, result)
        result["out"] = str(out)
    return result


def _side(scored: Scored, thresholds: dict[str, float], asked: Asked) -> dict[str, Any]:
    """One of the two models: what it is, and its verdicts."""
    parts = image_metrics(scored.table, thresholds)
    about = {key: scored.about[key] for key in ("dataset", "model", "leak")}
    return {"name": scored.name, "thresholds": thresholds, **about, "parts": parts, "cost": verdict_cost(parts, asked)}


def _notes(first: Scored, second: Scored) -> list[str]:
    """What is to be known before the differences are read; told as well, a leak loudly."""
    told = []
    for one in (first, second):
        leak = one.about["leak"]
        if leak["text"]:
            told.append(f"'{one.name}': {leak['text']}")
            (warn if leak["serious"] else say)(told[-1])
    if first.about["dataset"]["fingerprint"] != second.about["dataset"]["fingerprint"]:
        told.append("the dataset has changed between the two evaluations; the truth of these images is the same")
        say(told[-1])
    return told


def _better(key: str, difference: float | None, p_value: float | None, least: float) -> str | None:
    """Which model is ahead; None where chance may well have made the difference (`p_value` of `least` or more)."""
    if not difference or p_value is None or p_value >= least:
        return None
    return "second" if (difference > 0) != (key in LESS_IS_BETTER) else "first"
