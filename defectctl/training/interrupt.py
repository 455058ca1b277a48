"""Ctrl-C and SIGTERM during a training: finish the update, save, leave."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from defectctl.messages import say


class Stop(Exception):
    """Raised where a training notices that it was asked to stop."""


class StopSignal:
    """While the block runs, the first Ctrl-C or SIGTERM sets `requested`; a second one stops at once."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise `Stop` if asked to stop."""
        if self.requested:
            raise Stop

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        say("stopping after this update; once more to stop at once without saving")
