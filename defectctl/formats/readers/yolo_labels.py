"""YOLO's label files: lines of fractions of the image to boxes and outlines in pixels; what is odd is told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from defectctl.formats.base import Finding, RawShape, Region
from defectctl.formats.readers.coco_shapes import BOX_TOLERANCE
from defectctl.formats.readers.voc_boxes import clip_box

_FAR = (-1.0, 2.0)
"""Values outside are no fractions of the image; they are pixels, or garbage."""
_BOX = 5
_LEAST_OUTLINE = 7
_SQUARE = 1.0
"""Pixels by which the diagonals of an outline of four corners may differ and it still is a rectangle."""


@dataclass(frozen=True, slots=True)
class Line:
    """One object: line number, class number, and a box (centre, width, height) or an outline, in fractions."""

    number: int
    label: int
    box: tuple[float, ...] | None
    outline: tuple[float, ...] | None


@dataclass(slots=True)
class LabelFile:
    """One label file as parsed.

    Attributes:
        file: path below the raw folder.
        lines: the usable ones.
        problems: stable key -> [reason of the first line, number of lines, whether they were left out].
        lost: how many lines could not be used.
    """

    file: str
    lines: list[Line] = field(default_factory=list)
    problems: dict[str, list] = field(default_factory=dict)
    lost: int = 0

    def note(self, key: str, number: int, reason: str, lost: bool = True) -> None:
        """Remember what is odd about a line."""
        done = ": left out; correct the line" if lost else ""
        entry = self.problems.setdefault(key, [f"line {number}: {reason}{done}", 0, lost])
        entry[1] += 1
        entry[2] = entry[2] or lost
        self.lost += lost

    def findings(self) -> list[Finding]:
        """One finding for each kind of problem."""
        more = {1: "", 2: " (and 1 more line)"}
        return [
            Finding(self.file, key, text + more.get(count, f" (and {count - 1} more lines)"), lost)
            for key, (text, count, lost) in self.problems.items()
        ]


def looks_like_labels(text: str) -> bool | None:
    """Whether the lines are a class number and four or more fractions; None for an empty file."""
    rows = [line.split() for line in text.splitlines() if line.strip()]
    if not rows:
        return None
    good = 0
    for row in rows:
        values = [_number(token) for token in row]
        good += len(row) >= _BOX and None not in values and all(-1 <= value <= 2 for value in values[1:_BOX])
    return good * 2 > len(rows)


def parse_labels(file: str, text: str, key_points: bool = False) -> LabelFile:
    """Read the lines of a label file.

    A line holds a class number and a box (centre x, centre y, width, height), perhaps with a confidence, or the
    corners of an outline.

    Args:
        key_points: whether what follows the box is key points, which are not read.
    """
    result = LabelFile(file)
    seen: set[tuple[str, ...]] = set()
    for number, line in enumerate(text.splitlines(), 1):
        tokens = line.split()
        if not tokens:
            continue
        if tuple(tokens) in seen:
            result.note("duplicate-line", number, "it repeats an earlier line, so the object was taken once", False)
            continue
        seen.add(tuple(tokens))
        parsed = _parse_line(result, number, tokens[:_BOX] if key_points else tokens)
        if parsed is not None:
            result.lines.append(parsed)
    return result


def _parse_line(result: LabelFile, number: int, tokens: list[str]) -> Line | None:
    values = [_number(token) for token in tokens]
    if None in values:
        odd = "".join(c if c.isprintable() else "?" for c in tokens[values.index(None)][:30])
        result.note("not-a-number", number, f"'{odd}' is no finite number")
        return None
    count = len(tokens)
    if count < _BOX or (count > _BOX + 1 and count % 2 == 0):
        text = f"it has {count} numbers; a box has 5 (class, x, y, width, height), an outline 7 or 9 or more"
        result.note("odd-line", number, text)
        return None
    label = values[0]
    if label != int(label):
        result.note("odd-line", number, f"its class number is {tokens[0]}")
        return None
    if any(not _FAR[0] <= value <= _FAR[1] for value in values[1:]):
        worst = max(values[1:], key=abs)
        result.note("not-normalised", number, f"{worst:g} is no fraction of the image (0 to 1)")
        return None
    if count == _BOX + 1:
        text = f"a sixth number ({tokens[5]}), as the confidence of a prediction, was passed over; is this annotation?"
        result.note("confidence", number, text, False)
    if count < _LEAST_OUTLINE:
        return Line(number, int(label), tuple(values[1:_BOX]), None)
    return Line(number, int(label), None, tuple(values[1:]))


def _number(token: str) -> float | None:
    try:
        value = float(token)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def check_classes(labels: LabelFile, names: Mapping[int, str], source: str) -> None:
    """Leave out the lines whose class number has no name.

    Args:
        source: what names the classes, for the finding.
    """
    for line in labels.lines:
        if line.label not in names:
            labels.note("no-category", line.number, f"class {line.label}, but {source} names no such class")
    labels.lines = [line for line in labels.lines if line.label in names]


def make_shapes(labels: LabelFile, names: Mapping[int, str], size: tuple[int, int]) -> list[RawShape]:
    """Shapes in pixels of the upright image of `size` (width, height), clipped to it; notes what does not fit."""
    shapes = []
    for line in labels.lines:
        region = None
        if line.box is not None:
            (x, y, w, h), (width, height) = line.box, size
            box = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
        else:
            assert line.outline is not None
            xs, ys = [x * size[0] for x in line.outline[::2]], [y * size[1] for y in line.outline[1::2]]
            box = (min(xs), min(ys), max(xs), max(ys))
            region = Region(polygons=(tuple(v for pair in zip(xs, ys, strict=True) for v in pair),))
        clipped, problem = clip_box(box, size, BOX_TOLERANCE)
        if problem == "empty" and region is not None and max(box[2] - box[0], box[3] - box[1]) > 0:
            problem = ""  # a hair, whose pixels are still found along its outline
        if problem:
            what = "box" if region is None else "outline"
            done = "" if clipped is None else ": clipped to the image"
            labels.note(f"box-{problem.split()[0]}", line.number, f"the {what} is {problem}{done}", clipped is None)
        if clipped is not None or (region is not None and not problem):
            shapes.append(RawShape(names[line.label], clipped, region))
    return shapes


def is_rectangle(region: Region) -> bool:
    """Whether an outline is a rectangle, upright or not: four corners, diagonals equal and halving each other."""
    corners = region.polygons[0]
    if len(corners) != 8:
        return False
    a, b, c, d = (corners[i : i + 2] for i in range(0, 8, 2))
    middles = math.dist((a[0] + c[0], a[1] + c[1]), (b[0] + d[0], b[1] + d[1])) / 2
    return middles <= _SQUARE and abs(math.dist(a, c) - math.dist(b, d)) <= _SQUARE
