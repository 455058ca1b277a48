"""Draws the report of a prepared dataset: what to act on first, then classes, sizes, positions, brightness, splits."""

from __future__ import annotations

import math
from collections.abc import Sequence

from defectctl.dataset.survey import BOXES, MASKS, SHARE_UNIT, DefectSizes
from defectctl.reports import svg
from defectctl.reports.html import Markup, bullets, escape, figure, join, page, swatch, table, tag
from defectctl.reports.page_data import MOST_LINES, ClassRow, FindingGroup, FindingLine, PageData, PartLevels
from defectctl.reports.thumbnails import position_map

_MOST_HISTOGRAMS = 12
_MOST_MAPS = 8
_MOST_COLUMNS = 8
"""Classes up to which each has its own histogram, its own map of positions, and its own column in split tables."""

_SPECK = 3
"""A patch of so few pixels is hardly a defect."""

_FEW_IMAGES = 10
"""With fewer images a part's brightness says nothing."""


def dataset_page(data: PageData) -> str:
    """The text of the HTML file: self-contained, the same for the same data."""
    sections = [
        _head(data),
        _act_first(data),
        _findings(data, True),
        _how_read(data),
        _classes(data),
        _examples(data),
        _defect_sizes(data),
        _positions(data),
        _levels(data),
        _images(data),
        _splits(data),
        _findings(data, False),
    ]
    return page(f"Dataset {data.name}", join([part for part in sections if part], "\n"))


def _head(data: PageData) -> Markup:
    numbers = [("images", data.images), ("good", data.good), ("defective", data.defective), ("unknown", data.unknown)]
    numbers += [("classes", len(data.classes)), ("findings", sum(group.count for group in data.findings))]
    boxes = [tag("div", tag("b", _number(value)), name) for name, value in numbers]
    fingerprint = tag("p", "Dataset report · fingerprint ", tag("code", data.fingerprint), class_="quiet")
    return join([tag("h1", data.name), fingerprint, tag("div", *boxes, class_="numbers")], "\n")


def _act_first(data: PageData) -> Markup:
    """What would spoil a training or a test, in a few lines."""
    items: list[object] = []
    for place, group in enumerate(data.findings):
        if _urgent(group):
            link = tag("a", _spoken(group.problem), href=f"#finding-{place}")
            count = f"{_number(group.dropped)} left out" if group.dropped else _number(group.count)
            told = f": {count}, e.g. {_first(group)}"
            items.append(join([tag("b", link), told]))
    leaks = [note for note in data.notes if "leak" in note.lower()]
    torn = [f"{split.name} {_number(split.leaks)}" for split in data.splits if split.leaks]
    if torn and not leaks:
        leaks = [f"Splits leak; images with a copy in another part: {', '.join(torn)}."]
    items += [tag("b", note) for note in leaks]
    items += _differences(data.levels)
    others = [group for group in data.findings if not _urgent(group)]
    if others:
        told = [f"{_spoken(group.problem)} ({_number(group.count)})" for group in others]
        start = "Look at these, too" if items else "Nothing was left out, but look at"
        items.append(f"{start}: {', '.join(told)}.")
    body = bullets(items) if items else tag("p", "Nothing: no finding, no leak, and the parts look alike.")
    return join([tag("h2", "Act on this first"), tag("div", body, class_="act")], "\n")


def _urgent(group: FindingGroup) -> bool:
    """Whether something is missing from the dataset, or a test would flatter."""
    return bool(group.dropped) or "leak" in group.problem


def _first(group: FindingGroup) -> str:
    """One line for all, of what was left out where something was."""
    line = next((line for line in group.lines if line.dropped), group.lines[0])
    return f"{line.file}: {line.text}"


def _how_read(data: PageData) -> Markup:
    notes = [note for note in data.notes if "leak" not in note.lower()]
    parts = [tag("h2", "How the files were read"), tag("p", data.layout)]
    return join([*parts, bullets(notes)] if notes else parts, "\n")


def _classes(data: PageData) -> Markup:
    rows = [
        (
            join([swatch(row.colour), row.name]),
            _number(row.images),
            _share(row.images / data.images if data.images else 0),
            _number(row.pixels) if row.share is not None else "–",
            _share(row.share) if row.share is not None else "–",
            _number(row.objects),
        )
        for row in data.classes
    ]
    head = ("class", "images", "of all", "mask pixels", "of known pixels", "labelled objects")
    drawing = svg.bars([(row.name, row.images, row.colour, _number(row.images)) for row in data.classes])
    quiet = tag("p", "Bars: images with the class; an image may show several.", class_="quiet")
    return join([tag("h2", "Classes"), table(head, rows), drawing, quiet], "\n")


def _examples(data: PageData) -> Markup | None:
    parts: list[object] = [tag("h2", "Examples")]
    for group in data.examples:
        title = join([swatch(group.colour), group.title]) if group.colour else escape(group.title)
        pictures = [figure(picture, caption, group.title) for caption, picture in group.pictures]
        parts += [tag("h3", title), tag("div", *pictures, class_="pictures")]
    return join(parts, "\n") if data.examples else None


def _measured(data: PageData) -> list[tuple[str, ClassRow, DefectSizes]]:
    """Sizes of each class by how they were measured: mask patches and boxes are never mixed."""
    found = []
    for label, row in enumerate(data.classes, 1):
        for where in (MASKS, BOXES):
            sizes = data.survey.sizes.get((where, label))
            if sizes is not None:
                found.append((where, row, sizes))
    return found


def _defect_sizes(data: PageData) -> Markup:
    measured = _measured(data)
    title = tag("h2", "Defect sizes")
    if not measured:
        return join([title, tag("p", "Neither masks nor boxes: sizes are not known.")], "\n")
    rows = []
    for where, row, sizes in measured:
        areas, sides, shares = sizes.areas, sizes.sides, sizes.shares
        numbers = [_number(areas.total)]
        numbers += [_about(value) for value in (areas.smallest, areas.quantile(0.5), areas.largest)]
        numbers += [_share(value / SHARE_UNIT) for value in (shares.quantile(0.5), shares.largest)]
        numbers += [_about(value) for value in (sides.smallest, sides.quantile(0.5))]
        rows.append((join([swatch(row.colour), row.name]), where, *numbers))
    head = ("class", "measured on", "defects", "smallest px", "median px", "largest px")
    head += ("median of image", "largest of image", "thinnest side px", "median side px")
    curves = _histograms(measured)
    told = (
        "A defect is a connected patch of a mask or, where no mask speaks of the class, a labelled box. Side: the"
        " shorter one of the upright box around it. Each histogram is as high as its own tallest bar."
    )
    specks = [
        f"{row.name} {_number(count)}"
        for where, row, sizes in measured
        if where == MASKS and (count := sum(n for value, n in sizes.areas.bars() if value <= _SPECK))
    ]
    if specks:
        told += f" Patches of {_SPECK} pixels or fewer, perhaps slips of the pen: {', '.join(specks)}."
    drawing = svg.log_histograms(curves, "area in pixels, logarithmic")
    return join([title, table(head, rows, 2), drawing, tag("p", told, class_="quiet")], "\n")


def _histograms(
    measured: list[tuple[str, ClassRow, DefectSizes]],
) -> list[tuple[str, list[tuple[float, int]], svg.Colour]]:
    """One of areas for each class; with many classes one for all masks and one for all boxes."""
    mixed = len({where for where, _, _ in measured}) > 1
    if len(measured) <= _MOST_HISTOGRAMS:
        return [
            (f"{row.name} ({where})" if mixed else row.name, sizes.areas.bars(), row.colour)
            for where, row, sizes in measured
        ]
    together: dict[str, list[tuple[float, int]]] = {}
    for where, _, sizes in measured:
        together.setdefault(where, []).extend(sizes.areas.bars())
    return [(f"all classes ({where})", bars, svg.GREY) for where, bars in together.items()]


def _positions(data: PageData) -> Markup | None:
    survey = data.survey
    if not survey.covering[0]:
        return None
    labels = [0, *range(1, len(data.classes) + 1)] if 1 < len(data.classes) <= _MOST_MAPS else [0]
    pictures = []
    for label in labels:
        images = int(survey.covering[label])
        if images:
            name = data.classes[label - 1].name if label else "all classes"
            cells = survey.cover[label] / images
            told = f"{name}: {_number(images)} images; darkest cell {_share(cells.max())}, mean {_share(cells.mean())}"
            pictures.append(figure(position_map(cells), told, f"Where {name} lies", class_="cells"))
    told = (
        "Share of each cell of a 32 × 32 grid over the image that the defect covers, mean over the images with it:"
        " white is never, the darkest cell's share stands below."
    )
    places = tag("div", *pictures, class_="pictures")
    return join([tag("h2", "Where defects lie"), places, tag("p", told, class_="quiet")], "\n")


def _levels(data: PageData) -> Markup | None:
    if not data.levels:
        return None
    rows = []
    for level in data.levels:
        numbers = [f"{value:.0f}" for value in (*level.brightness[1:4], *level.contrast[1:4])]
        rows.append((level.part, _number(level.images), *numbers))
    head = ("part", "images", "brightness 25 %", "median", "75 %", "contrast 25 %", "median", "75 %")
    most = max([10.0, *(level.contrast[4] for level in data.levels)])
    verdict = _differences(data.levels) or ["No part's median lies outside the middle half of the first part."]
    return join(
        [
            tag("h2", f"Brightness and contrast, split '{data.splits[0].name}'"),
            tag("p", " ".join(verdict)),
            table(head, rows),
            tag("h3", "Brightness (mean grey level of an image, 0 to 255)"),
            svg.box_plots([(level.part, level.brightness) for level in data.levels], 255),
            tag("h3", "Contrast (standard deviation of the grey levels)"),
            svg.box_plots([(level.part, level.contrast) for level in data.levels], most),
        ],
        "\n",
    )


def _differences(levels: Sequence[PartLevels]) -> list[str]:
    """A sentence for each part whose median lies outside the middle half of the first part (the training part)."""
    if not levels or levels[0].images < _FEW_IMAGES:
        return []
    first, told = levels[0], []
    for level in levels[1:]:
        for what in ("brightness", "contrast"):
            own, low, high = getattr(level, what)[2], getattr(first, what)[1], getattr(first, what)[3]
            if level.images >= _FEW_IMAGES and not low <= own <= high:
                told.append(
                    f"Part '{level.part}' looks different from '{first.part}': its median {what} is {own:.0f}, the"
                    f" middle half of '{first.part}' is {low:.0f} to {high:.0f}."
                )
    return told


def _images(data: PageData) -> Markup:
    shown = data.sizes[:_MOST_COLUMNS]
    rows = [(f"{width} × {height}", _number(count)) for width, height, count in shown]
    if len(data.sizes) > len(shown):
        rest = sum(count for _, _, count in data.sizes[len(shown) :])
        rows.append((f"{_number(len(data.sizes) - len(shown))} other sizes", _number(rest)))
    kinds = sorted(data.survey.kinds.items(), key=lambda item: (-item[1], item[0]))
    kind_rows = [(_kind(*kind), _number(count)) for kind, count in kinds]
    parts = [tag("h2", "Images"), table(("width × height, pixels", "images"), rows)]
    if len(data.sizes) > 1:
        widths, heights = [size[0] for size in data.sizes], [size[1] for size in data.sizes]
        told = f"Widths {min(widths)} to {max(widths)}, heights {min(heights)} to {max(heights)} pixels."
        parts.append(tag("p", told, class_="quiet"))
    return join([*parts, table(("kind of file", "images"), kind_rows)], "\n")


def _kind(bits: int, channels: int, palette: bool, alpha: bool, turned: bool) -> str:
    colour = "palette" if palette else "grey" if channels <= 2 else "colour"
    more = [text for text, holds in (("transparency dropped", alpha), ("turned by EXIF", turned)) if holds]
    return ", ".join([f"{colour}, {bits} bits a value", *more])


def _splits(data: PageData) -> Markup:
    parts: list[object] = [tag("h2", "Splits")]
    names = [row.name for row in data.classes]
    wide = len(names) <= _MOST_COLUMNS
    for place, split in enumerate(data.splits):
        default = " (default)" if place == 0 else ""
        told = f"Made by: {split.maker}. Images with a copy in another part: {_number(split.leaks)}."
        told += f" Images in no part: {_number(split.unused)}." if split.unused else ""
        head = ["part", "images", "good", "defective", "unknown", *(names if wide else [])]
        rows = [
            [part.name, *map(_number, (part.images, part.good, part.defective, part.unknown))]
            + [_number(count) for count in (part.classes if wide else [])]
            for part in split.parts
        ]
        parts += [tag("h3", split.name + default), tag("p", told, class_="quiet"), table(head, rows)]
        if not wide and place == 0:
            lines = [
                [name, *(_number(part.classes[index]) for part in split.parts)] for index, name in enumerate(names)
            ]
            parts.append(table(["images with class", *(part.name for part in split.parts)], lines))
    return join(parts, "\n")


def _findings(data: PageData, urgent: bool) -> Markup | None:
    """The findings of the problems that left something out or are leaks, or of the others."""
    parts: list[object] = [tag("h2", "Findings to act on" if urgent else "Other findings")]
    for place, group in enumerate(data.findings):
        if _urgent(group) == urgent:
            parts += _finding_group(group, f"finding-{place}")
    return join(parts, "\n") if len(parts) > 1 else None


def _finding_group(group: FindingGroup, anchor: str) -> list[Markup]:
    title = f"{_spoken(group.problem)}: {_number(group.count)}"
    title += f", left out: {_number(group.dropped)}" if group.dropped else ""
    shown = group.lines[:MOST_LINES]
    pictures = [figure(line.picture, _line(line), line.file) for line in shown if line.picture is not None]
    listed = [_line(line) for line in shown if line.picture is None]
    parts = [tag("h3", title, id=anchor)]
    parts += [tag("div", *pictures, class_="pictures")] if pictures else []
    parts += [bullets(listed, class_="files")] if listed else []
    if group.count > len(shown):
        parts.append(tag("p", f"and {_number(group.count - len(shown))} more, see findings.csv"))
    return parts


def _line(line: FindingLine) -> Markup:
    return join([tag("b", line.file), ": ", line.text])


def _spoken(problem: str) -> str:
    """A problem's key as words."""
    return problem.replace("-", " ")


def _number(value: int) -> str:
    return f"{value:,}"


def _about(value: float) -> str:
    """A size in pixels; halves come from counts that were put together."""
    return f"{math.ceil(value):,}"


def _share(share: float) -> str:
    """A percentage of two digits or more, never shown as an exponent."""
    percent = 100 * share
    if percent <= 0:
        return "0 %"
    digits = min(max(0, 1 - math.floor(math.log10(percent))), 6)
    return f"{percent:.{digits}f} %"
