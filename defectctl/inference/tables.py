"""Writes what speaks of all images, from the journal's rows: CSV tables, COCO results, and a summary."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from defectctl.errors import RunError
from defectctl.fileio import atomic_path, write_json
from defectctl.inference.coco_results import COCO_NAME, CocoResults
from defectctl.inference.journal import Ended, last_rows
from defectctl.inference.prediction import VERDICTS

IMAGES_CSV, DEFECTS_CSV, SUMMARY_NAME = "predictions.csv", "defects.csv", "summary.json"
TABLE_FILES = (IMAGES_CSV, DEFECTS_CSV, SUMMARY_NAME, COCO_NAME)
"""Every file that may be written here."""

IMAGE_COLUMNS = (
    "file",
    "verdict",
    "score",
    "probability",
    "width",
    "height",
    "defects",
    "defect_area",
    "boxes",
    "removed_small",
    "mask",
    "overlay",
    "defect_map",
    "threshold_ok",
    "threshold_ng",
    "threshold_pixel",
    "min_area",
    "model",
    "model_sha256",
    "reason",
)
DEFECT_COLUMNS = ("file", "verdict", "kind", "class", "score", "x1", "y1", "x2", "y2", "area")

_PATHS = ("file", "mask", "overlay", "defect_map")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A cell that begins so is computed by a spreadsheet, or may be after its blanks are stripped."""


def write_tables(
    journal: Path, kinds: Sequence[str], classes: Sequence[str], by_masks: bool, ended: Ended | None = None
) -> None:
    """Write the tables of `kinds` beside a journal, in one pass over its rows; of each file the last row counts.

    Args:
        kinds: of `options.TABLE_KINDS`.
        classes: names of class 1..K.
        by_masks: what counts as defects are those of the masks; else the boxes.
        ended: the run that has just ended, for the summary.

    Raises:
        InputError: the journal is damaged.
        RunError: a table is open in another program, which Windows does not let us replace.
        OSError: a table cannot be written; none is left half.
    """
    folder = journal.parent
    makers = {
        "csv": lambda: CsvTables(folder),
        "coco": lambda: CocoResults(folder, classes, by_masks),
        "summary": lambda: SummaryFile(folder, classes, by_masks, ended),
    }
    try:
        with ExitStack() as stack:
            tables = [stack.enter_context(makers[kind]()) for kind in kinds]
            for row in last_rows(journal) if tables else ():
                for table in tables:
                    table.add(row)
    except PermissionError as error:
        name = Path(error.filename2 or error.filename or folder).name
        raise RunError(
            f"'{folder / name}' cannot be replaced: it is write-protected or open in another program; close it and run "
            "again with --skip-done, which predicts nothing anew"
        ) from error


class CsvTables:
    """`predictions.csv`, a line an image, and `defects.csv`, a line for each defect and box; whole or absent.

    UTF-8 with a byte-order mark, without which Excel on Windows takes names for Latin-1; lines end as RFC 4180 says,
    which also makes the writer put a name with a line break of either kind in quotes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open = ExitStack()

    def __enter__(self) -> CsvTables:
        with ExitStack() as stack:
            self._images = self._writer(stack, IMAGES_CSV, IMAGE_COLUMNS)
            self._defects = self._writer(stack, DEFECTS_CSV, DEFECT_COLUMNS)
            self._open = stack.pop_all()
        return self

    def _writer(self, stack: ExitStack, name: str, columns: Sequence[str]) -> csv.DictWriter[str]:
        temporary = stack.enter_context(atomic_path(self._folder / name))
        handle = temporary.open("w", encoding="utf-8-sig", errors="backslashreplace", newline="")
        writer = csv.DictWriter(stack.enter_context(handle), columns)
        writer.writeheader()
        return writer

    def add(self, row: dict[str, Any]) -> None:
        """Add an image and what was found in it."""
        thresholds = {f"threshold_{name}": value for name, value in row.get("thresholds", {}).items()}
        counted = {
            "defects": len(row["defects"]),
            "defect_area": sum(one["area"] for one in row["defects"]),
            "boxes": len(row["boxes"]) if "boxes" in row else None,
            "model": row.get("model", {}).get("file"),
            "model_sha256": row.get("model", {}).get("sha256"),
        }
        self._images.writerow(_cells({**row, **thresholds, **counted}, IMAGE_COLUMNS))
        found = [("mask", one) for one in row["defects"]] + [("box", one) for one in row.get("boxes", [])]
        for kind, one in found:
            corners = dict(zip(("x1", "y1", "x2", "y2"), one["box"], strict=True))
            about = {"file": row["file"], "verdict": row["verdict"], "kind": kind}
            self._defects.writerow(_cells({**one, **corners, **about}, DEFECT_COLUMNS))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)


def _cells(values: dict[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    return {name: _cell(values.get(name), name in _PATHS) for name in columns}


def _cell(value: Any, is_path: bool) -> Any:
    """A value that no spreadsheet takes for a formula: `./=a.png` is the same file as `=a.png`, other text gets `'`."""
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA):
        return f"./{value}" if is_path else f"'{value}"
    return value


class SummaryFile:
    """`summary.json`: verdicts, defects by class, unreadable files, and the speed of the run that has just ended."""

    def __init__(self, folder: Path, classes: Sequence[str], by_masks: bool, ended: Ended | None) -> None:
        self._path, self._by_masks, self._ended = folder / SUMMARY_NAME, by_masks, ended
        self._verdicts = Counter(dict.fromkeys(VERDICTS, 0))
        self._defects = Counter(dict.fromkeys(classes, 0))
        self._removed = 0
        self._unreadable: list[dict[str, str]] = []
        self._made_with: dict[str, Any] = {}

    def __enter__(self) -> SummaryFile:
        return self

    def add(self, row: dict[str, Any]) -> None:
        """Count an image and what was found in it."""
        self._verdicts[row["verdict"]] += 1
        self._removed += row["removed_small"]
        self._defects.update(one["class"] for one in (row["defects"] if self._by_masks else row.get("boxes", [])))
        self._made_with = {key: row.get(key) for key in ("model", "thresholds", "min_area")}
        if row["verdict"] == "UNREADABLE":
            self._unreadable.append({"file": row["file"], "reason": row.get("reason", "")})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        content = {
            "images": sum(self._verdicts.values()),
            "verdicts": dict(self._verdicts),
            "defects": dict(self._defects),
            "removed_small": self._removed,
            **self._made_with,
            "last_run": None if self._ended is None else _speed(self._ended),
            "unreadable_files": self._unreadable,
        }
        write_json(self._path, content)


def _speed(ended: Ended) -> dict[str, Any]:
    rate = round(ended.rows / ended.seconds, 2) if ended.seconds > 0 else 0.0
    return {
        "images": ended.rows,
        "seconds": round(ended.seconds, 3),
        "images_per_second": rate,
        "finished": ended.finished,
    }
