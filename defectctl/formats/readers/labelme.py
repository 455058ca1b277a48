"""Reader of LabelMe: one JSON of shapes an image, beside the image or in a folder of its own."""

from __future__ import annotations

import json
import posixpath
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defectctl.errors import InputError
from defectctl.formats.base import IMAGE_ENDINGS, EmbeddedImage, Finding, Listing, RawSample, RawSource, ReadOptions
from defectctl.formats.readers.labelme_shapes import read_shapes
from defectctl.formats.readers.names import (
    best_match,
    decode_text,
    order_classes,
    part_of_folders,
    set_list_parts,
    settle_parts,
    stem_of,
)
from defectctl.formats.readers.peek import spread
from defectctl.imaging.headers import read_header
from defectctl.imaging.reader import ImageError

NAME = "labelme"
DESCRIPTION = "LabelMe (one JSON of shapes for each image: polygons, rectangles, circles, masks)"
SCORE = 0.86
_MOST_PIXELS = 1 << 30


@dataclass(slots=True)
class _Document:
    """One JSON as written, without the picture that may be embedded in it."""

    file: str
    image_path: str
    shapes: list[Any]
    size: tuple[int, int] | None
    embedded: bool

    @property
    def embedded_name(self) -> str:
        """How the embedded image is called: as the JSON, with the ending of the image it was made from."""
        ending = posixpath.splitext(self.image_path)[1].lower()
        return posixpath.splitext(self.file)[0] + (ending if ending in IMAGE_ENDINGS else ".png")


def recognise(listing: Listing) -> float:
    """Sure where JSON files, those with the stems of images first, speak of shapes and of an image."""
    files = _json_files(listing)
    stems = {stem_of(str(file)).casefold() for file in listing.images()}
    examples = spread([file for file in files if stem_of(file).casefold() in stems] or files)
    return SCORE if any(_speaks((listing.root / file).read_bytes()) for file in examples) else 0.0


def read(listing: Listing, options: ReadOptions) -> RawSource:
    """Read every LabelMe JSON and match it with its image; an empty list of shapes is a good part.

    Rectangles are boxes, everything else that has an area is an outline too. An image of which no shape is usable is
    left out: it is not known to be good.

    Raises:
        InputError: there is no readable LabelMe JSON.
    """
    findings: list[Finding] = []
    documents = [d for file in _json_files(listing) if (d := _parse(listing, file, findings))]
    if not documents:
        broken = f" ({findings[0].file}: {findings[0].text})" if findings else ""
        raise InputError(f"'{listing.root}' holds no readable LabelMe JSON{broken}")
    matched = _match(listing, documents, findings)
    found: dict[str, str] = {}
    samples = []
    for image, document in sorted(matched.items()):
        embedded = image == document.embedded_name and not (listing.root / image).is_file()
        place = EmbeddedImage(listing.root / document.file) if embedded else listing.root / image
        sample = _sample(place, image, document, findings)
        if sample is None:
            continue
        for shape in sample.shapes or ():
            found.setdefault(shape.class_name, document.file)
        samples.append(sample)
    set_list_parts(listing, samples, findings)
    layout = f"LabelMe: {len(matched)} JSON files, one for each image" + settle_parts(samples, findings)
    classes = order_classes(found, options)
    with_regions = any(shape.region for sample in samples for shape in sample.shapes or ())
    return RawSource(
        NAME, layout, listing.root, samples, classes, findings=findings, knows_boxes=True, knows_masks=with_regions
    )


def _json_files(listing: Listing) -> list[str]:
    return [str(file) for file in listing.files if file.suffix.lower() == ".json"]


def _speaks(data: bytes) -> bool:
    return b'"shapes"' in data and (b'"imagePath"' in data or b'"imageData"' in data)


def _parse(listing: Listing, file: str, findings: list[Finding]) -> _Document | None:
    """One JSON; None with a finding where it is broken or of another tool."""
    try:
        content = json.loads(decode_text((listing.root / file).read_bytes()))
    except (ValueError, RecursionError, OSError) as error:
        findings.append(Finding(file, "unreadable", f"not readable as JSON ({error}): left out; save it again", True))
        return None
    if not isinstance(content, dict) or "shapes" not in content:
        findings.append(Finding(file, "no-annotation", "a JSON without LabelMe's 'shapes': passed over", True))
        return None
    if not isinstance(content["shapes"], list):
        findings.append(Finding(file, "unreadable", "its 'shapes' are no list: left out; save it again", True))
        return None
    sides = [content.get(key) for key in ("imageWidth", "imageHeight")]
    size = (int(sides[0]), int(sides[1])) if all(_positive(side) for side in sides) else None
    image_path = str(content.get("imagePath") or "").replace("\\", "/")
    return _Document(file, image_path, content["shapes"], size, bool(content.get("imageData")))


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 < value < 1e9


def _match(listing: Listing, documents: list[_Document], findings: list[Finding]) -> dict[str, _Document]:
    """Image file -> its JSON; where several name the same image, the one of the same stem counts."""
    finder = _Finder([str(file) for file in listing.images()])
    matched: dict[str, _Document] = {}
    for document in sorted(documents, key=lambda d: (stem_of(d.file) != stem_of(d.image_path), d.file)):
        image = finder.image_of(document, findings)
        if image is None:
            continue
        if image in matched:
            text = f"annotates '{image}', which '{matched[image].file}' annotates already: left out; keep one of them"
            findings.append(Finding(document.file, "duplicate-annotation", text, True))
            continue
        matched[image] = document
    _report_unmatched(listing, matched, findings)
    return matched


class _Finder:
    """Finds the image that a JSON means, whatever the case of its letters."""

    def __init__(self, images: list[str]) -> None:
        self.by_path: dict[str, str] = {}
        self.by_name: dict[str, list[str]] = {}
        self.by_stem: dict[str, list[str]] = {}
        for image in images:
            self.by_path.setdefault(image.casefold(), image)
            self.by_name.setdefault(image.rpartition("/")[2].casefold(), []).append(image)
            self.by_stem.setdefault(stem_of(image).casefold(), []).append(image)

    def image_of(self, document: _Document, findings: list[Finding]) -> str | None:
        """The image at `imagePath`, else one of that name, else one of the JSON's own stem; None with a finding."""
        file, stated = document.file, document.image_path
        path = posixpath.normpath(posixpath.join(posixpath.dirname(file), stated)).casefold()
        if stated and path in self.by_path:
            return self.by_path[path]
        named = self.by_name.get(stated.rpartition("/")[2].casefold(), [])
        candidates = named or self.by_stem.get(stem_of(file).casefold(), [])
        if not candidates:
            if document.embedded:
                return document.embedded_name
            findings.append(_no_image(document))
            return None
        best = [candidates[i] for i in best_match(candidates, file)]
        best = [best[i] for i in best_match(best, stated)]
        if len(best) > 1:
            text = f"fits {len(best)} images ('{best[0]}', '{best[1]}'): left out; put it beside its own"
            findings.append(Finding(file, "ambiguous-image", text, True))
            return None
        if stated and not named:
            text = f"states the image '{stated}', which is not in the folder: '{best[0]}' was taken by the JSON's name"
            findings.append(Finding(file, "name-differs", text))
        return best[0]


def _no_image(document: _Document) -> Finding:
    stated = f" '{document.image_path}'" if document.image_path else ""
    text = f"its image{stated} is not in the folder, nor is one of the JSON's name: left out; put it beside the JSON"
    return Finding(document.file, "no-image", text, True)


def _report_unmatched(listing: Listing, matched: dict[str, _Document], findings: list[Finding]) -> None:
    """One finding for each image without a JSON; one for a whole folder of which nothing is annotated."""
    used = {file.rpartition("/")[0] for file in matched}
    idle: Counter[str] = Counter()
    for file in map(str, listing.images()):
        folder = file.rpartition("/")[0]
        if folder not in used:
            idle[folder or "."] += 1
        elif file not in matched:
            text = "an image that no readable LabelMe JSON names: left out; annotate it (no shapes: good)"
            findings.append(Finding(file, "no-annotation", text, True))
    for folder, count in sorted(idle.items()):
        text = f"{count} image files, none with a readable LabelMe JSON: left out"
        findings.append(Finding(folder, "unused-images", text, True))


def _sample(path: Path | EmbeddedImage, image: str, document: _Document, findings: list[Finding]) -> RawSample | None:
    part = part_of_folders(image) or part_of_folders(document.file)
    sample = RawSample(image, path, shapes=[], part=part, stated_size=document.size)
    size = document.size or _size_of(path)
    if size is None or size[0] * size[1] > _MOST_PIXELS:
        return sample  # a broken image, or a stated size that no image has: told and left out when it is opened
    shapes = read_shapes(document.shapes, size)
    findings += [Finding(document.file, *problem) for problem in shapes.problems]
    if shapes.lost and not shapes.objects:
        text = f"no shape in '{document.file}' is usable, so it may be defective: left out; annotate it again"
        findings.append(Finding(image, "nothing-usable", text, True))
        return None
    sample.shapes = shapes.objects
    return sample


def _size_of(path: Path) -> tuple[int, int] | None:
    """(width, height) of the upright image; None where the file is broken."""
    try:
        return read_header(path.read_bytes()).upright_size
    except (OSError, ImageError):
        return None
