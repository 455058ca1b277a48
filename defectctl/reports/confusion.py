"""Draws a confusion matrix: colour and percent by row of the truth, pixel counts below."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from defectctl.reports.figures import png_figure

MOST_NUMBERED = 16
"""With more rows than this the cells are too small for numbers and only the colours are drawn."""


def draw_confusion(matrix: np.ndarray, names: list[str], path: Path, title: str = "") -> None:
    """Write the matrix as PNG.

    Args:
        matrix: `(C, C)` pixels, `[truth, prediction]`.
        names: C class names, background first.
        path: PNG file to write.
        title: a line above the matrix, e.g. dataset, split and part.
    """
    count = len(names)
    totals = matrix.sum(axis=1, keepdims=True)
    shares = matrix / np.maximum(totals, 1)
    side = min(24.0, max(4.5, 1.05 * count + 2))
    with png_figure(path, side + 1, side) as figure:
        axes = figure.add_subplot()
        shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        labels = [_short(name) for name in names]
        tilted = max(map(len, labels)) > 9 or count > 8
        axes.set_xticks(range(count), labels, rotation=35 if tilted else 0, ha="right" if tilted else "center")
        axes.set_yticks(range(count), labels)
        axes.set_xlabel("prediction")
        axes.set_ylabel("truth")
        if title:
            axes.set_title(title, fontsize=10)
        if count <= MOST_NUMBERED:
            _write_numbers(axes, matrix, shares, totals)
        figure.colorbar(shown, ax=axes, fraction=0.046, label="share of the true class")


def _write_numbers(axes: Axes, matrix: np.ndarray, shares: np.ndarray, totals: np.ndarray) -> None:
    for row in range(len(matrix)):
        for column in range(len(matrix)):
            text = f"{100 * shares[row, column]:.1f}%\n{compact(int(matrix[row, column]))}" if totals[row, 0] else "-"
            colour = "white" if shares[row, column] > 0.55 else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)


def compact(count: int) -> str:
    """A pixel count in at most five characters: 950, 12.3k, 4.56M."""
    for size, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}" if count < 999.5 * size else f"{count / size:.0f}{unit}"
    return str(count)


def _short(name: str, length: int = 24) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
