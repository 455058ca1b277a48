"""What a run leaves to read: `history.csv`, `curves.png`, `log.txt`."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from defectctl.fileio import write_bytes, write_text

CURVE_SECONDS = 30.0
"""Least time between two drawings of the curves while training."""


def columns_of(history: Sequence[dict[str, Any]]) -> list[str]:
    """All keys of the rows, in order of first appearance."""
    return list(dict.fromkeys(key for row in history for key in row))


def write_history(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """Write one row an epoch; numbers in full precision, absent ones empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns_of(history), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_text(path, text.getvalue())


def write_curves(path: Path, history: Sequence[dict[str, Any]], select: str) -> None:
    """Draw loss, the leading validation metrics and the learning rate over the epochs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(3, 1, sharex=True)
    terms = [c for c in columns_of(history) if c == "loss" or c.startswith("loss/")]
    leading = list(dict.fromkeys([select, "val/defect_iou", "val/miou_defects", "val/miou"]))
    scores = leading + [c for c in columns_of(history) if c.startswith("val/iou/")]
    content = [(terms, "loss"), (scores, "validation"), (["lr"], "learning rate")]
    for panel, (names, label) in zip(panels, content, strict=True):
        for name in names:
            points = [(row["epoch"], row[name]) for row in history if row.get(name) is not None]
            if points:
                x, y = zip(*points, strict=True)
                panel.plot(x, y, label=name, marker="." if len(points) < 40 else "", linewidth=1.2)
        panel.set_ylabel(label)
        panel.grid(alpha=0.3)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize="small")
    panels[-1].set_xlabel("epoch")
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=100)
    write_bytes(path, data.getvalue())


class Log:
    """Appends lines with their time to `log.txt`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def line(self, text: str) -> None:
        """Append one line."""
        with open(self.path, "a", encoding="utf-8", newline="\n") as handle:
            handle.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")
