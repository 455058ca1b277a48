"""What a watch remembers: why it has to stop, what is out of order, and which images are done under which names."""

from __future__ import annotations

import errno
import signal
import threading
import time
from collections import ChainMap, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

from defectctl.inference.arrivals import Stamp
from defectctl.inference.result_names import result_names
from defectctl.messages import say, warn

TIDY_SECONDS = 5.0
"""After so long a second Ctrl-C or SIGTERM ends the watch in the middle of its work."""
SAY_AGAIN = 600.0
"""Seconds in which the same trouble is told once only, however often it comes and goes."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0
"""Seconds between attempts while something is out of order: doubled from the first to the longest."""
KEPT = 100_000
"""Files remembered beyond those that are in the folder."""

_OF_ONE_FILE = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ, errno.ELOOP}
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def why(error: OSError) -> str:
    """The error in a few words."""
    return "the disk is full" if error.errno in _FULL else str(error.strerror or error)


def concerns_one_file(error: OSError) -> bool:
    """Whether waiting will not mend it, and other files may do: a name too long, a folder in a file's place, …"""
    return error.errno in _OF_ONE_FILE


class Stop:
    """Asked for once, by whatever comes first; the work in hand is finished before it is heeded."""

    def __init__(self) -> None:
        self.asked = ""
        """By what; empty: not yet."""
        self._when = 0.0

    def ask(self, by: str) -> None:
        """Stop as soon as what is in hand is written."""
        if not self.asked:
            self.asked, self._when = by, time.monotonic()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Heed Ctrl-C, SIGTERM and, on Windows, CTRL_BREAK while the block runs; only in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        names = [name for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
        numbers = [getattr(signal, name) for name in names]
        # What the caller ignores (nohup, a shell's background job) stays ignored.
        heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._on_signal) for number in heeded}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: Any) -> None:
        # Nothing but a flag: a lock taken here could be one that the interrupted code holds.
        if self.asked and time.monotonic() - self._when > TIDY_SECONDS:
            raise KeyboardInterrupt
        self.ask(signal.Signals(number).name)


class Troubles:
    """What is out of order, told once when it begins and once when it is over, and when to try again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.since: dict[str, float] = {}
        self._clock = clock
        self._said: dict[str, float] = {}
        self._told: dict[str, str] = {}
        self._wait: dict[str, tuple[float, float]] = {}

    def __contains__(self, what: str) -> bool:
        return what in self.since

    def fail(self, what: str, text: str) -> None:
        """Trouble with `what`, or still so after another attempt."""
        now = self._clock()
        due, wait = self._wait.get(what, (now, FIRST_WAIT / 2))
        if now >= due:  # several at once are one attempt
            self._wait[what] = (now + min(LONGEST_WAIT, 2 * wait), min(LONGEST_WAIT, 2 * wait))
        if what in self.since:
            return
        self.since[what] = now
        self._said = {said: when for said, when in self._said.items() if now - when < SAY_AGAIN}
        if text not in self._said:
            self._said[text] = now
            self._told[what] = text
            warn(f"{text}; waiting, nothing is lost")

    def over(self, what: str) -> None:
        """`what` is in order."""
        since = self.since.pop(what, None)
        self._wait.pop(what, None)
        if since is not None and (text := self._told.pop(what, "")):
            say(f"over after {self._clock() - since:.0f} s: {text}")

    def may_try(self, what: str) -> bool:
        """Whether `what` is in order, or it is time for another attempt."""
        return what not in self.since or self._clock() >= self._wait[what][0]


class Finished:
    """Stamps and names of results of finished images: of all that are in the folder, and of the last `KEPT` others.

    Args:
        is_on_disk: whether results of a file under this name are in the folder of results.
    """

    def __init__(self, is_on_disk: Callable[[str, str], bool], kept: int = KEPT) -> None:
        self._is_on_disk, self._kept = is_on_disk, kept
        self._files: OrderedDict[str, tuple[Stamp | None, str]] = OrderedDict()
        self._owners: dict[str, str] = {}
        self._has_forgotten = False

    def stamp(self, file: str) -> Stamp | None:
        """The stamp with which the file was predicted; None: it was not, or is not remembered."""
        return self._files.get(file, (None, ""))[0]

    def keep(self, file: str, stamp: Stamp | None, result: str) -> None:
        """Remember a file, with the name of its results below OUT."""
        self._files[file] = (stamp, result)
        self._files.move_to_end(file)
        self._owners[result.casefold()] = file

    def result_name(self, file: str) -> str:
        """The name for the file's results: the one it has, else a free one, which is its own from now on.

        Once files have been forgotten, a name that is taken on disk is taken for another's.
        """
        if file in self._files:
            return self._files[file][1]
        others: dict[str, str] = {}
        while True:
            name = result_names([file], ChainMap(others, self._owners))[0]
            if not (self._has_forgotten and self._is_on_disk(file, name)):
                break
            others[name.casefold()] = ""
        self.keep(file, None, name)
        return name

    def recall_name(self, file: str, row: dict[str, Any]) -> str:
        """The name that a row of the journal gave to the file's results."""
        for key, folder in (("mask", ""), ("defect_map", "defect-maps/"), ("overlay", "overlays/")):
            if name := row.get(key):
                return PurePosixPath(name.removeprefix(folder)).with_suffix(".png").as_posix()
        return result_names([file], self._owners)[0]

    def forget_oldest(self, there: set[str]) -> None:
        """Let go of the oldest that are not `there`, where there are too many of them."""
        excess = len(self._files) - len(there) - self._kept
        if excess <= self._kept // 10:
            return
        for file in [file for file in self._files if file not in there][:excess]:
            _, result = self._files.pop(file)
            self._owners.pop(result.casefold(), None)
            self._has_forgotten = True
