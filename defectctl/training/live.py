"""The live line of a training: a bar on a terminal, and one line an epoch on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any

from defectctl import messages


def duration(seconds: float) -> str:
    """`3 s`, `4 min 10 s`, `2 h 05 min`."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


class Live:
    """Shows how far a whole run is.

    Args:
        total: updates of the whole run.
        done: updates done before this process.
        quiet: show nothing.
    """

    def __init__(self, total: int, done: int, quiet: bool) -> None:
        self.total, self.done, self.quiet = total, done, quiet
        self._start, self._first = time.monotonic(), done
        self._bar: Any = None
        if not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                initial=done,
                unit="update",
                file=sys.stderr,
                dynamic_ncols=True,
                leave=False,
                bar_format="{l_bar}{bar}| {n}/{total} [{elapsed}<{remaining}{postfix}]",
            )

    def update(self, epoch: str, loss: float, images_per_second: float, metric: str) -> None:
        """Move on by one update."""
        self.done += 1
        if self._bar is not None:
            self._bar.set_description_str(epoch, refresh=False)
            self._bar.set_postfix_str(f"loss {loss:.4f}, {metric}{images_per_second:.1f} images/s", refresh=False)
            self._bar.update(1)

    def validating(self, done: int, total: int) -> None:
        """Show how far a validation is."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"validating {done}/{total}", refresh=True)

    def jump(self, updates: int) -> None:
        """Leave out updates that early stopping saved."""
        self.total -= updates
        if self._bar is not None:
            self._bar.total = self.total
            self._bar.refresh()

    def left(self) -> float:
        """Seconds that the rest of the run takes at the pace so far, validations included."""
        made = self.done - self._first
        return (time.monotonic() - self._start) / made * (self.total - self.done) if made else 0.0

    def say(self, text: str) -> None:
        """Print a line without tearing the bar."""
        if self._bar is None:
            messages.say(text)
        else:
            self._bar.write(text, file=sys.stderr)

    def warn(self, text: str) -> None:
        """Print a warning without tearing the bar; shown with `--quiet` too."""
        if self._bar is None:
            messages.warn(text)
        else:
            self._bar.write(f"warning: {text}", file=sys.stderr)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
