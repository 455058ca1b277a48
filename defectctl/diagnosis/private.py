"""Takes the user's name out of what is pasted into a ticket: the home folder becomes `~`, other places `<user>`."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from defectctl.diagnosis.checks import Check

NAME_VARIABLES = ("USER", "USERNAME", "LOGNAME")
_HOMES = re.compile(r"([\\/](?:Users|home|Documents and Settings)[\\/]+)[^\\/\s'\":;,<>]+", re.IGNORECASE)
"""Folders that hold homes: another user's, or one's own under its short Windows name (ANNAMU~1)."""


class Scrubber:
    """Shortens names in texts.

    Args:
        home: the home folder; None: no such folder is known.
        names: the user's names; they are replaced only where they are part of a path, not in running text.
    """

    def __init__(self, home: str | None, names: Iterable[str]) -> None:
        forms = {home, PurePath(home).as_posix(), home.replace("\\", "\\\\")} if home else set()
        usable = sorted((form for form in forms if len(PurePath(form).parts) > 1), key=len, reverse=True)
        flags = re.IGNORECASE if os.name == "nt" else 0
        self._homes = [re.compile(re.escape(form.rstrip("\\/")) + r"(?![\w.-])", flags) for form in usable]
        self._names = [_in_paths(name) for name in sorted(set(names), key=len, reverse=True) if name.strip()]

    def text(self, text: str) -> str:
        """The text without the user's name in its paths."""
        for home in self._homes:
            text = home.sub("~", text)
        text = _HOMES.sub(r"\1<user>", text)
        for piece, name in self._names:
            text = piece.sub(lambda found, name=name: name.sub("<user>", found[0]), text)
        return text

    def value(self, value: Any) -> Any:
        """The same of plain values, however deep; numbers that are none become None, as JSON wants it."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.value(inner) for key, inner in value.items()}
        if isinstance(value, Sequence):
            return [self.value(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    def check(self, check: Check) -> Check:
        """The same of everything that a check says."""
        return replace(check, text=self.text(check.text), advice=self.text(check.advice), facts=self.value(check.facts))


def this_user() -> Scrubber:
    """A scrubber for whoever runs this process."""
    try:
        home: str | None = str(Path.home())
    except RuntimeError:  # a service without a home
        home = None
    names = [os.environ.get(variable, "") for variable in NAME_VARIABLES]
    return Scrubber(home, [*names, PurePath(home).name if home else ""])


def _in_paths(name: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Two patterns: one part of a path, and the name as a word of its own within it (`pytest-of-anna`)."""
    piece = r"[\\/][^\\/]*" if " " in name else r"[\\/][^\\/\s]*"
    return re.compile(piece), re.compile(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", re.IGNORECASE)
