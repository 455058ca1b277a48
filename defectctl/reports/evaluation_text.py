"""Writes the figures of an evaluation as people read them, the same on the screen and in the report."""

from __future__ import annotations

import math

from defectctl.reports.evaluation_data import Headline, Interval
from defectctl.reports.html import amount, percent


def value_text(row: Headline) -> str:
    """A figure as the tables write it: with its counts where it has them."""
    assert row.value is not None
    told = figure_text(row.value, row.kind)
    return f"{row.counts[0]:,} of {row.counts[1]:,} ({told})" if row.counts else told


def interval_text(interval: Interval | None, kind: str) -> str:
    """Both ends, a dash where there is no interval."""
    if interval is None or not all(map(math.isfinite, interval)):
        return "–"
    return f"{figure_text(interval[0], kind)} to {figure_text(interval[1], kind)}"


def figure_text(value: float, kind: str) -> str:
    """A value by its kind, see `Headline`."""
    if kind == "percent":
        return percent(value)
    return f"{value:.3f}" if kind == "ratio" else amount(value)
