"""Small drawings as inline SVG: bars, histograms over a logarithmic axis, and box plots."""

from __future__ import annotations

import math
from collections.abc import Sequence

from defectctl.reports.html import Markup, css_colour, tag

Colour = tuple[int, int, int]
GREY: Colour = (110, 110, 110)

_WIDTH = 640
_NAMES = 170
"""Room for names at the left, pixels."""
_LINE = 22
_INK = "#1c1c1c"
_NAME_LETTERS = 25


def bars(rows: Sequence[tuple[str, float, Colour, str]]) -> Markup:
    """Horizontal bars from 0: name, value, colour, and the text behind the bar."""
    most = max([value for _, value, _, _ in rows] + [0]) or 1
    room = _WIDTH - _NAMES - 90
    parts = []
    for line, (name, value, colour, text) in enumerate(rows):
        y, length = line * _LINE, room * value / most
        parts.append(_name(name, y))
        parts.append(_bar(_NAMES, y + 4, length, _LINE - 8, colour))
        parts.append(_text(_NAMES + length + 6, y + 15, text))
    return _drawing(len(rows) * _LINE, parts)


def log_histograms(rows: Sequence[tuple[str, Sequence[tuple[float, int]], Colour]], unit: str) -> Markup:
    """One histogram below the other over a common logarithmic axis, each as high as its own largest bar.

    Args:
        rows: name, `(value, count)` pairs with values from 1 (smaller ones count as 1), colour.
        unit: written below the axis.
    """
    largest = max([value for _, pairs, _ in rows for value, _ in pairs] + [10])
    columns = _column(largest) + 1
    step = (_WIDTH - _NAMES - 20) / columns
    height, parts = 58, []
    for line, (name, pairs, colour) in enumerate(rows):
        y = line * height
        counts = [0] * columns
        for value, count in pairs:
            counts[_column(value)] += count
        parts.append(_name(name, y + height - 26))
        for place, count in enumerate(counts):
            if count:  # never so low that a bar cannot be seen
                high = max(1.5, (height - 10) * count / max(counts))
                parts.append(_bar(_NAMES + place * step, y + height - high, step - 1, high, colour))
        parts.append(_line(_NAMES, y + height, _WIDTH - 20, y + height))
    bottom = len(rows) * height
    for power in range(math.floor(math.log10(largest)) + 1):
        x = _NAMES + math.log2(10**power) * 2 * step
        parts += [_line(x, bottom, x, bottom + 5), _text(x, bottom + 18, f"{10**power:,}", "middle")]
    parts.append(_text(_WIDTH - 20, bottom + 34, unit, "end"))
    return _drawing(bottom + 38, parts)


def _column(value: float) -> int:
    """Two columns for every doubling."""
    return int(2 * math.log2(max(value, 1)))


def box_plots(rows: Sequence[tuple[str, Sequence[float]]], high: float) -> Markup:
    """Box plots over an axis from 0 to `high`.

    Args:
        rows: name, and smallest value, quartiles and largest value in rising order.
    """
    scale = (_WIDTH - _NAMES - 20) / high
    parts, height = [], _LINE + 4
    for line, (name, values) in enumerate(rows):
        y = line * height
        low, first, median, third, most = (_NAMES + value * scale for value in values)
        parts += [_name(name, y + 1), _line(low, y + 13, most, y + 13)]
        parts += [_line(x, y + 8, x, y + 18) for x in (low, most)]
        parts.append(_bar(first, y + 5, max(third - first, 1), 16, (205, 214, 222)))
        parts.append(_line(median, y + 5, median, y + 21, 3))
    bottom = len(rows) * height
    parts.append(_line(_NAMES, bottom + 3, _WIDTH - 20, bottom + 3))
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = _NAMES + share * high * scale
        parts += [_line(x, bottom + 3, x, bottom + 8), _text(x, bottom + 21, f"{share * high:.0f}", "middle")]
    return _drawing(bottom + 26, parts)


def _drawing(height: float, parts: Sequence[Markup]) -> Markup:
    return tag("svg", *parts, viewBox=f"0 0 {_WIDTH} {height:g}", width=_WIDTH, height=f"{height:g}", role="img")


def _bar(x: float, y: float, width: float, height: float, colour: Colour) -> Markup:
    """A dark edge keeps light colours visible in a black-and-white print."""
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{max(width, 0):.1f}", "height": f"{height:.1f}"}
    return tag("rect", **place, fill=css_colour(colour), stroke=_INK, stroke_width=0.7)


def _line(x1: float, y1: float, x2: float, y2: float, width: float = 1) -> Markup:
    place = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    return tag("line", **place, stroke=_INK, stroke_width=width)


def _text(x: float, y: float, text: str, anchor: str = "start") -> Markup:
    return tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def _name(name: str, y: float) -> Markup:
    """A name at the left, cut where it would run into the drawing; the whole name shows under the pointer."""
    cut = name if len(name) <= _NAME_LETTERS else name[: _NAME_LETTERS - 1] + "…"
    return tag("g", tag("title", name), _text(_NAMES - 8, y + 15, cut, "end"))
