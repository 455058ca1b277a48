"""Compares two models by their tables: every figure's difference on the same images, with a paired test."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from defectctl.evaluation.asked import Asked
from defectctl.evaluation.result import RANKINGS, in_force, independent, made_by, named_groups
from defectctl.evaluation.scored import Scored
from defectctl.fileio import check_writable, write_json
from defectctl.metrics.compare import compare
from defectctl.metrics.weighted_figures import LESS_IS_BETTER

COMPARISON_FILE = "comparison.json"


def compare_scored(first: Scored, second: Scored, asked: Asked, out: Path | None = None) -> dict[str, Any]:
    """Hold two scored models against each other.

    Args:
        asked: thresholds, if any, are put in force for both.
        out: folder for `comparison.json`; None: nothing is written.

    Returns:
        `first`, `second` {name, thresholds, dataset, model}, `differences` {key: {first, second, difference, low, high,
        p_value, test, only_first, only_second, better}}, `better` being `first`, `second` or None where the test
        does not tell, `images`, `groups`, `confidence`, and what it was made by.

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
        if masks and row.key in RANKINGS:
            continue
        values = asdict(row)
        del values["key"], values["interval"]
        low, high = row.interval.low, row.interval.high
        better = _better(row.key, row.difference, row.p_value, 1 - asked.confidence)
        rows[row.key] = {**values, "low": low, "high": high, "better": better}
    result = {
        "format": 1,
        **{
            name: {"name": one.name, "thresholds": own, "dataset": one.about["dataset"], "model": one.about["model"]}
            for name, one, own in zip(("first", "second"), (first, second), thresholds, strict=True)
        },
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


def _better(key: str, difference: float | None, p_value: float | None, least: float) -> str | None:
    """Which model is ahead; None where chance may well have made the difference (`p_value` of `least` or more)."""
    if not difference or p_value is None or p_value >= least:
        return None
    return "second" if (difference > 0) != (key in LESS_IS_BETTER) else "first"
