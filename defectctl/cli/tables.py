"""Results on the screen: tables drawn by rich, and JSON on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

WIDE = 160
"""Columns of a table that goes to a file or a pipe, where nothing need be cut."""

ABSENT = "-"
"""Shown for None: a number that does not exist, e.g. the IoU of a class that is nowhere."""


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "", stream: TextIO | None = None
) -> None:
    """Print a table; columns that hold numbers are set to the right, and colours appear only on a terminal.

    Args:
        columns: headings.
        rows: one value per heading; floats are shown with three decimals (convert first for anything else).
        stream: stdout where None.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    target = stream or sys.stdout
    console = Console(file=target, width=None if target.isatty() else WIDE, highlight=False, emoji=False)
    table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    filled = [list(row) for row in rows]
    for place, heading in enumerate(columns):
        values = [row[place] for row in filled if row[place] is not None]
        numeric = bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        table.add_column(Text(heading), justify="right" if numeric else "left", overflow="fold")
    for row in filled:
        table.add_row(*(Text(show(value)) for value in row))
    console.print(table)


def show(value: Any) -> str:
    """A value as tables show it: three decimals, thousands apart, a dash for what does not exist."""
    if value is None:
        return ABSENT
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def print_json(value: Any) -> None:
    """Print one JSON document on stdout (no NaN: numbers that do not exist are null)."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
