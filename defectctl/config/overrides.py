"""`--set train.stages.0.epochs=50`: changes single values of a preset before it is checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from defectctl.config.plain_yaml import parse_yaml
from defectctl.errors import InputError


def apply_overrides(values: dict[str, Any], overrides: Iterable[str]) -> list[str]:
    """Apply `path=value` overrides to `values` in place; return a sentence for each that could not be applied."""
    wrong = []
    for text in overrides:
        try:
            _apply(values, text)
        except InputError as error:
            wrong.append(str(error))
    return wrong


def _apply(values: dict[str, Any], text: str) -> None:
    path, equals, value = text.partition("=")
    steps = path.strip().split(".")
    if not equals or not all(steps):
        raise InputError(f"--set '{text}' must have the form key.path=value, e.g. train.batch_size=8")
    parsed = parse_yaml(value, f"the value of --set '{text}'")
    place: Any = values
    for depth, step in enumerate(steps[:-1]):
        key = _key(place, step, steps[:depth], text)
        # A block the preset leaves to its defaults is made here; the schema then tells whether it may exist.
        if isinstance(place, dict) and place.get(key) is None:
            place[key] = {}
        place = place[key]
    place[_key(place, steps[-1], steps[:-1], text)] = parsed


def _key(place: Any, step: str, above: list[str], text: str) -> str | int:
    """The key or index that `step` means in `place`."""
    if isinstance(place, dict):
        return step
    where = ".".join(above)
    if not isinstance(place, list):
        raise InputError(f"--set '{text}': {where} is a single value and has no '{step}'")
    if not step.isdecimal():
        raise InputError(f"--set '{text}': {where} is a list, so a number from 0 must stand in the place of '{step}'")
    if int(step) >= len(place):
        raise InputError(f"--set '{text}': {where} is numbered from 0 to {len(place) - 1}, so there is no {step}")
    return int(step)
