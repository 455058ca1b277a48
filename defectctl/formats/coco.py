"""Reader of COCO instances: any JSON with images, annotations and categories, wherever it lies."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from defectctl.errors import InputError
from defectctl.formats.base import Finding, Listing, RawSample, RawSource, ReadOptions
from defectctl.formats.coco_shapes import shape_of
from defectctl.formats.names import (
    best_match,
    decode_text,
    order_classes,
    part_of_folders,
    part_of_name,
    settle_parts,
    stem_of,
)

NAME = "coco"
DESCRIPTION = "COCO instances (a JSON with images, annotations and categories; polygons, run-lengths or boxes)"
SCORE = 0.98
KEYS = ("images", "annotations", "categories")
_MOST_LOOKS = 32


@dataclass(slots=True)
class _Reading:
    """What is gathered over all JSON files of a folder."""

    listing: Listing
    by_name: dict[str, list[str]]
    samples: dict[str, RawSample] = field(default_factory=dict)
    stated_by: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    categories: dict[str, set[str]] = field(default_factory=dict)
    counts: Counter = field(default_factory=Counter)
    example: dict[str, str] = field(default_factory=dict)

    def note(self, file: str, problem: str, text: str, dropped: bool = True) -> None:
        """Add a finding."""
        self.findings.append(Finding(file, problem, text, dropped))


def recognise(listing: Listing) -> float:
    """Sure where there are images and a JSON that speaks of images, annotations and categories."""
    if not listing.images():
        return 0.0
    return SCORE if any(_speaks(listing, file) for file in _json_files(listing)[:_MOST_LOOKS]) else 0.0


def _json_files(listing: Listing) -> list[str]:
    """JSON files, largest first: annotations are large, and there may be thousands of small files of other tools."""
    files = [str(file) for file in listing.files if file.suffix.lower() == ".json"]
    sizes = {file: (listing.root / file).stat().st_size for file in files}
    return sorted(files, key=lambda file: (-sizes[file], file))


def _speaks(listing: Listing, file: str) -> bool:
    data = (listing.root / file).read_bytes()
    return all(f'"{key}"'.encode() in data for key in KEYS)


def read(listing: Listing, options: ReadOptions) -> RawSource:
    """Read every COCO JSON; an image belongs to the first that names it, those of official parts first.

    Raises:
        InputError: there is no COCO JSON, or its lists are of a wrong form.
    """
    by_name: dict[str, list[str]] = {}
    for image in listing.images():
        by_name.setdefault(image.name.casefold(), []).append(str(image))
    reading = _Reading(listing, by_name)
    documents = _documents(reading)
    if not documents:
        broken = f" ({reading.findings[0].file}: {reading.findings[0].text})" if reading.findings else ""
        raise InputError(f"'{listing.root}' holds no JSON with images, annotations and categories{broken}")
    for file in sorted(documents, key=lambda f: (_part(f) is None, f)):
        _read_document(reading, file, documents[file])
    for image in listing.images():
        if str(image) not in reading.samples:
            reading.note(str(image), "no-annotation", "an image that no COCO file names: left out")
    samples = [reading.samples[id] for id in sorted(reading.samples)]
    names = ", ".join(f"'{file}'" for file in sorted(documents)[:3]) + (", …" if len(documents) > 3 else "")
    layout = f"COCO annotations in {names}" + settle_parts(samples, reading.findings)
    classes = order_classes(reading.example, options, _used_categories(reading))
    with_regions = any(shape.region for sample in samples for shape in sample.shapes or ())
    return RawSource(
        NAME,
        layout,
        listing.root,
        samples,
        classes,
        findings=reading.findings,
        knows_boxes=True,
        knows_masks=with_regions,
    )


def _documents(reading: _Reading) -> dict[str, dict[str, list]]:
    documents = {}
    for file in _json_files(reading.listing):
        data = (reading.listing.root / file).read_bytes()
        if b'"images"' not in data:
            continue  # of another tool
        try:
            content = json.loads(decode_text(data))
        except ValueError as error:
            reading.note(file, "unreadable", f"not valid JSON ({error}): left out")
            continue
        if not isinstance(content, dict) or not all(key in content for key in KEYS):
            continue
        for key in KEYS:
            if not isinstance(content[key], list) or not all(isinstance(item, dict) for item in content[key]):
                raise InputError(f"'{file}' is no valid COCO file: '{key}' must be a list of objects")
        documents[file] = content
    return documents


def _part(file: str) -> str | None:
    return part_of_name(stem_of(file)) or part_of_folders(file)


def _read_document(reading: _Reading, file: str, content: dict[str, list]) -> None:
    names = _read_categories(reading, file, content["categories"])
    images = _read_images(reading, file, content["images"])
    seen: set[Any] = set()
    for item in content["annotations"]:
        where = f"annotation {item.get('id')}"
        key = item.get("id")
        if key is not None and _hashable(key) in seen:
            reading.note(file, "duplicate-id", f"{where} occurs twice: both were kept", False)
        seen.add(_hashable(key))
        owner, category = _hashable(item.get("image_id")), _hashable(item.get("category_id"))
        if owner not in images:
            reading.note(file, "no-image", f"{where} is for image {owner}, which the file does not list: left out")
            continue
        sample = images[owner]
        if sample is None:
            continue  # its image has a finding of its own
        if category not in names:
            reading.note(file, "no-category", f"{where} is of the unlisted category {category}: left out")
            continue
        shape, problems = shape_of(item, names[category], sample.stated_size)
        for problem, text in problems:
            reading.note(file, problem, f"{where} of '{sample.id}': {text}", shape is None)
        if shape is not None:
            sample.shapes.append(shape)
            reading.counts[shape.class_name] += 1
            reading.example.setdefault(shape.class_name, file)


def _hashable(value: Any) -> Any:
    return value if isinstance(value, (int, str)) else repr(value)


def _read_categories(reading: _Reading, file: str, categories: list[dict[str, Any]]) -> dict[Any, str]:
    names: dict[Any, str] = {}
    for item in categories:
        key, name = _hashable(item.get("id")), str(item.get("name") or "").strip()
        if not name:
            reading.note(file, "no-name", f"category {key} has no name: its annotations are left out")
            continue
        if names.get(key, name) != name:
            raise InputError(f"'{file}' gives category {key} two names, '{names[key]}' and '{name}'; correct the file")
        if name in names.values() and key not in names:
            reading.note(file, "duplicate-category", f"category '{name}' has several ids: taken as one class", False)
        names[key] = name
        reading.categories.setdefault(name, set()).add(str(item.get("supercategory") or ""))
    return names


def _read_images(reading: _Reading, file: str, images: list[dict[str, Any]]) -> dict[Any, RawSample | None]:
    """Image id -> sample; None where the image is left out, which a finding tells."""
    result: dict[Any, RawSample | None] = {}
    for item in images:
        key, name = _hashable(item.get("id")), str(item.get("file_name") or "")
        if key in result:
            reading.note(file, "duplicate-id", f"image id {key} occurs again for '{name}': the first was kept")
            continue
        result[key] = None
        path = _find(reading, file, name)
        if path is None:
            continue
        if path in reading.samples:
            text = f"names '{path}', which '{reading.stated_by[path]}' has named already: the first was kept"
            reading.note(file, "duplicate-image", text)
            continue
        width, height = item.get("width"), item.get("height")
        size = (int(width), int(height)) if _positive(width) and _positive(height) else None
        part = part_of_name(stem_of(file)) or part_of_folders(path) or part_of_folders(file)
        result[key] = RawSample(path, reading.listing.root / path, shapes=[], part=part, stated_size=size)
        reading.samples[path] = result[key]
        reading.stated_by[path] = file
    return result


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and value > 0


def _find(reading: _Reading, file: str, name: str) -> str | None:
    """The image file that a `file_name` means: the one whose path ends like it and that lies nearest to the JSON."""
    wanted = name.replace("\\", "/").removeprefix("./").casefold()
    candidates = reading.by_name.get(wanted.rpartition("/")[2], [])
    if not candidates:
        reading.note(file, "no-image", f"names the image '{name}', which is not in the folder: left out")
        return None
    folder = file.casefold().rpartition("/")[0]
    beside = f"{folder}/{wanted}" if folder else wanted
    exact = [c for c in candidates if c.casefold() == beside] or [c for c in candidates if c.casefold() == wanted]
    tails = [_shared_tail(c.casefold(), wanted) for c in candidates]
    best = exact or [c for c, tail in zip(candidates, tails, strict=True) if tail == max(tails)]
    best = [best[i] for i in best_match(best, file)]
    if len(best) > 1:
        reading.note(file, "ambiguous-image", f"'{name}' may be '{best[0]}' or '{best[1]}': left out")
        return None
    return best[0]


def _shared_tail(path: str, wanted: str) -> int:
    shared = 0
    for a, b in zip(reversed(path.split("/")), reversed(wanted.split("/")), strict=False):
        if a != b:
            break
        shared += 1
    return shared


def _used_categories(reading: _Reading) -> list[str]:
    """Categories in the files' order, without unused super-categories and an unused background."""
    kept = []
    for name in reading.categories:
        children = [other for other, parents in reading.categories.items() if other != name and name in parents]
        others = len(reading.categories) - 1
        if reading.counts[name] == 0 and children and len(children) == others:
            text = f"category '{name}' has no annotation and is only the super-category of the others: no class"
        elif reading.counts[name] == 0 and name.casefold().strip("_") == "background":
            text = f"category '{name}' has no annotation and stands for the background: no class"
        else:
            kept.append(name)
            continue
        reading.note(".", "no-class", text, False)
    return kept
