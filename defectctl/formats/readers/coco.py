"""Reader of COCO instances: any JSON with images, annotations and categories, wherever it lies."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from defectctl.errors import InputError
from defectctl.formats.base import Finding, Listing, RawSample, RawSource, ReadOptions
from defectctl.formats.readers.coco_names import ImageNames
from defectctl.formats.readers.coco_shapes import shape_of
from defectctl.formats.readers.names import (
    Spelling,
    decode_text,
    is_whole,
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
    names: ImageNames
    samples: dict[str, RawSample] = field(default_factory=dict)
    stated_by: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    categories: dict[str, set[str]] = field(default_factory=dict)
    spelling: Spelling = field(default_factory=Spelling)
    listed: tuple[str, set[str]] | None = None
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
    reading = _Reading(listing, ImageNames.of(listing), spelling=Spelling(options.classes))
    documents = _documents(reading)
    if not documents:
        broken = f" ({reading.findings[0].file}: {reading.findings[0].text})" if reading.findings else ""
        raise InputError(
            f"'{listing.root}' holds no JSON with images, annotations and categories{broken};"
            " give the folder that holds the COCO file and its images"
        )
    for file in sorted(documents, key=lambda f: (_part(f) is None, f)):
        _read_document(reading, file, documents[file])
    for image in listing.images():
        if str(image) not in reading.samples:
            reading.note(str(image), "no-annotation", "an image that no COCO file names: left out; name it there")
    samples = [reading.samples[id] for id in sorted(reading.samples) if _usable(reading, id)]
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


def _usable(reading: _Reading, id: str) -> bool:
    """Whether the image is known to be good or has a usable annotation; else a finding says that it is left out."""
    if id not in reading.lost or reading.samples[id].shapes:
        return True
    text = "no annotation of it is usable, so that it may be defective: left out; annotate it again"
    reading.note(id, "nothing-usable", text)
    return False


def _documents(reading: _Reading) -> dict[str, dict[str, list]]:
    documents = {}
    for file in _json_files(reading.listing):
        data = (reading.listing.root / file).read_bytes()
        if b'"images"' not in data:
            continue  # of another tool
        try:
            content = json.loads(decode_text(data))
        except (ValueError, RecursionError) as error:
            reading.note(file, "unreadable", f"not valid JSON ({error}): left out; export it again")
            continue
        if not isinstance(content, dict) or not all(key in content for key in KEYS):
            continue
        for key in KEYS:
            if not isinstance(content[key], list) or not all(isinstance(item, dict) for item in content[key]):
                raise InputError(f"'{file}' is no valid COCO file: '{key}' must be a list of objects; export it again")
        documents[file] = content
    return documents


def _part(file: str) -> str | None:
    return part_of_name(stem_of(file)) or part_of_folders(file)


def _read_document(reading: _Reading, file: str, content: dict[str, list]) -> None:
    images = _read_images(reading, file, content["images"])
    if images and not any(images.values()):
        return  # nothing of it is used, so its categories are not either
    names = _read_categories(reading, file, content["categories"])
    seen: set[Any] = set()
    counts: Counter[str] = Counter()
    for item in content["annotations"]:
        where = f"annotation {item.get('id')}"
        key = item.get("id")
        if key is not None and _id_of(key) in seen:
            reading.note(file, "duplicate-id", f"{where} occurs twice: both were kept; give each its own id", False)
        seen.add(_id_of(key))
        owner, category = _id_of(item.get("image_id")), _id_of(item.get("category_id"))
        if owner not in images:
            text = f"{where} is for image {owner}, which the file does not list: left out; list the image"
            reading.note(file, "no-image", text)
            continue
        sample = images[owner]
        if sample is None:
            continue  # its image has a finding of its own
        if category not in names:
            text = f"{where} is of the unlisted category {category}: left out; list the category"
            reading.note(file, "no-category", text)
            reading.lost.add(sample.id)
            continue
        if _is_background(names[category]):
            counts["background"] += 1
            continue
        shape, problems = shape_of(item, names[category], sample.stated_size)
        for problem, text in problems:
            reading.note(file, problem, f"{where} of '{sample.id}': {text}", shape is None)
        if shape is None:
            reading.lost.add(sample.id)
        else:
            counts["brush"] += bool(item.get("iscrowd")) and not shape.crowd and "attributes" in item
            sample.shapes.append(shape)
            reading.counts[shape.class_name] += 1
            reading.example.setdefault(shape.class_name, file)
    _tell_counts(reading, file, counts)


def _tell_counts(reading: _Reading, file: str, counts: Counter[str]) -> None:
    if counts["background"]:
        text = f"{counts['background']} annotations of a class called background: left out; rename it if it is a defect"
        reading.note(file, "background", text)
    if counts["brush"]:
        text = f"{counts['brush']} masks drawn in CVAT say iscrowd=1, as all its masks do: taken as single objects"
        reading.note(file, "crowd-flag", text, False)


def _is_background(name: str) -> bool:
    return name.casefold().strip("_") == "background"


def _id_of(value: Any) -> Any:
    """An id to look up: whole numbers are the same as text (`"7"`) or as a float (`7.0`)."""
    if isinstance(value, str) and is_whole(value.strip()):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, (int, str)) else repr(value)


def _read_categories(reading: _Reading, file: str, categories: list[dict[str, Any]]) -> dict[Any, str]:
    names: dict[Any, str] = {}
    for item in categories:
        key, name = _id_of(item.get("id")), str(item.get("name") or "").strip()
        if not name:
            text = f"category {key} has no name: its annotations are left out; name it"
            reading.note(file, "no-name", text)
            continue
        name = reading.spelling.take(name, file, reading.findings)
        if names.get(key, name) != name:
            raise InputError(f"'{file}' gives category {key} two names, '{names[key]}' and '{name}'; correct the file")
        if name in names.values() and key not in names:
            reading.note(file, "duplicate-category", f"category '{name}' has several ids: taken as one class", False)
        names[key] = name
        reading.categories.setdefault(name, set()).add(str(item.get("supercategory") or ""))
    own = set(names.values())
    if reading.listed and own != reading.listed[1]:
        mine, theirs = (", ".join(sorted(classes)) or "none" for classes in (own, reading.listed[1]))
        text = f"lists the classes {mine}, '{reading.listed[0]}' lists {theirs}: united by their names"
        reading.note(file, "classes-differ", text, False)
    reading.listed = reading.listed or (file, own)
    return names


def _read_images(reading: _Reading, file: str, images: list[dict[str, Any]]) -> dict[Any, RawSample | None]:
    """Image id -> sample; None where the image is left out, which a finding tells."""
    result: dict[Any, RawSample | None] = {}
    again: dict[str, list[str]] = {}
    for item in images:
        key, name = _id_of(item.get("id")), str(item.get("file_name") or "")
        if key in result:
            text = f"image id {key} occurs again for '{name}': the first was kept; give each image its own id"
            reading.note(file, "duplicate-id", text)
            continue
        result[key] = None
        path = _find(reading, file, name)
        if path is None:
            continue
        if path in reading.samples:
            again.setdefault(reading.stated_by[path], []).append(path)
            continue
        width, height = item.get("width"), item.get("height")
        size = (int(width), int(height)) if _positive(width) and _positive(height) else None
        part = part_of_name(stem_of(file)) or part_of_folders(path) or part_of_folders(file)
        result[key] = RawSample(path, reading.listing.root / path, shapes=[], part=part, stated_size=size)
        reading.samples[path] = result[key]
        reading.stated_by[path] = file
    for other, paths in again.items():
        what = f"'{paths[0]}'" if len(paths) == 1 else f"{len(paths)} images ('{paths[0]}', …)"
        text = f"names {what}, which '{other}' has named already: the first annotations were kept; keep one of the two"
        reading.note(file, "duplicate-image", text)
    return result


def _find(reading: _Reading, file: str, name: str) -> str | None:
    found = reading.names.find(name, file)
    if len(found) == 1:
        return found[0]
    if not found:
        text = f"names the image '{name}', which is not in the folder: left out; add the image"
        reading.note(file, "no-image", text)
    else:
        text = f"'{name}' may be '{found[0]}' or '{found[1]}': left out; write the folder into its file_name"
        reading.note(file, "ambiguous-image", text)
    return None


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 < value < 1 << 31


def _used_categories(reading: _Reading) -> list[str]:
    """Categories in the files' order, without unused super-categories and without the background."""
    kept = []
    for name in reading.categories:
        parents_of_others = set().union(*(p for other, p in reading.categories.items() if other != name))
        if _is_background(name):
            text = f"category '{name}' stands for the background: no class"
        elif reading.counts[name] == 0 and name in parents_of_others:
            text = f"category '{name}' has no annotation and is only the super-category of others: no class"
        else:
            kept.append(name)
            continue
        reading.note(".", "no-class", text, False)
    return kept
