"""Lines for the person at the screen: messages and progress bars, all on stderr, silenced by `--quiet`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_CONTROL = {number: f"\\x{number:02x}" for number in (*range(32), 127) if chr(number) not in "\n\t"}
"""Codes by which a file's name could move the cursor or change colours, and what is shown in their place."""

_quiet = False


def set_quiet(quiet: bool) -> None:
    """Silence `say` and `progress` (never `warn`) for the rest of the process."""
    global _quiet
    _quiet = quiet


def say(text: str) -> None:
    """Print one line of information on stderr."""
    if not _quiet:
        print(text.translate(_CONTROL), file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Print one warning on stderr, `--quiet` or not."""
    print(f"warning: {text}".translate(_CONTROL), file=sys.stderr, flush=True)


@contextmanager
def counter(total: int, what: str, unit: str = "img") -> Iterator[Callable[[int], None]]:
    """Yield a function that moves the bar of `progress` on by so many, for work that is done in batches."""
    if _quiet or not sys.stderr.isatty():
        yield lambda done: None
        return
    from tqdm import tqdm

    with tqdm(**_bar(total, what, unit)) as bar:
        yield lambda done: bar.update(done) and None


def _bar(total: int | None, what: str, unit: str) -> dict[str, Any]:
    options = {"file": sys.stderr, "delay": 0.5, "leave": False, "dynamic_ncols": True}
    return {"total": total, "desc": what, "unit": unit, **options}


def progress(items: Iterable[T], total: int | None = None, what: str = "", unit: str = "it") -> Iterator[T]:
    """Yield `items` behind a tqdm bar on stderr; the bar appears only after half a second and only on a terminal."""
    if _quiet or not sys.stderr.isatty():
        yield from items
        return
    from tqdm import tqdm

    yield from tqdm(items, **_bar(total, what, unit))
