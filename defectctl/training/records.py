"""What a run leaves to read: `history.csv`, `curves.png`, `log.txt`."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from defectctl.fileio import write_text

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
    """Draw the losses, the leading validation metrics with each class's IoU, and the learning rate over the epochs."""
    from defectctl.reports.curves import draw_curves

    leading = ["epoch", "lr", select, "val/defect_iou", "val/miou_defects", "val/miou", "val/map50", "val/image_ap"]
    losses = [c for c in columns_of(history) if c == "loss" or c.startswith("loss/")]
    classes = [c for c in columns_of(history) if c.startswith(("val/iou/", "val/ap50/"))]
    wanted = list(dict.fromkeys([*leading, *losses, *classes]))
    draw_curves([{key: row[key] for key in wanted if key in row} for row in history], path)


class Log:
    """Appends lines with their time to `log.txt`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def line(self, text: str) -> None:
        """Append one line."""
        with open(self.path, "a", encoding="utf-8", newline="\n") as handle:
            handle.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")
