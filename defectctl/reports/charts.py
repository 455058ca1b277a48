"""Draws the charts of an evaluation as inline SVG: curves, reliability, score histograms, recalls, confusion."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from defectctl.reports.evaluation_data import Curve, Mark, RecallRow, ReliabilityBin
from defectctl.reports.html import Markup, css_colour, tag

MOST_DRAWN = 26
"""Rows of a confusion matrix up to which it is drawn: background and 25 classes."""

_INK, _PALE = "#1c1c1c", "#d9d9d9"
_LINES = (("#0b4f8a", ""), ("#c2510c", "7 4"), ("#3f3f3f", "2 3"), ("#0b7a55", "9 3 2 3"))
"""Colour and dashes of one curve after the other: dashes tell them apart in a black-and-white print."""

_GOOD, _DEFECTIVE = (158, 190, 214), (176, 74, 16)
_DARKEST = (11, 61, 107)
"""A cell of the confusion matrix with all pixels of its class."""

_LEFT, _TOP, _ACROSS, _DOWN, _WIDTH = 60, 20, 340, 250, 420
"""Where the square of a curve stands in its drawing, how far it reaches, and the whole drawing's width."""

_BINS = 40
_EDGE = 0.025
"""A threshold nearer to 0 or 1 than a bin is wide cannot be seen on an even axis."""


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis over 0..1: `place` maps a value to 0..1 of the axis's length, `ticks` are values with their labels."""

    place: Callable[[float], float]
    ticks: tuple[tuple[float, str], ...]


def _logit(value: float) -> float:
    """0.0001 is the axis's start, 0.9999 its end, 0.5 the middle; what lies beyond stands at the ends."""
    end = math.log(9999)
    inside = min(max(value, 1e-4), 1 - 1e-4)
    return (math.log(inside / (1 - inside)) + end) / (2 * end)


EVEN = Scale(lambda value: value, tuple((tick / 5, f"{tick / 5:g}") for tick in range(6)))
ROOT = Scale(
    lambda value: math.sqrt(max(value, 0.0)), tuple((t / 100, f"{t} %") for t in (0, 1, 5, 10, 20, 40, 60, 100))
)
"""Small rates drawn large; 0 stays on the axis."""
LOGIT = Scale(_logit, tuple((t, f"{t:g}") for t in (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)))
"""Both ends drawn large."""


def curve_chart(
    curves: Sequence[Curve],
    x_name: str,
    y_name: str,
    label: str,
    marks: Sequence[Mark] = (),
    scale: Scale = EVEN,
    steps: bool = False,
) -> Markup:
    """Lines in a square from 0 to 1 with a legend below it; points that are not finite are left out.

    Args:
        label: what a screen reader says.
        marks: points to be seen, lettered A, B, … unless there is only one.
        scale: of both axes.
        steps: whether the y of a point holds from the point before up to it, as step-wise average precision counts.
    """
    parts, legend = _frame(x_name, y_name, scale), []
    for number, curve in enumerate(curves):
        colour, dashes = _LINES[number % len(_LINES)]
        style = {"stroke": colour, "stroke_width": 2, "stroke_dasharray": dashes or "none", "fill": "none"}
        path = _path(curve, scale, steps)
        if path:
            parts.append(tag("path", tag("title", curve.name), d=path, **style))
        y = _legend_line(len(legend))
        legend.append(tag("path", d=f"M{_LEFT} {y - 4}h26", **style))
        parts.append(_text(_LEFT + 34, y, ", ".join(filter(None, (curve.name, curve.label)))))
    for number, mark in enumerate(marks):
        letter = chr(ord("A") + number) if len(marks) > 1 else ""
        x, y = _spot(mark.x, mark.y, scale)
        row = _legend_line(len(legend))
        legend.append(_dot(_LEFT + 13, row - 4, 5))
        parts += [_dot(x, y, 5), _text(x + 8, y - 7, letter, bold=True, halo=True)] if letter else [_dot(x, y, 5)]
        parts.append(_text(_LEFT + 34, row, f"{letter} {mark.name}".strip()))
    return _drawing(_WIDTH, _legend_line(len(legend)) - 8, [*parts, *legend], label)


def reliability_chart(bins: Sequence[ReliabilityBin], label: str) -> Markup:
    """Share of defective parts over the mean score of each bin; larger dots hold more parts, whiskers are intervals."""
    parts = _frame("mean score of the parts", "share that is defective", EVEN)
    (x1, y1), (x2, y2) = _spot(0, 0, EVEN), _spot(1, 1, EVEN)
    parts.append(_line(x1, y1, x2, y2, dashes="5 4"))
    most = max((entry.parts for entry in bins), default=1) or 1
    for entry in bins:
        if not entry.parts:
            continue
        x, y = _spot(entry.score, entry.defective / entry.parts, EVEN)
        if entry.interval:
            ends = [_spot(entry.score, value, EVEN)[1] for value in entry.interval]
            parts.append(_line(x, ends[0], x, ends[1]))
        told = f"mean score {entry.score:.3f}: {entry.defective:,} of {entry.parts:,} parts defective"
        parts.append(_dot(x, y, 3 + 6 * math.sqrt(entry.parts / most), told))
    return _drawing(_WIDTH, 312, parts, label)


def score_histogram(
    good: np.ndarray, defective: np.ndarray, thresholds: Sequence[tuple[str, float]], label: str
) -> Markup:
    """Good parts above the axis, defective ones below it, and a line at each threshold.

    Heights are square roots of the counts, each half as high as its own tallest bar: a single escape stays visible
    beside a thousand parts that were found. With a threshold close to 0 or 1 both ends of the axis are stretched.

    Args:
        good, defective: image scores, 0..1.
        thresholds: what each says, and its score; one outside 0..1 is not drawn.
    """
    scale = score_scale([value for _, value in thresholds])
    left, across, high, width = 40, 400, 90, 470
    top = 22 + 14 * len(thresholds)
    middle, parts, names = top + high, [], []
    for scores, colour, way, name in ((good, _GOOD, -1, "good"), (defective, _DEFECTIVE, 1, "defective")):
        counts = _binned(scores, scale)
        most = int(counts.max())
        for number in np.flatnonzero(counts).tolist():
            tall = max(2.0, high * math.sqrt(counts[number] / most))
            place = {"x": _n(left + number * across / _BINS), "width": _n(across / _BINS - 1)}
            place |= {"y": _n(middle - tall if way < 0 else middle), "height": _n(tall)}
            told = tag("title", f"{int(counts[number]):,} {name}")
            parts.append(tag("rect", told, **place, fill=css_colour(colour), stroke=_INK, stroke_width=0.7))
        told = f"{name}: {len(scores):,}, tallest bar {most:,}"
        names.append(_text(left, top - 8 if way < 0 else middle + high + 14, told, halo=True))
    bottom = middle + high + 20
    for number, (told, value) in enumerate(thresholds):
        if 0 <= value <= 1:
            x, y = left + across * scale.place(value), 12 + 14 * number
            anchor = "end" if x > left + across / 2 else "start"
            parts.append(_line(x, y - 10, x, bottom, 2, "6 3"))
            parts.append(_text(x + (-6 if anchor == "end" else 6), y, told, anchor, bold=True, halo=True))
    parts += [*names, _line(left, middle, left + across, middle), _line(left, bottom, left + across, bottom)]
    for value, told in scale.ticks:
        x = left + across * scale.place(value)
        parts += [_line(x, bottom, x, bottom + 5), _text(x, bottom + 18, told, "middle")]
    parts.append(_text(left + across, bottom + 34, "image score", "end"))
    return _drawing(width, bottom + 40, parts, label)


def score_scale(thresholds: Sequence[float]) -> Scale:
    """The even axis, unless a threshold is so close to 0 or 1 that it could not be told from it."""
    close = any(0 < value < _EDGE or 1 - _EDGE < value < 1 for value in thresholds)
    return LOGIT if close else EVEN


def rate_bars(rows: Sequence[RecallRow], label: str) -> Markup:
    """Bars over an axis from 0 to 1 with their intervals as whiskers, and the counts behind them."""
    left, across, line, width = 140, 240, 24, 480
    parts: list[Markup] = []
    for number, row in enumerate(rows):
        y, told = number * line, f"{row.found:,} of {row.total:,}"
        cut = row.name if len(row.name) <= 20 else row.name[:19] + "…"
        parts.append(tag("g", tag("title", row.name), _text(left - 8, y + 16, cut, "end")))
        if row.total:
            long = across * row.found / row.total
            place = {"x": left, "y": y + 4, "width": _n(long), "height": line - 8}
            parts.append(tag("rect", **place, fill=css_colour(_GOOD), stroke=_INK, stroke_width=0.7))
        if row.interval:
            low, high = (left + across * value for value in row.interval)
            parts.append(_line(low, y + 12, high, y + 12, 2))
            parts += [_line(x, y + 8, x, y + 16, 2) for x in (low, high)]
        parts.append(_text(left + across + 10, y + 16, told))
    bottom = len(rows) * line + 2
    parts.append(_line(left, bottom, left + across, bottom))
    for tick in (0, 25, 50, 75, 100):
        x = left + across * tick / 100
        parts += [_line(x, bottom, x, bottom + 5), _text(x, bottom + 18, f"{tick} %", "middle")]
    return _drawing(width, bottom + 24, parts, label)


def heat_matrix(names: Sequence[str], matrix: np.ndarray, label: str) -> Markup:
    """A confusion matrix, truth down and prediction across: colour and percent by row, with few classes the pixels.

    Args:
        names: C, at most `MOST_DRAWN`.
        matrix: `(C, C)` int64, `[truth, prediction]`; a row without pixels stays empty.
    """
    count = len(names)
    side = 68 if count <= 7 else 40 if count <= 14 else 26
    cut = [name if len(name) <= 18 else name[:17] + "…" for name in names]
    left = max(90, 24 + 7 * max(map(len, cut)))
    parts = []
    for row, total in enumerate(matrix.sum(axis=1).tolist()):
        y = left + row * side
        parts.append(tag("g", tag("title", names[row]), _text(left - 6, y + side / 2 + 4, cut[row], "end")))
        place = f"translate({_n(left + row * side + side / 2 + 4)} {left - 6}) rotate(-90)"
        parts.append(tag("g", tag("title", names[row]), _text(0, 0, cut[row]), transform=place))
        for column in range(count):
            pixels = int(matrix[row, column])
            if pixels:
                told = f"{names[row]} called {names[column]}: {pixels:,} of {total:,} pixels"
                parts += _cell(left + column * side, y, side, pixels, pixels / total, told)
    whole = count * side
    frame = {"x": left, "y": left, "width": whole, "height": whole}
    parts.append(tag("rect", **frame, fill="none", stroke=_INK))
    parts += [_text(left - 6, left - 24, "prediction →", "end"), _text(left - 6, left - 8, "truth ↓", "end")]
    return _drawing(left + whole + 10, left + whole + 6, parts, label)


def _cell(x: float, y: float, side: int, pixels: int, share: float, told: str) -> list[Markup]:
    blend = [round(255 + (dark - 255) * share) for dark in _DARKEST]
    fill = css_colour((blend[0], blend[1], blend[2]))
    parts = [tag("rect", tag("title", told), x=_n(x), y=_n(y), width=side, height=side, fill=fill, stroke=_PALE)]
    ink = "#fff" if share > 0.5 else _INK
    percent = f"{100 * share:.{1 if side > 26 else 0}f}"
    parts.append(
        _text(x + side / 2, y + side / 2 + (4 if side < 60 else 0), percent, "middle", ink, 9 if side < 40 else 12)
    )
    if side > 60:
        parts.append(_text(x + side / 2, y + side / 2 + 15, f"{pixels:,}", "middle", ink, 9))
    return parts


def _frame(x_name: str, y_name: str, scale: Scale) -> list[Markup]:
    """The square with its grid, ticks and names of the axes."""
    parts = []
    for value, told in scale.ticks:
        x, y = _spot(value, value, scale)
        parts += [_line(x, _TOP, x, _TOP + _DOWN, colour=_PALE), _line(_LEFT, y, _LEFT + _ACROSS, y, colour=_PALE)]
        parts += [_text(x, _TOP + _DOWN + 16, told, "middle"), _text(_LEFT - 6, y + 4, told, "end")]
    square = {"x": _LEFT, "y": _TOP, "width": _ACROSS, "height": _DOWN}
    parts.append(tag("rect", **square, fill="none", stroke=_INK))
    parts.append(_text(_LEFT + _ACROSS, _TOP + _DOWN + 33, x_name, "end"))
    return [*parts, _text(4, 12, y_name)]


def _spot(x: float, y: float, scale: Scale) -> tuple[float, float]:
    """Where a point of the square stands in the drawing."""
    return _LEFT + _ACROSS * scale.place(x), _TOP + _DOWN * (1 - scale.place(y))


def _path(curve: Curve, scale: Scale, steps: bool) -> str:
    """The line as an SVG path; points less than half a pixel apart are drawn once."""
    points = [
        _spot(min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0), scale)
        for x, y in zip(map(float, curve.x), map(float, curve.y), strict=True)
        if math.isfinite(x) and math.isfinite(y)
    ]
    kept = points[:1]
    for point in points[1:-1]:
        if math.dist(point, kept[-1]) >= 0.5:
            kept.append(point)
    kept += points[1:][-1:]
    if not kept:
        return ""
    if not steps:
        return "M" + " L".join(f"{_n(x)} {_n(y)}" for x, y in kept)
    start = f"M{_n(_LEFT)} {_n(kept[0][1])} H{_n(kept[0][0])}"
    return " ".join([start, *(f"V{_n(y)} H{_n(x)}" for x, y in kept[1:])])


def _binned(scores: np.ndarray, scale: Scale) -> np.ndarray:
    """`(_BINS,)` int64 counts over equal lengths of the axis."""
    places = [scale.place(float(score)) for score in np.asarray(scores).ravel()]
    columns = [min(max(int(place * _BINS), 0), _BINS - 1) for place in places]
    return np.bincount(np.array(columns, np.int64), minlength=_BINS)


def _legend_line(number: int) -> float:
    return _TOP + _DOWN + 54 + 18 * number


def _drawing(width: float, height: float, parts: Sequence[Markup], label: str) -> Markup:
    size = {"viewBox": f"0 0 {_n(width)} {_n(height)}", "width": _n(width), "height": _n(height)}
    return tag("svg", *parts, **size, role="img", aria_label=label)


def _line(x1: float, y1: float, x2: float, y2: float, width: float = 1, dashes: str = "", colour: str = _INK) -> Markup:
    place = {"x1": _n(x1), "y1": _n(y1), "x2": _n(x2), "y2": _n(y2), "stroke": colour, "stroke_width": width}
    return tag("line", **place, **({"stroke_dasharray": dashes} if dashes else {}))


def _dot(x: float, y: float, radius: float, told: str = "") -> Markup:
    inside = [tag("title", told)] if told else []
    return tag("circle", *inside, cx=_n(x), cy=_n(y), r=_n(radius), fill="#f2c14e", stroke=_INK, stroke_width=1.5)


def _text(
    x: float,
    y: float,
    text: str,
    anchor: str = "start",
    ink: str = _INK,
    size: int = 12,
    bold: bool = False,
    halo: bool = False,
) -> Markup:
    """A `halo` keeps it readable where lines run through it; style, since the page's own would win over attributes."""
    style = [f"fill:{ink}"] if ink != _INK else []
    style += [f"font-size:{size}px"] if size != 12 else []
    style += ["font-weight:600"] if bold else []
    style += ["paint-order:stroke;stroke:#fff;stroke-width:4px"] if halo else []
    more = {"style": ";".join(style)} if style else {}
    return tag("text", text, x=_n(x), y=_n(y), text_anchor=anchor, **more)


def _n(value: float) -> str:
    """A coordinate to a tenth of a pixel, as short as it can be."""
    return f"{value:.1f}".removesuffix(".0")
