"""Finds the new images of a watched folder, and tells when each of them is written to its end.

Looking again and again, instead of being told by the operating system, works on network shares as well. Waiting times
are measured with the monotonic clock: neither the clock of this computer nor that of a file server matters.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from defectctl.formats.base import IMAGE_ENDINGS

Stamp = tuple[int, int]
"""Bytes and time of change in nanoseconds, by which a file is known again."""

NO_STAMP: Stamp = (-1, -1)
"""Of a file that may be listed but not looked at."""

SLOWEST_RETRY = 5.0
"""Seconds between two attempts at most to read a file that is not yet whole."""
RECHECK_SHARE = 0.05
"""Part of the time at most that goes into looking again at files that are done, in case they are replaced."""

NO_END_MARK = (".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2")
"""Kinds that a decoder takes for whole once they have their size, though copying programs make the room first."""
TAIL_BYTES = 512
ROOM_SECONDS = 2.0
"""How long a file of these kinds has to stay as it is when it ends in zeros: a black picture, or room still to fill."""


@dataclass(slots=True)
class Arrival:
    """One file on its way: growing, waiting for its turn, or not readable so far.

    Attributes:
        file: path below the watched folder, POSIX.
        path: the file.
        stamp: as it was when last looked at.
        changed: when `stamp` was first seen (monotonic seconds).
        due: when to read it, or to try again.
        failing: since when it could not be read with this `stamp`; None: not tried yet.
        told: it has a row UNREADABLE in the journal because it could not be opened; it is still tried now and then.
    """

    file: str
    path: Path
    stamp: Stamp
    changed: float
    due: float
    failing: float | None = None
    tries: int = 0
    told: bool = False


class Arrivals:
    """What is new in a folder, in the order of arrival; files with a row in the journal are known by their stamps.

    Args:
        folder: the watched one.
        left_out: folders inside it that are not looked into (results, finished inputs).
        recursive: whether to look into sub-folders; hidden ones and links to folders never are.
        settle: seconds that a file's size and time of change must stay as they are before it is read.
        patience: seconds after which a file that does not change and cannot be read is given up.
        known: file -> stamp of what needs no prediction; None: another stamp, or never seen.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        folder: Path,
        left_out: Sequence[Path] = (),
        recursive: bool = True,
        settle: float = 0.1,
        patience: float = 30.0,
        known: Callable[[str], Stamp | None] = lambda file: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.recursive, self.settle, self.patience = folder, recursive, settle, patience
        self.left_out = {os.path.realpath(path) for path in left_out}
        self.mount = mount_point(folder)
        self.closed: dict[str, OSError] = {}
        """Sub-folders that cannot be listed, and why."""
        self.finished: dict[str, tuple[Path, Stamp]] = {}
        """Files that are there and known, by name."""
        self.known, self._clock = known, clock
        self._waiting: dict[str, Arrival] = {}
        self._recheck = 0.0
        self._lost = False

    def look(self) -> set[str]:
        """List the folder; return the names of all images that are there, known ones among them.

        Raises:
            OSError: the folder is gone or cannot be listed, or its drive is no longer mounted. What is waiting stays.
        """
        started = self._clock()
        self.closed = {}
        try:
            found = list(self._walk(os.fspath(self.folder), ""))
            check_mounted(self.mount)
        except OSError:
            self._lost = True
            raise
        if self._lost:
            self._begin_anew(started)
        recheck = started >= self._recheck
        new = [arrival for file, place in found if (arrival := self._meet(file, place, started, recheck)) is not None]
        for arrival in sorted(new, key=lambda one: (one.stamp[1], one.file)):
            self._waiting[arrival.file] = arrival
        there = {file for file, _ in found}
        if not self.closed:
            self._forget_gone(there)
        if recheck:
            self._recheck = self._clock() + (self._clock() - started) / RECHECK_SHARE
        return there

    def ready(self) -> list[Arrival]:
        """Files that have settled and whose turn to be read has come, first come first."""
        now = self._clock()
        return [one for one in self._waiting.values() if one.due <= now and self._has_settled(one, now)]

    def next_due(self) -> float | None:
        """Seconds until the next file may be ready; None: nothing waits."""
        if not self._waiting:
            return None
        return max(0.0, min(one.due for one in self._waiting.values()) - self._clock())

    def all(self) -> list[Arrival]:
        """Everything that waits, ready or not."""
        return list(self._waiting.values())

    def put_off(self, arrival: Arrival, seconds: float | None = None) -> None:
        """Let a file that is not yet whole wait, longer from time to time; with `seconds`, wait so long and start over.

        Others come first then, so that one bad file holds up nobody.
        """
        now = self._clock()
        self._waiting[arrival.file] = self._waiting.pop(arrival.file, arrival)
        if seconds is not None:
            arrival.due, arrival.tries, arrival.failing = now + seconds, 0, None
            return
        if arrival.failing is None:
            arrival.failing = now
        arrival.due = now + min(SLOWEST_RETRY, max(self.settle, 0.05) * 2**arrival.tries)
        if now < arrival.failing + self.patience:
            arrival.due = min(arrival.due, arrival.failing + self.patience)
        arrival.tries += 1

    def is_given_up(self, arrival: Arrival) -> bool:
        """Whether the file has stayed as it is and unreadable for `patience` seconds."""
        return arrival.failing is not None and self._clock() - arrival.failing >= self.patience

    def has_changed(self, arrival: Arrival) -> bool:
        """Look at the file; where it is not as it was, let it settle again.

        Raises:
            OSError: it is gone or cannot be looked at.
        """
        stamp = stamp_of(arrival.path)
        if stamp == arrival.stamp:
            return False
        self._restart(arrival, stamp, self._clock())
        return True

    def finish(self, arrival: Arrival) -> None:
        """The file has its row."""
        self._waiting.pop(arrival.file, None)
        self.finished[arrival.file] = (arrival.path, arrival.stamp)

    def _meet(self, file: str, place: str, now: float, recheck: bool) -> Arrival | None:
        """Take notice of one file that is there; return it if it is new."""
        known, waiting = self.known(file), self._waiting.get(file)
        if waiting is not None and waiting.stamp == known:  # the journal was read after the first look
            del self._waiting[file]
            self.finished[file] = (waiting.path, waiting.stamp)
            waiting = None
        settled = waiting is not None and waiting.failing is None and now - waiting.changed >= self.settle
        if not recheck and (settled or (waiting is None and file in self.finished)):
            return None  # a settled one is looked at when it is read
        path = Path(place)
        try:
            stamp = stamp_of(path)
        except FileNotFoundError:
            return None
        except OSError:
            stamp = NO_STAMP
        if stamp == known:
            self.finished[file] = (path, stamp)
            self._waiting.pop(file, None)
            return None
        self.finished.pop(file, None)
        if waiting is None:
            return Arrival(file, path, stamp, now, now + self.settle)
        if stamp != waiting.stamp:
            self._restart(waiting, stamp, now)
        return None

    def _restart(self, arrival: Arrival, stamp: Stamp, now: float) -> None:
        arrival.stamp, arrival.changed, arrival.due = stamp, now, now + self.settle
        arrival.failing, arrival.tries = None, 0

    def _begin_anew(self, now: float) -> None:
        """The folder was away and is back: the time in between says nothing about any file."""
        self._lost = False
        for arrival in self._waiting.values():
            self._restart(arrival, arrival.stamp, now)

    def _forget_gone(self, there: set[str]) -> None:
        for names in (self._waiting, self.finished):
            for file in [file for file in names if file not in there]:
                del names[file]

    def _has_settled(self, arrival: Arrival, now: float) -> bool:
        quiet = now - arrival.changed
        if quiet < self.settle:
            return False
        if quiet >= ROOM_SECONDS or not arrival.file.lower().endswith(NO_END_MARK) or not _ends_in_zeros(arrival.path):
            return True
        arrival.due = arrival.changed + ROOM_SECONDS
        return False

    def _walk(self, folder: str, below: str) -> Iterator[tuple[str, str]]:
        """Name below the watched folder and path of each image, as text: of thousands of files most are known."""
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith("."):
                    continue
                if is_image(entry.name) and entry.is_file():
                    yield below + entry.name, entry.path
                elif self.recursive and entry.is_dir(follow_symlinks=False):
                    yield from self._enter(entry.path, f"{below}{entry.name}/")

    def _enter(self, folder: str, below: str) -> Iterator[tuple[str, str]]:
        """One sub-folder; where it cannot be listed the others still can."""
        if os.path.realpath(folder) in self.left_out:
            return
        try:
            yield from self._walk(folder, below)
        except FileNotFoundError:
            return
        except OSError as error:
            self.closed[below.removesuffix("/")] = error


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image; hidden files are none, so that programs can write under such names."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_ENDINGS)


def stamp_of(path: Path) -> Stamp:
    """The file's stamp.

    Raises:
        OSError: it is gone or cannot be looked at.
    """
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def mount_point(folder: Path) -> Path:
    """The folder at which the drive or share that holds `folder` is mounted."""
    place = Path(os.path.realpath(folder))
    while not os.path.ismount(place) and place != place.parent:
        place = place.parent
    return place


def check_mounted(mount: Path) -> None:
    """Refuse a place where nothing is mounted any more: below it lies an empty folder of another drive.

    Raises:
        OSError: so it is.
    """
    if mount != mount.parent and not os.path.ismount(mount):
        raise FileNotFoundError(2, f"nothing is mounted at '{mount}'")


def _ends_in_zeros(path: Path) -> bool:
    try:
        with open(path, "rb") as handle:
            size = handle.seek(0, os.SEEK_END)
            handle.seek(max(0, size - TAIL_BYTES))
            return not any(handle.read(TAIL_BYTES))
    except OSError:
        return False
