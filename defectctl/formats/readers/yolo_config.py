"""What a YOLO data set says of itself: class names and official parts in `data.yaml`, or names in `classes.txt`."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import Any

import yaml

from defectctl.errors import InputError
from defectctl.formats.base import Finding, Listing
from defectctl.formats.readers.names import is_whole, part_of_folders
from defectctl.formats.readers.yolo_places import Places, read_text

_PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_NAMES_FILES = ("classes.txt", "obj.names", "classes.names", "data.names")


@dataclass(slots=True)
class Config:
    """What is known of a set as a whole.

    Attributes:
        file: the file that names the classes, or None.
        names: class number -> name.
        parts: official part -> images, as the file states them; empty where it states none.
        key_points: whether lines hold key points after the box.
    """

    file: str | None = None
    names: dict[int, str] = field(default_factory=dict)
    parts: dict[str, list[str]] = field(default_factory=dict)
    key_points: bool = False


def yaml_files(listing: Listing) -> list[str]:
    """YAML files that name classes; `data.yaml` and the shallowest first."""
    files = [str(file) for file in listing.files if file.suffix.lower() in (".yaml", ".yml")]
    files = [file for file in files if _names_classes(read_text(listing, file))]
    return sorted(files, key=lambda f: (f.count("/"), posixpath.basename(f).casefold() != "data.yaml", f))


def _names_classes(text: str) -> bool:
    return any(line.startswith(("names:", "names :")) for line in text.splitlines())


def names_files(listing: Listing) -> list[str]:
    """Text files that hold one class name a line."""
    return [str(file) for file in listing.files if file.name.casefold() in _NAMES_FILES]


def read_config(listing: Listing, places: Places, findings: list[Finding]) -> Config:
    """Read the first `data.yaml`; where it names no class, or there is none, the names come from `classes.txt`.

    Raises:
        InputError: a file is broken, or two lists of names contradict.
    """
    config = Config()
    for file in yaml_files(listing):
        content = _load(listing, file)
        names = _names(content.get("names"), file, findings)
        if config.file is None:
            config.file, config.names = file, names
            config.key_points = bool(content.get("kpt_shape"))
            config.parts = _parts(listing, places, file, content, findings)
            _check_count(content.get("nc"), names, file, findings)
        elif names != config.names:
            text = f"names other classes than '{config.file}', which was taken"
            findings.append(Finding(file, "second-config", text))
    if not config.names:
        file, names = _listed_names(listing)
        config.file, config.names = file or config.file, names
    return config


def _load(listing: Listing, file: str) -> dict[str, Any]:
    text = read_text(listing, file)
    try:
        content = yaml.load(text, Loader=yaml.BaseLoader)  # all scalars are text: a class may be called `no` or `1e3`
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "it cannot be parsed"
        raise InputError(f"'{file}' is not valid YAML{where} ({reason}); correct the file") from error
    if not isinstance(content, dict):
        raise InputError(f"'{file}' is no data set description of YOLO; it must hold 'names:' and 'train:'")
    return content


def _names(value: Any, file: str, findings: list[Finding]) -> dict[int, str]:
    if isinstance(value, list):
        pairs = list(enumerate(value))
    elif isinstance(value, dict):
        wrong = [key for key in value if not is_whole(str(key).strip())]
        if wrong:
            raise InputError(f"'{file}' numbers a class '{wrong[0]}'; 'names' must be a list or go by number")
        pairs = [(int(key), name) for key, name in value.items()]
    elif value:
        raise InputError(f"'{file}' holds 'names' that are neither a list nor go by number; correct the file")
    else:
        return {}
    names: dict[int, str] = {}
    for number, name in sorted(pairs, key=lambda pair: pair[0]):
        text = name.strip() if isinstance(name, str) else ""
        if not text:
            findings.append(
                Finding(file, "no-name", f"class {number} has no name: its annotations are left out; name it", True)
            )
            continue
        if text in names.values():
            told = f"class '{text}' has several numbers: taken as one class"
            findings.append(Finding(file, "duplicate-category", told))
        names[number] = text
    return names


def _check_count(stated: Any, names: dict[int, str], file: str, findings: list[Finding]) -> None:
    if isinstance(stated, str) and is_whole(stated.strip()) and names and int(stated) != len(names):
        text = f"says {stated.strip()} classes (nc) but names {len(names)}: the names count"
        findings.append(Finding(file, "class-count", text))


def _listed_names(listing: Listing) -> tuple[str | None, dict[int, str]]:
    """Names one a line; of several lists the longest, if the others are its beginning (tools add to it as they go)."""
    lists: dict[str, list[str]] = {}
    for file in names_files(listing):
        lines = [line.strip() for line in read_text(listing, file).splitlines()]
        lists[file] = lines[: max((i for i, line in enumerate(lines, 1) if line), default=0)]
    if not lists:
        return None, {}
    file = max(lists, key=lambda f: len(lists[f]))
    for other, lines in lists.items():
        if lines != lists[file][: len(lines)]:
            raise InputError(f"'{file}' and '{other}' name different classes; keep the one that counts")
    return file, {number: name for number, name in enumerate(lists[file]) if name}


def _parts(
    listing: Listing, places: Places, file: str, content: dict[str, Any], findings: list[Finding]
) -> dict[str, list[str]]:
    """Official part -> its images, from folders, lists of folders, and text files of image paths."""
    folder = posixpath.dirname(file)
    path = content.get("path")
    bases = [places.join(folder, path)] if isinstance(path, str) and path.strip() else []
    bases.append(folder)
    parts: dict[str, list[str]] = {}
    for key, part in _PARTS.items():
        value = content.get(key)
        for entry in value if isinstance(value, list) else [value]:
            if not isinstance(entry, str) or not entry.strip():
                continue
            images = _images_of(listing, places, bases, entry.strip(), findings)
            if images is None:
                text = f"gives '{entry}' as {key}, which is not below the folder: passed over; correct it"
                findings.append(Finding(file, "no-folder", text))
            else:
                parts.setdefault(part, []).extend(images)
    return parts


def _images_of(
    listing: Listing, places: Places, bases: list[str], entry: str, findings: list[Finding]
) -> list[str] | None:
    """The images that a part's entry means; None where there is no such folder or list."""
    if not entry.casefold().endswith(".txt"):
        folder = places.folder(entry, bases)
        return None if folder is None else places.below(folder)
    file = places.file(entry, bases)
    if file is None:
        return None
    images, missing = [], []
    for line in read_text(listing, file).splitlines():
        if line.strip():
            image = places.image(line.strip().strip('"'), [posixpath.dirname(file), *bases])
            (missing if image is None else images).append(image or line.strip())
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        text = (
            f"lists '{missing[0]}'{more}, which are not among the images of the folder: passed over; add or unlist them"
        )
        findings.append(Finding(file, "no-image", text, True))
    return images


def assign_parts(config: Config, images: list[str], findings: list[Finding]) -> dict[str, str | None]:
    """Image -> official part, from `data.yaml`, and from folder names for parts of which that says nothing.

    An image in several parts stays in the first of test, val, train.
    """
    stated: dict[str, str] = {}
    torn: dict[tuple[str, str], int] = {}
    for part in ("test", "val", "train"):
        for image in dict.fromkeys(config.parts.get(part, ())):
            kept = stated.setdefault(image, part)
            if kept != part:
                torn[part, kept] = torn.get((part, kept), 0) + 1
    for (part, kept), count in torn.items():
        text = f"puts {count} images into {part} and into {kept}: kept in {kept}"
        findings.append(Finding(config.file or ".", "in-two-parts", text))
    folders = {image: part_of_folders(image) for image in images}
    return {
        image: stated.get(image) or (None if folders[image] in config.parts else folders[image]) for image in images
    }
