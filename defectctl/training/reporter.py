"""Tells how a training goes: the live line, `log.txt`, the history and its curves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from defectctl.training.live import Live, duration
from defectctl.training.records import CURVE_SECONDS, Log, write_curves, write_history
from defectctl.training.state import Memory, writing


class Reporter:
    """Everything a training says, on stderr and in its run folder.

    Args:
        run: the run folder.
        select: metric that chooses the best checkpoint.
        quiet: say nothing but warnings; the files are written all the same.
    """

    def __init__(self, run: Path, select: str, quiet: bool = False) -> None:
        self.run, self.select, self.quiet = run, select, quiet
        self.live = Live(1, 0, True)
        self._log = Log(run / "log.txt")
        self._drawn = time.monotonic()

    def begin(self, total: int, done: int) -> None:
        """Show the bar of a run of `total` updates of which `done` were made before."""
        self.live = Live(total, done, self.quiet)

    def say(self, text: str) -> None:
        """Print and log one line."""
        if not self.quiet:
            self.live.say(text)
        with writing(self.run):
            self._log.line(text)

    def warn(self, text: str) -> None:
        """Print and log a warning, `--quiet` or not."""
        self.live.warn(text)
        with writing(self.run):
            self._log.line(f"warning: {text}")

    def step(self, epoch: int, memory: Memory) -> None:
        """Move the live line on by one update of epoch `epoch`, counted from 0."""
        sums, position = memory.sums, memory.position
        loss = sums.loss / sums.updates if sums.updates else float("nan")
        metric = f"best {self.select} {position.best:.4f}, " if position.best is not None else ""
        self.live.update(f"epoch {epoch + 1}", loss, sums.images / max(sums.seconds, 1e-9), metric)

    def epoch(self, row: dict[str, Any], better: bool, history: Sequence[dict[str, Any]]) -> None:
        """Tell of an epoch that is through: loss, selecting metric, images/s, time left; `*` marks the best so far."""
        names = list(dict.fromkeys([self.select, "val/defect_iou", "val/miou", "val/map50", "val/image_ap"]))
        shown = [f"loss {row['loss']:.4f}" if row["loss"] is not None else "loss unknown"]
        shown += [f"{name} {row[name]:.4f}" for name in names if row.get(name) is not None]
        shown += [f"{row['images_per_s'] or 0:.1f} images/s", f"{duration(self.live.left())} left"]
        if row["skipped"]:
            shown.append(f"{row['skipped']} updates skipped")
        self.say(f"epoch {row['epoch']} ({row['stage']}): " + ", ".join(shown) + (" *" if better else ""))
        with writing(self.run):
            write_history(self.run / "history.csv", history)
        if len(history) == 1 or time.monotonic() - self._drawn > CURVE_SECONDS:
            self.curves(history)

    def curves(self, history: Sequence[dict[str, Any]]) -> None:
        """Draw `curves.png`."""
        with writing(self.run):
            write_curves(self.run / "curves.png", history, self.select)
        self._drawn = time.monotonic()

    def close(self) -> None:
        """Take the bar away."""
        self.live.close()
