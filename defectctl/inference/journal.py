"""The journal `predictions.jsonl`: one JSON row an image, appended only once the image's files are written."""

from __future__ import annotations

import json
import os
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from defectctl.errors import InputError
from defectctl.fileio import folder_lock, write_bytes

JOURNAL_NAME = "predictions.jsonl"


def read_journal(path: Path) -> dict[str, dict[str, Any]]:
    """Rows by `file`, the last one of each; `{}` where there is no journal. A torn last line is left out.

    Raises:
        InputError: it cannot be read, or a line before the last is not a row.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"journal '{path}' cannot be read: {error.strerror or error}") from error
    rows: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines[:-1], 1):
        try:
            row = json.loads(line)
            rows[row["file"]] = row
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"journal '{path}' is damaged in line {number}; run without --skip-done") from error
    return rows


class Journal:
    """Appends rows to `folder/predictions.jsonl`; nothing is made or replaced before the first row.

    Use as a context manager. With the first row the folder is made and locked; an older journal is then replaced in
    one step, or, with `keep`, continued after a torn last line (the mark of a crash) has been cut off.
    """

    def __init__(self, folder: Path, keep: bool = False) -> None:
        self.path = folder / JOURNAL_NAME
        self._keep = keep
        self._open = ExitStack()
        self._handle: BinaryIO | None = None
        self._lock = threading.Lock()

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

    def append(self, row: dict[str, Any]) -> None:
        """Add one row; it is handed to the operating system before this returns."""
        self.start()
        assert self._handle is not None
        self._handle.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n")
        self._handle.flush()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()


def _cut_torn_line(handle: BinaryIO) -> None:
    handle.seek(0)
    end = position = 0
    for line in handle:
        position += len(line)
        if line.endswith(b"\n"):
            end = position
    if end < position:
        handle.truncate(end)
    handle.seek(0, os.SEEK_END)
