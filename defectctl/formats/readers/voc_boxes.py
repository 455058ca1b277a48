"""Reader of Pascal VOC detection: one XML of boxes an image."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from defectctl.dataset.types import Box
from defectctl.errors import InputError
from defectctl.formats.base import Finding, Listing, RawSample, RawShape, RawSource, ReadOptions
from defectctl.formats.readers.names import (
    Spelling,
    best_match,
    order_classes,
    part_of_folders,
    same_case,
    set_list_parts,
    settle_parts,
    stem_of,
)
from defectctl.formats.readers.peek import spread

NAME = "voc-boxes"
DESCRIPTION = "Pascal VOC detection (one XML with boxes for each image)"
SCORE = 0.9
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_DECLARATION = re.compile(rb"^\s*<\?xml[^>]*?encoding=[\"']([\w.\-]+)[\"'][^>]*\?>")


@dataclass(slots=True)
class _Annotation:
    """One XML file as written, corners untouched."""

    file: str
    filename: str
    size: tuple[int, int] | None
    objects: list[tuple[str, tuple[float, ...] | None]] = field(default_factory=list)
    difficult: int = 0


def recognise(listing: Listing) -> float:
    """Sure where XML files have the stems of images and the first of them are VOC annotations."""
    xmls = _xml_files(listing)
    if not xmls:
        return 0.0
    stems = {stem_of(str(file)).casefold() for file in listing.images()}
    matched = [file for file in xmls if stem_of(file).casefold() in stems]
    examples = spread(matched, 3)
    if not any(b"<annotation" in (listing.root / file).read_bytes()[:4096] for file in examples):
        return 0.0
    return SCORE * min(1.0, 0.5 + len(matched) / len(xmls))


def read(listing: Listing, options: ReadOptions) -> RawSource:
    """Read every XML and match it with its image.

    Corners are 1-based and inclusive, so `(xmin - 1, ymin - 1, xmax, ymax)` are pixel edges from 0. A corner at 0 or
    below it anywhere in the source means that its tool counted from 0; then corners are taken as pixel edges as they
    stand, and a finding says so. The class is the XML's, whatever the file name says.

    Raises:
        InputError: there is no readable VOC annotation.
    """
    findings: list[Finding] = []
    annotations = [a for file in _xml_files(listing) if (a := _parse(listing, file, findings))]
    if not annotations:
        broken = f" ({findings[0].file}: {findings[0].text})" if findings else ""
        raise InputError(f"'{listing.root}' holds no readable VOC annotation{broken}; export it again")
    matched = _match(listing, annotations, findings)
    shift = _shift(annotations, findings)
    spelling = Spelling(options.classes)
    found: dict[str, str] = {}
    samples = []
    for image, annotation in sorted(matched.items()):
        shapes = list(_shapes(annotation, shift, spelling, findings))
        if not shapes and any(name.casefold().strip("_") != "background" for name, _ in annotation.objects):
            text = f"no object of '{annotation.file}' is usable; it may be defective: left out; annotate it again"
            findings.append(Finding(image, "nothing-usable", text, True))
            continue
        for shape in shapes:
            found.setdefault(shape.class_name, annotation.file)
        sample = RawSample(image, listing.root / image, shapes=shapes, part=part_of_folders(image))
        sample.stated_size = annotation.size
        samples.append(sample)
    set_list_parts(listing, samples, findings)
    layout = f"VOC boxes: {_folders(a.file for a in matched.values())} for the images in {_folders(matched)}"
    difficult = sum(annotation.difficult for annotation in matched.values())
    if difficult:
        layout += f"; {difficult} objects marked difficult count like all others"
    layout += settle_parts(samples, findings)
    classes = order_classes(found, options)
    return RawSource(NAME, layout, listing.root, samples, classes, findings=findings, knows_boxes=True)


def _xml_files(listing: Listing) -> list[str]:
    return [str(file) for file in listing.files if file.suffix.lower() == ".xml"]


def _folders(files: Iterable[str]) -> str:
    names = sorted({file.rpartition("/")[0] or "." for file in files})
    return ", ".join(f"'{name}'" for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _parse(listing: Listing, file: str, findings: list[Finding]) -> _Annotation | None:
    """One XML; None with a finding where it is no VOC annotation or broken."""
    try:
        root = parse_xml((listing.root / file).read_bytes())
    except (ElementTree.ParseError, OSError, ValueError, LookupError) as error:
        findings.append(Finding(file, "unreadable", f"not readable as XML ({error}): left out; export it again", True))
        return None
    if root.tag != "annotation":
        findings.append(Finding(file, "no-annotation", f"an XML of '{root.tag}', not VOC: passed over", True))
        return None
    width, height = (_number(root.findtext(f"size/{side}")) for side in ("width", "height"))
    size = (int(width), int(height)) if width and height and width > 0 and height > 0 else None
    annotation = _Annotation(file, (root.findtext("filename") or "").strip(), size)
    for item in root.findall("object"):
        annotation.difficult += _number(item.findtext("difficult")) == 1
        corners = [_number(item.findtext(f"bndbox/{key}")) for key in _CORNERS]
        box = None if None in corners else tuple(corners)
        annotation.objects.append(((item.findtext("name") or "").strip(), box))
    return annotation


def parse_xml(data: bytes) -> ElementTree.Element:
    """Parse XML of any declared encoding; bytes that contradict UTF-8 are taken as Latin-1.

    Raises:
        ParseError, ValueError, LookupError: the text is not XML, or its encoding is unknown.
    """
    declared = _DECLARATION.match(data)
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError):
        encoding = declared.group(1).decode("ascii") if declared else "utf-8"
        body = data[declared.end() :] if declared else data
        try:
            text = body.decode(encoding)
        except UnicodeDecodeError:
            text = body.decode("latin-1")
        return ElementTree.fromstring(text.lstrip("\ufeff"))


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _match(listing: Listing, annotations: list[_Annotation], findings: list[Finding]) -> dict[str, _Annotation]:
    """Image file -> annotation: by the XML's own stem first, by the name it states else."""
    by_stem: dict[str, list[str]] = {}
    for file in listing.images():
        by_stem.setdefault(stem_of(str(file)).casefold(), []).append(str(file))
    matched: dict[str, _Annotation] = {}
    for annotation in annotations:
        image = _image_of(annotation, by_stem, findings)
        if image is None:
            continue
        if image in matched:
            text = (
                f"annotates '{image}', which '{matched[image].file}' annotates already: left out; keep one of the two"
            )
            findings.append(Finding(annotation.file, "duplicate-annotation", text, True))
            continue
        matched[image] = annotation
    _report_unmatched(listing, matched, findings)
    return matched


def _report_unmatched(listing: Listing, matched: dict[str, _Annotation], findings: list[Finding]) -> None:
    """One finding for each image without XML; one for a whole folder of which nothing is annotated (masks, say)."""
    used = {file.rpartition("/")[0] for file in matched}
    idle: Counter[str] = Counter()
    for file in map(str, listing.images()):
        folder = file.rpartition("/")[0]
        if folder not in used:
            idle[folder or "."] += 1
        elif file not in matched:
            findings.append(
                Finding(
                    file,
                    "no-annotation",
                    "an image with no XML of its name: left out; add one (without objects if good)",
                    True,
                )
            )
    for folder, count in sorted(idle.items()):
        findings.append(
            Finding(folder, "unused-images", f"{count} image files, none with an XML: left out; take them away", True)
        )


def _image_of(annotation: _Annotation, by_stem: dict[str, list[str]], findings: list[Finding]) -> str | None:
    own = stem_of(annotation.file).casefold()
    stated = annotation.filename.replace("\\", "/").rpartition("/")[2].casefold()
    agrees = not stated or own in (stated, stem_of(stated))
    candidates = by_stem.get(own) or by_stem.get(stem_of(stated)) or by_stem.get(stated) or []
    if not candidates:
        findings.append(
            Finding(annotation.file, "no-image", "an XML with no image of its name: left out; add the image", True)
        )
        return None
    best = [candidates[i] for i in best_match(candidates, annotation.file)]
    best = same_case(best, stem_of(annotation.file), stem_of)
    exact = [file for file in best if file.casefold().rpartition("/")[2] == stated]
    image = (exact or best)[0]
    if len(exact or best) > 1:
        text = f"fits {len(best)} images ('{best[0]}', '{best[1]}'): left out; state the right <filename>"
        findings.append(Finding(annotation.file, "ambiguous-image", text, True))
        return None
    if not agrees:
        text = f"states the image '{annotation.filename}', which is not its own name: '{image}' was taken"
        findings.append(Finding(annotation.file, "name-differs", text))
    return image


def _shift(annotations: list[_Annotation], findings: list[Finding]) -> float:
    """What is taken off xmin and ymin: 1, or 0 where a corner shows that the source counts from 0 or measures."""
    fraction = None
    for annotation in annotations:
        for _, box in annotation.objects:
            if box and min(box) <= 0:
                text = "has a box corner at 0, so corners of this source count from 0 and are taken as pixel edges"
                findings.append(Finding(annotation.file, "zero-based", text))
                return 0.0
            if box and fraction is None and any(corner % 1 for corner in box):
                fraction = annotation.file
    if fraction is None:
        return 1.0
    text = "has a box corner with a fraction, so corners of this source are no pixel numbers but edges, counted from 0"
    findings.append(Finding(fraction, "zero-based", text))
    return 0.0


def _shapes(annotation: _Annotation, shift: float, spelling: Spelling, findings: list[Finding]) -> Iterable[RawShape]:
    for number, (name, corners) in enumerate(annotation.objects, 1):
        if not name or corners is None:
            lacks = "name" if not name else "box"
            text = f"object {number} has no {lacks}: left out; complete the XML"
            findings.append(Finding(annotation.file, f"no-{lacks}", text, True))
            continue
        if name.casefold().strip("_") == "background":
            text = f"object {number} is of a class called background: left out; rename it if it is a defect"
            findings.append(Finding(annotation.file, "background", text, True))
            continue
        x1, y1, x2, y2 = corners
        if x2 < x1 or y2 < y1:
            (x1, x2), (y1, y2) = sorted((x1, x2)), sorted((y1, y2))
            text = f"object {number} ({name}): the corners of its box are swapped, and were put in order"
            findings.append(Finding(annotation.file, "box-swapped", text))
        box, problem = clip_box((x1 - shift, y1 - shift, x2, y2), annotation.size)
        if problem:
            done = "left out; draw it again" if box is None else "clipped to the image"
            text = f"object {number} ({name}): the box {x1:g}, {y1:g}, {x2:g}, {y2:g} is {problem}: {done}"
            findings.append(Finding(annotation.file, f"box-{problem.split()[0]}", text, box is None))
        if box is not None:
            yield RawShape(spelling.take(name, annotation.file, findings), box)


def clip_box(box: Box, size: tuple[int, int] | None, tolerance: float = 0.0) -> tuple[Box | None, str]:
    """Clip a half-open box to the image.

    Args:
        size: (width, height), or None where unknown (then only emptiness is checked).
        tolerance: pixels by which a box may stick out without being reported.

    Returns:
        (box, ""): in order; (clipped box, problem): partly outside; (None, problem): empty or wholly outside.
    """
    x1, y1, x2, y2 = box
    if x2 <= x1 or y2 <= y1:
        return None, "empty"
    if size is None:
        return box, ""
    width, height = size
    clipped = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        return None, f"outside the image of {width}x{height}"
    out = max(abs(a - b) for a, b in zip(box, clipped, strict=True))
    return clipped, f"outside the image of {width}x{height} in part" if out > tolerance else ""
