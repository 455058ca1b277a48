"""The journal `predictions.jsonl`: one JSON row an image, appended only once the image's files are written."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from defectctl.errors import DefectctlError, InputError
from defectctl.fileio import folder_lock, write_bytes
from defectctl.messages import warn

JOURNAL_NAME = "predictions.jsonl"


def each_row(path: Path) -> Iterator[dict[str, Any]]:
    """Every row in order, one at a time; none where there is no journal. A torn last line is left out.

    Raises:
        InputError: it cannot be read, or a line before the last is not a row.
    """
    try:
        handle = path.open("rb")
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unreadable(path, error) from error
    with handle:
        number = 0
        while True:
            try:
                line = handle.readline()
            except OSError as error:
                raise _unreadable(path, error) from error
            number += 1
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
                row["file"]
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"journal '{path}' is damaged in line {number}; run without --skip-done") from error
            yield row


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"journal '{path}' cannot be read: {error.strerror or error}")


def last_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The row that counts of each file, its last one, in the journal's order; holds 8 bytes an image in memory.

    Raises:
        InputError: as `each_row`.
    """
    keys = array("Q", (_key(row["file"]) for row in each_row(path)))
    from_the_end = np.frombuffer(keys, np.uint64)[::-1]
    counts = np.zeros(len(keys), bool)
    counts[len(keys) - 1 - np.unique(from_the_end, return_index=True)[1]] = True
    for row, is_last in zip(each_row(path), counts.tolist(), strict=False):
        if is_last:
            yield row


def _key(file: str) -> int:
    return int.from_bytes(hashlib.blake2b(file.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def brief_rows(path: Path) -> dict[str, dict[str, Any]]:
    """The last row of each file, by `file`, without what was found: thousands of rows stay small.

    `{}` where there is no journal. In the place of `defects` and `boxes` stands `outlined`, whether every defect has
    its run-length.

    Raises:
        InputError: as `each_row`.
    """
    rows: dict[str, dict[str, Any]] = {}
    same: dict[str, Any] = {}
    for row in each_row(path):
        row["outlined"] = all("rle" in defect for defect in row.pop("defects", ()))
        row.pop("boxes", None)
        for key in ("model", "thresholds"):  # the same in most rows, so one object does for all of them
            if same.get(key) != row.get(key):
                same[key] = row.get(key)
            row[key] = same.get(key)
        rows[row["file"]] = row
    return rows


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended that wrote into a journal.

    Attributes:
        rows: how many it wrote.
        seconds: from its begin.
        finished: whether it came to its end; else it was stopped by Ctrl-C or an error.
    """

    rows: int
    seconds: float
    finished: bool


class Journal:
    """Appends rows to `folder/predictions.jsonl`; nothing is made or replaced before the first row.

    Use as a context manager. With the first row the folder is made and locked; an older journal is then replaced in
    one step, or, with `keep`, continued after a torn last line (the mark of a crash) has been cut off.

    Args:
        begin: called once, when the folder is locked.
        finish: called at the end, however the run ended, while the folder is still locked; also without a row where
            `keep` found a journal. What it cannot write after an error becomes a warning: the error goes before.
    """

    def __init__(
        self,
        folder: Path,
        keep: bool = False,
        begin: Callable[[], None] | None = None,
        finish: Callable[[Ended], None] | None = None,
    ) -> None:
        self.path = folder / JOURNAL_NAME
        self._keep, self._begin, self._finish = keep, begin, finish
        self._open = ExitStack()
        self._handle: BinaryIO | None = None
        self._lock = threading.Lock()
        self._rows = 0
        self._since = time.perf_counter()

    def start(self) -> None:
        """Make and lock the folder and open the journal, if that has not happened yet; safe from several threads.

        Raises:
            InputError: another process writes into the folder.
        """
        with self._lock:
            if self._handle is not None:
                return
            self._open.enter_context(folder_lock(self.path.parent, "prediction folder"))
            if not self._keep:
                write_bytes(self.path, b"")
            self._handle = self._open.enter_context(self.path.open("a+b"))
            _cut_torn_line(self._handle)
            if self._begin is not None:
                self._begin()

    def append(self, row: dict[str, Any]) -> None:
        """Add one row; it is handed to the operating system before this returns."""
        self.start()
        assert self._handle is not None
        self._handle.write(_encode(row) + b"\n")
        self._handle.flush()
        self._rows += 1

    def let_go(self) -> None:
        """Close the file and drop the lock for now; the next row opens it again, cuts off half a row, and goes on."""
        with self._lock:
            self._handle, self._keep = None, True
            with suppress(OSError):  # what could not be written is cut off
                self._open.close()

    def __enter__(self) -> Journal:
        self._since = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._open:
            if self._finish is None:
                return
            ended = Ended(self._rows, time.perf_counter() - self._since, kind is None)
            if kind is None and (self._handle is not None or (self._keep and self.path.is_file())):
                self.start()
                self._finish(ended)
            elif self._handle is not None:
                try:
                    self._finish(ended)
                except (OSError, DefectctlError) as late:
                    reason = late.strerror if isinstance(late, OSError) else None
                    warn(f"the tables in '{self.path.parent}' are not written: {reason or late}")


def _encode(row: dict[str, Any]) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:  # a file name that is no valid text; escapes carry it there and back
        return json.dumps(row, allow_nan=False).encode("ascii")


_TAIL = 1 << 16
"""Bytes that are read at once to find the journal's last whole line."""


def _cut_torn_line(handle: BinaryIO) -> None:
    """Cut off what follows the last line break; only the end of the journal is read, however long it is."""
    size = handle.seek(0, os.SEEK_END)
    end = size
    while end:
        start = max(0, end - _TAIL)
        handle.seek(start)
        last = handle.read(end - start).rfind(b"\n")
        end = start + last + 1
        if last >= 0:
            break
    if end < size:
        handle.truncate(end)
    handle.seek(0, os.SEEK_END)
