"""What a model's option may be: a choice, a number, a text of a pattern, or numbers that the data give."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from defectctl.errors import nearest

AUTO = "auto"
"""Word for numbers that a training derives from its data and writes into the run's preset."""


@dataclass(frozen=True)
class Number:
    """An option that takes a number in `[low, high]`."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"

    def problem(self, value: Any) -> str | None:
        """What is wrong with the value, or None."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return None if is_number and self.low <= value <= self.high else f"{value!r} is not {self}"


@dataclass(frozen=True)
class Text:
    """An option that takes a text of a pattern, because the library behind it knows too many to list.

    Attributes:
        pattern: regular expression for the whole text.
        what: what it is, with an example, for help and messages.
    """

    pattern: str
    what: str

    def __str__(self) -> str:
        return self.what

    def problem(self, value: Any) -> str | None:
        """What is wrong with the value, or None."""
        fits = isinstance(value, str) and re.fullmatch(self.pattern, value)
        return None if fits else f"{value!r} is not {self.what}"


@dataclass(frozen=True)
class DataNumbers:
    """An option that takes `auto` (a training fills it in from its data), `none` where allowed, or the numbers.

    Attributes:
        count: how many numbers.
        optional: whether `none` switches it off.
        zero: whether 0 may be among them.
    """

    count: int
    optional: bool = True
    zero: bool = True

    def __str__(self) -> str:
        words = "auto, none" if self.optional else "auto"
        return f"{words} or {self.count} numbers {'of 0 or more' if self.zero else 'above 0'}"

    def problem(self, value: Any) -> str | None:
        """What is wrong with the value, or None."""
        if value == AUTO or (self.optional and value == "none"):
            return None
        whole = isinstance(value, list | tuple) and len(value) == self.count
        fits = whole and all(isinstance(v, int | float) and not isinstance(v, bool) and v >= 0 for v in value)
        fits = fits and (self.zero or min(value) > 0)
        return None if fits else f"{value!r} is not {self}"


Option = tuple[Any, ...] | Number | Text | DataNumbers
"""What an option takes; a tuple lists the choices."""


def option_problem(option: Option, value: Any) -> str | None:
    """What is wrong with the value of an option, or None."""
    if not isinstance(option, tuple):
        return option.problem(value)
    if any(value == choice and type(value) is type(choice) for choice in option):
        return None
    words = [str(choice) for choice in option]
    return f"{value!r} is not a choice{nearest(str(value), words)} (choices: {', '.join(words)})"
