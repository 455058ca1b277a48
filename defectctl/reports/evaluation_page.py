"""Draws the report of an evaluation for a quality engineer to sign: verdict, figures, charts, worst images, record."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from defectctl.reports import charts
from defectctl.reports.evaluation_cases import draw_cases, picture_share
from defectctl.reports.evaluation_data import (
    BoxScores,
    ClassScores,
    Confusion,
    EvaluationPage,
    RecallRow,
)
from defectctl.reports.evaluation_operating import draw_operating_point, draw_scores
from defectctl.reports.evaluation_text import interval_text, value_text
from defectctl.reports.html import (
    Markup,
    bullets,
    join,
    page,
    percent,
    score_text,
    scrolled,
    swatch,
    table,
    tag,
)

STYLE = """
.scroll { overflow-x: auto; margin: .5rem 0 1rem; }
.scroll table { margin: 0; }
.scroll td { white-space: nowrap; }
.scroll td:last-child:not(.n) { white-space: normal; overflow-wrap: normal; min-width: 11rem; }
.scroll svg { max-width: none; }
.verdict { font-size: 1.1rem; font-weight: 600; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem 2rem; }
.charts > div { flex: 0 1 27rem; min-width: 0; }
.charts > .told { flex: 0 1 auto; }
.cases { display: flex; flex-wrap: wrap; gap: 1.2rem; }
.case { border-top: 1px solid #999; padding-top: .3rem; max-width: 29rem; min-width: 0; break-inside: avoid; }
.case p { margin: 0 0 .3rem; font-size: .87rem; overflow-wrap: anywhere; }
.case .pictures { flex-wrap: nowrap; }
.case figure { min-width: 0; max-width: 28rem; flex: 1 1 0; }
.case img { width: 100%; height: auto; }
.large svg { width: 100%; max-width: 42rem; }
.sign { break-inside: avoid; }
td code { overflow-wrap: anywhere; }
.sign div { display: flex; align-items: flex-end; gap: .8rem; height: 3.2rem; max-width: 34rem; }
.sign b { flex: 0 0 6rem; font-weight: 400; }
.sign i { flex: 1; border-bottom: 1px solid #1c1c1c; }
@media (max-width: 40rem) { .scroll table { font-size: .8rem; } .scroll td, .scroll th { padding-right: .45rem; } }
@page { size: A4; margin: 15mm; }
@media print {
  body { font-size: 9.5pt; }
  h2, h3 { break-after: avoid; }
  tr, .act, .numbers { break-inside: avoid; }
  .scroll, .wide { overflow: visible; }
  .large svg { max-width: 24rem; }
  .scroll table { font-size: 8.5pt; }
  .charts { gap: .5rem 4%; }
  .charts > div { flex: 0 1 40%; break-inside: avoid; }
  .scroll svg { max-width: 100%; }
  .cases { gap: 1rem 4%; }
  .case { max-width: 48%; }
}
"""

_MOST_CONFUSIONS = 10
"""Pairs of classes that are listed below the matrix, most pixels first."""


def evaluation_page(data: EvaluationPage) -> str:
    """The text of the HTML file: self-contained, the same for the same data."""
    sections = [
        _head(data),
        _headline(data),
        draw_operating_point(data),
        _curves(data),
        draw_scores(data),
        _confusion(data),
        _recalls(data),
        _classes(data),
        _boxes(data),
        *_worst(data),
        _record(data),
        _sign(),
    ]
    return page(f"Evaluation of {data.model} on {data.dataset}", join(sections, "\n"), STYLE)


def _head(data: EvaluationPage) -> Markup:
    told = f"Evaluation report · dataset {data.dataset} · split {data.split} · part {data.part}"
    numbers = [("images", data.images), ("good parts", data.good), ("defective parts", data.defective)]
    numbers += [("of unknown state", data.unknown)] if data.unknown else []
    boxes = [tag("div", tag("b", f"{value:,}"), name) for name, value in numbers]
    act: list[object] = [tag("p", _verdict(data), class_="verdict")]
    notices = [tag("b", notice.text) if notice.serious else notice.text for notice in data.warnings]
    notices += _missing_parts(data)
    act += [bullets(notices)] if notices else []
    parts = [
        tag("h1", data.model),
        tag("p", told),
        tag("div", *boxes, class_="numbers"),
        tag("div", *act, class_="act"),
    ]
    return join(parts, "\n")


def _verdict(data: EvaluationPage) -> str:
    """The figures that matter most in one sentence; what makes them worthless comes before them."""
    start = "Not a valid test, see below. " if any(notice.serious for notice in data.warnings) else ""
    point = data.operating
    if point is None or not data.good + data.defective:
        first = next((row for row in data.headline if _finite(row.value)), None)
        return start + (f"{first.name}: {value_text(first)}." if first else "No figure could be computed.")
    told = []
    if data.defective:
        told.append(f"{_of(point.defective[0], data.defective)} defective parts escaped")
    if data.good:
        told.append(f"{_of(point.good[2], data.good)} good parts were stopped")
    if point.ok not in (None, point.ng):
        unsure = point.defective[1] + point.good[1] + point.unknown[1]
        told.append(f"{_of(unsure, data.images)} parts are left to a person")
    return f"{start}At the operating point {', '.join(told)}."


def _missing_parts(data: EvaluationPage) -> list[str]:
    told = []
    if not data.good:
        told.append("There is no good part among these images: nothing here says how many good parts would be stopped.")
    if not data.defective:
        told.append("There is no defective part among these images: nothing here says how many defects would escape.")
    if data.unknown:
        told.append(f"Of {_of(data.unknown, data.images)} parts nobody knows whether they are good: left out of rates.")
    return told


def _headline(data: EvaluationPage) -> Markup:
    present = [row for row in data.headline if _finite(row.value)]
    rows = [(row.name, value_text(row), interval_text(row.interval, row.kind), row.meaning) for row in present]
    missing = [row for row in data.headline if not _finite(row.value)]
    parts: list[object] = [tag("h2", "Figures")]
    parts += [scrolled(table(("metric", "value", _level(data), "meaning"), rows, 4))] if rows else []
    if data.interval_note:
        parts.append(tag("p", data.interval_note, class_="quiet"))
    if missing:
        told = "; ".join(row.name + (f" ({row.reason})" if row.reason else "") for row in missing)
        parts.append(tag("p", f"Left out, because it cannot be known here: {told}."))
    return join(parts, "\n")


def _curves(data: EvaluationPage) -> Markup:
    drawn, left_out = [], []
    if data.precision_recall:
        chart = charts.curve_chart(data.precision_recall, "recall", "precision", "precision over recall", steps=True)
        drawn.append(("Precision and recall over all thresholds", chart))
    else:
        left_out.append(_absent(data, "precision_recall"))
    if data.trade_off is not None:
        curve, marks = data.trade_off.curve, data.trade_off.marks
        names = ("overkill: share of good parts called NG", "escapes: share of defective parts called OK")
        chart = charts.curve_chart([curve], *names, "escape rate over overkill rate", marks, charts.ROOT)
        drawn.append(("Escapes against overkill, axes stretched near 0", chart))
    else:
        left_out.append(_absent(data, "trade_off"))
    if data.reliability is not None:
        chart = charts.reliability_chart(data.reliability.bins, "share of defective parts over score")
        error = data.reliability.error
        told = f"; calibration error {error:.3f}" if error is not None else ""
        drawn.append((f"Reliability: on the dashed line a score is a probability{told}", chart))
    else:
        left_out.append(_absent(data, "reliability"))
    boxes = [tag("div", tag("h3", title), chart) for title, chart in drawn]
    shown = [tag("div", *boxes, class_="charts")] if boxes else []
    return join([tag("h2", "Curves"), *shown, *left_out], "\n")


def _confusion(data: EvaluationPage) -> Markup:
    title, confusion = tag("h2", "Confusion of classes"), data.confusion
    if confusion is None:
        return join([title, _absent(data, "confusion")], "\n")
    parts: list[object] = [title]
    if len(confusion.names) <= charts.MOST_DRAWN:
        drawing = charts.heat_matrix(confusion.names, confusion.matrix, "confusion matrix of pixels")
        parts += [scrolled(drawing), tag("p", "Percent of the true class's pixels, row by row.", class_="quiet")]
    rows = list(_confusions(confusion))
    if rows:
        head = ("truth", "called", "pixels", "of the true class")
        parts += [tag("h3", "Most frequent confusions"), scrolled(table(head, rows, 2))]
    else:
        parts.append(tag("p", "No pixel was given to a wrong class."))
    return join(parts, "\n")


def _confusions(confusion: Confusion) -> Iterator[tuple[str, str, str, str]]:
    matrix = np.asarray(confusion.matrix)
    wrong = matrix * ~np.eye(len(matrix), dtype=bool)
    for place in np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSIONS].tolist():
        truth, called = divmod(place, len(matrix))
        pixels = int(wrong[truth, called])
        if pixels:
            share = percent(pixels / int(matrix[truth].sum()))
            yield confusion.names[truth], confusion.names[called], f"{pixels:,}", share


def _recalls(data: EvaluationPage) -> Markup:
    parts: list[object] = [tag("h2", "Defects found")]
    for key, name, rows in (
        ("recall_by_class", "By class", data.recall_by_class),
        ("recall_by_size", "By size", data.recall_by_size),
    ):
        if not rows:
            parts.append(_absent(data, key))
            continue
        drawing = charts.rate_bars(rows, f"recall of defects, {name.lower()}")
        parts += [tag("h3", name), tag("div", tag("div", drawing), _recall_table(rows, _level(data)), class_="charts")]
    parts += [tag("p", data.size_note)] if data.size_note else []
    return join(parts, "\n")


def _recall_table(rows: Sequence[RecallRow], level: str) -> Markup:
    lines = []
    for row in rows:
        recall = percent(row.found / row.total) if row.total else "–"
        lines.append((row.name, f"{row.found:,}", f"{row.total:,}", recall, interval_text(row.interval, "percent")))
    return tag("div", scrolled(table(("defects", "found", "of", "recall", level), lines)), class_="told")


_CLASS_COLUMNS = (
    ("IoU", "iou", ".3f"),
    ("precision", "precision", ".3f"),
    ("recall", "recall", ".3f"),
    ("F1", "f1", ".3f"),
    ("pixels", "pixels", ",d"),
    ("AP50", "ap50", ".3f"),
    ("AP", "ap", ".3f"),
    ("boxes", "boxes", ",d"),
)
"""Heading, field and format of each."""


def _classes(data: EvaluationPage) -> Markup:
    title = tag("h2", "Figures by class")
    if not data.classes:
        return join([title, _absent(data, "classes")], "\n")
    columns = [column for column in _CLASS_COLUMNS if any(getattr(row, column[1]) is not None for row in data.classes)]
    rows = [(_named(row), *(_or_dash(getattr(row, key), form) for _, key, form in columns)) for row in data.classes]
    return join([title, scrolled(table(("class", *(column[0] for column in columns)), rows))], "\n")


def _named(row: ClassScores) -> object:
    return join([swatch(row.colour), row.name]) if row.colour else row.name


def _or_dash(value: float | None, form: str = ".3f") -> str:
    return "–" if value is None or not _finite(value) else format(value, form)


def _boxes(data: EvaluationPage) -> Markup:
    title, boxes = tag("h2", "Boxes"), data.boxes
    if boxes is None:
        return join([title, _absent(data, "boxes")], "\n")
    told = f"Boxes of score {score_text(boxes.score)} or more, at overlap 0.5:"
    told += f" {boxes.right:,} right, {boxes.wrong:,} wrong, {boxes.missed:,} true boxes missed."
    parts: list[object] = [title, tag("p", told)]
    return join([*parts, *_box_details(boxes)], "\n")


def _box_details(boxes: BoxScores) -> list[Markup]:
    parts = []
    if boxes.ap_by_overlap:
        rows = [(f"{overlap:.2f}", _or_dash(ap)) for overlap, ap in boxes.ap_by_overlap]
        parts.append(tag("div", scrolled(table(("overlap", "AP"), rows))))
    if boxes.curve is not None:
        chart = charts.curve_chart([boxes.curve], "recall", "precision", "precision over recall of boxes", steps=True)
        parts.append(tag("div", chart))
    return [tag("div", *parts, class_="charts")] if parts else []


def _worst(data: EvaluationPage) -> list[Markup]:
    share = picture_share([*(data.misses or ()), *(data.false_alarms or ())])
    groups = (
        ("misses", "Worst misses", data.misses, "No miss among these images."),
        ("false_alarms", "Worst false alarms", data.false_alarms, "No false alarm among these images."),
    )
    sections = []
    for key, title, cases, none in groups:
        if cases is None:
            shown = _absent(data, key)
        else:
            shown = draw_cases(cases, share) if cases else tag("p", none)
        sections.append(join([tag("h2", title), shown], "\n"))
    return sections


def _record(data: EvaluationPage) -> Markup:
    record = data.record
    rows: list[tuple[str, object]] = [
        ("dataset", f"{data.dataset}, split {data.split}, part {data.part}"),
        ("dataset fingerprint", record.dataset),
        ("split fingerprint", record.split),
        ("model file", record.model),
        ("model sha256", record.sha256),
        *((f"training: {name}", value) for name, value in _facts(record.training)),
        ("command", record.command),
        *_facts(record.environment),
        ("date", record.date),
    ]
    lines = [(name, tag("code", value) if "fingerprint" in name or "sha" in name else value) for name, value in rows]
    kept = [line for line, (_, value) in zip(lines, rows, strict=True) if str(value)]
    return join([tag("h2", "For the record"), table(("what", "value"), kept, 2)], "\n")


def _facts(values: Mapping[str, object], before: str = "") -> Iterator[tuple[str, object]]:
    """Names and values, those of a mapping within it one by one; what is None is left out."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _facts(value, f"{before}{name} ")
        elif value is not None:
            yield f"{before}{name}", value


def _sign() -> Markup:
    lines = [tag("div", tag("b", name), tag("i")) for name in ("Name", "Date", "Signature")]
    return tag("div", tag("h2", "Signed"), *lines, class_="sign")


def _absent(data: EvaluationPage, key: str) -> Markup:
    return tag("p", data.why_absent(key), class_="quiet")


def _level(data: EvaluationPage) -> str:
    return f"{100 * data.interval_level:g} % interval"


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}"
