"""Draws the course of a training run: loss, validation metrics and learning rate over epochs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from defectctl.reports.figures import png_figure

MOST_LINES = 10
"""Lines beyond this in one panel cannot be told apart and are left out; the legend says how many."""


def draw_curves(history: list[dict[str, Any]], path: Path) -> None:
    """Write `curves.png` from the rows of `history.csv`.

    Args:
        history: one row per validated epoch, in order; `epoch` is the x axis (else the row number). Keys with `loss`
            in them go into the first panel, keys with `lr` or `learning_rate` as their last word into the third, and
            other keys that begin with `val/` into the second. Values that are absent, empty or not finite are
            skipped.
        path: PNG file to write.
    """
    panels = [(name, _lines(history, wanted)) for name, wanted in _PANELS]
    panels = [(name, lines) for name, lines in panels if lines] or [("nothing recorded yet", {})]
    positions = [_number(row.get("epoch")) for row in history]
    epochs = [p if p is not None else n + 1.0 for n, p in enumerate(positions)]
    with png_figure(path, 9, 2.9 * len(panels) + 0.3, formulas=True) as figure:
        for place, (name, lines) in enumerate(panels, 1):
            axes = figure.add_subplot(len(panels), 1, place)
            axes.xaxis.get_major_locator().set_params(integer=True)
            _draw_panel(axes, name, epochs, lines)
        axes.set_xlabel("epoch")


def _draw_panel(axes: Axes, name: str, epochs: list[float], lines: dict[str, list[float | None]]) -> None:
    for key, values in list(lines.items())[:MOST_LINES]:
        present = [(x, y) for x, y in zip(epochs, values, strict=True) if y is not None]
        axes.plot(*zip(*present, strict=True), label=key, linewidth=1.6, marker="." if len(present) < 40 else None)
    axes.set_ylabel(name)
    axes.grid(alpha=0.3)
    if lines:
        hidden = len(lines) - MOST_LINES
        axes.legend(fontsize=8, title=f"{hidden} more not drawn" if hidden > 0 else None)
    if name == "learning rate" and all(v is None or v > 0 for values in lines.values() for v in values):
        axes.set_yscale("log")
    if name == "validation":
        axes.set_ylim(-0.02, 1.02)


def _is_rate(key: str) -> bool:
    return key.replace("/", " ").split()[-1] in ("lr", "learning_rate") if key.strip("/ ") else False


_PANELS = (
    ("loss", lambda key: "loss" in key and not _is_rate(key)),
    ("validation", lambda key: key.startswith("val/") and "loss" not in key and not _is_rate(key)),
    ("learning rate", _is_rate),
)


def _lines(history: list[dict[str, Any]], wanted: Callable[[str], bool]) -> dict[str, list[float | None]]:
    """Values per key that `wanted` takes, without keys that have no number at all."""
    keys = list(dict.fromkeys(key for row in history for key in row if wanted(key)))
    lines = {key: [_number(row.get(key)) for row in history] for key in keys}
    return {key: values for key, values in lines.items() if any(v is not None for v in values)}


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
