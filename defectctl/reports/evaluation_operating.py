"""Draws the operating point of an evaluation: thresholds, verdicts against truth, cost, and the scores they divide."""

from __future__ import annotations

import numpy as np

from defectctl.reports import charts
from defectctl.reports.evaluation_data import EvaluationPage, OperatingPoint
from defectctl.reports.html import Markup, amount, bullets, escape, join, percent, score_text, scrolled, table, tag

_DIGITS = 6
"""Of a threshold: it is signed for, and two may lie close together."""


def draw_operating_point(data: EvaluationPage) -> Markup:
    """Thresholds and how they were chosen, promises, verdicts against truth, cost."""
    title, point = tag("h2", "Operating point"), data.operating
    if point is None:
        return join([title, tag("p", data.why_absent("operating"), class_="quiet")], "\n")
    parts: list[object] = [title, tag("p", tag("b", _thresholds(point)), " ", point.chosen)]
    promises = []
    for promise in point.promises:
        told = f"{promise.what} at most {100 * promise.limit:g} % with {100 * promise.confidence:g} % confidence"
        promises.append(f"{'Promised' if promise.kept else 'Not promised'}: {told}. {promise.basis}")
    parts += [bullets(promises)] if promises else []
    rows = []
    named = (("defective", point.defective, 0), ("good", point.good, 2), ("unknown", point.unknown, None))
    for name, counts, wrong in named:
        whole = sum(counts)
        if whole or wrong is not None:
            cells = [_cell(count, whole, place == wrong) for place, count in enumerate(counts)]
            rows.append((name, *cells, f"{whole:,}"))
    parts.append(scrolled(table(("truth", "called OK", "UNSURE", "called NG", "all"), rows)))
    told = "Bold: escapes (defective, called OK) and overkill (good, called NG). Percent: of the parts of that truth."
    parts.append(tag("p", told, class_="quiet"))
    parts += [tag("p", _cost(point))] if point.cost else []
    parts += [bullets(point.notes)] if point.notes else []
    return join(parts, "\n")


def _cell(count: int, whole: int, wrong: bool) -> Markup:
    told = f"{count:,}" + (f" ({percent(count / whole)})" if whole else "")
    return tag("b", told) if wrong else escape(told)


def _thresholds(point: OperatingPoint) -> str:
    if point.ng is None:
        return "No threshold: a part is NG if any defect is reported, else OK."
    ng = score_text(point.ng, _DIGITS)
    if point.ok is None or point.ok == point.ng:
        return f"A part is NG from image score {ng} on, OK below it."
    return f"A part is OK below image score {score_text(point.ok, _DIGITS)}, NG from {ng} on, UNSURE in between."


def _lines(point: OperatingPoint | None) -> list[tuple[str, float]]:
    """What the histogram of scores marks."""
    if point is None or point.ng is None:
        return []
    lines = [(f"NG from {score_text(point.ng, _DIGITS)}", point.ng)]
    if point.ok is None or point.ok == point.ng:
        return lines
    return [(f"OK below {score_text(point.ok, _DIGITS)}", point.ok), *lines]


def _cost(point: OperatingPoint) -> str:
    cost = point.cost
    assert cost is not None
    told = f"Cost: {_plural(point.defective[0], 'escape')} at {amount(cost.escape)}"
    told += f" and {_plural(point.good[2], 'good part')} stopped at {amount(cost.overkill)}"
    if cost.unsure is not None:
        unsure = point.defective[1] + point.good[1] + point.unknown[1]
        told += f" and {_plural(unsure, 'unsure part')} at {amount(cost.unsure)}"
    return f"{told}: {amount(cost.total)} in all, {amount(cost.per_part)} a part. {cost.note}".strip()


def draw_scores(data: EvaluationPage) -> Markup:
    """The histogram of image scores with the thresholds in it."""
    title = tag("h2", "Scores of good and defective parts")
    if data.scores is None:
        return join([title, tag("p", data.why_absent("scores"), class_="quiet")], "\n")
    good, defective = np.asarray(data.scores.good, float), np.asarray(data.scores.defective, float)
    lines = _lines(data.operating)
    chart = charts.score_histogram(good, defective, lines, "histogram of image scores of good and defective parts")
    told = (
        "Heights are square roots of the counts, each half as high as its own tallest bar, so that single parts show."
    )
    if charts.score_scale([value for _, value in lines]) is charts.LOGIT:
        told += " Both ends of the score's axis are stretched, because a threshold lies close to one."
    return join([title, tag("div", chart, class_="large"), tag("p", told, class_="quiet")], "\n")


def _plural(count: int, name: str) -> str:
    return f"{count:,} {name}{'' if count == 1 else 's'}"
