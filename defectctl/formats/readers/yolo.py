"""Reader of YOLO's text files: boxes and outlines in fractions of the image, in the usual layouts of folders."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from defectctl.errors import InputError
from defectctl.formats.base import Finding, Listing, RawSample, RawSource, ReadOptions
from defectctl.formats.readers.names import (
    PART_WORDS,
    best_match,
    order_classes,
    set_list_parts,
    settle_parts,
    stem_of,
)
from defectctl.formats.readers.peek import spread
from defectctl.formats.readers.yolo_config import Config, assign_parts, names_files, read_config, yaml_files
from defectctl.formats.readers.yolo_labels import (
    LabelFile,
    check_classes,
    is_rectangle,
    looks_like_labels,
    make_shapes,
    parse_labels,
)
from defectctl.formats.readers.yolo_places import Places, read_text
from defectctl.formats.threads import on_threads
from defectctl.imaging.headers import read_header
from defectctl.imaging.reader import ImageError
from defectctl.messages import progress

NAME = "yolo"
DESCRIPTION = "YOLO (data.yaml, images/ and labels/ with one text file of boxes or outlines for each image)"
SCORE = 0.83
NAMELESS_SCORE = 0.76
"""Where nothing names the classes."""


@dataclass(slots=True)
class _Layout:
    """Which images belong to the set.

    Attributes:
        labels: image -> its label file, or None where it has none.
        findings: what is odd about the folders.
    """

    labels: dict[str, str | None] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def recognise(listing: Listing) -> float:
    """Sure where text files with the stems of images hold rows of fractions, surer where a file names the classes."""
    stems = {stem_of(str(image)).casefold() for image in listing.images()}
    texts = [file for file in _text_files(listing) if stem_of(file).casefold() in stems]
    if not texts:
        return 0.0
    looks = [looks_like_labels(read_text(listing, file)) for file in spread(texts, 8)]
    named = bool(yaml_files(listing) or names_files(listing))
    if named:  # one sound file among broken or empty ones will do, or none but empty ones
        recognised = True in looks or set(looks) == {None}
    else:
        recognised = looks.count(True) > looks.count(False)
    if not recognised:
        return 0.0
    return SCORE if named else NAMELESS_SCORE


def read(listing: Listing, options: ReadOptions) -> RawSource:
    """Read every label file; an image with an empty or missing one is a good part, as the format has it.

    An image of whose lines none is usable is left out: it is not known to be good.

    Raises:
        InputError: nothing names the classes, `data.yaml` is broken, or there are no label files.
    """
    findings: list[Finding] = []
    places = Places(listing)
    config = read_config(listing, places, findings)
    _settle_names(config, listing, options)
    layout = _lay_out(listing, config)
    findings += layout.findings
    samples, found = _read_samples(listing, config, layout, findings)
    parts = assign_parts(config, [sample.id for sample in samples], findings)
    for sample in samples:
        sample.part = parts[sample.id]
    if not config.parts:
        set_list_parts(listing, samples, findings)
    told = f"YOLO labels for the images in {_folders(layout.labels)}, classes named by {_namer(config)}"
    told += settle_parts(samples, findings)
    classes = order_classes(found, options, dict.fromkeys(config.names[number] for number in sorted(config.names)))
    with_regions = any(shape.region for sample in samples for shape in sample.shapes or ())
    return RawSource(
        NAME, told, listing.root, samples, classes, findings=findings, knows_boxes=True, knows_masks=with_regions
    )


def _text_files(listing: Listing) -> list[str]:
    """Text files, without lists of names."""
    other = set(names_files(listing))
    return [str(file) for file in listing.files if file.suffix.lower() == ".txt" and str(file) not in other]


def _settle_names(config: Config, listing: Listing, options: ReadOptions) -> None:
    if config.names:
        return
    if not options.classes:
        raise InputError(
            f"'{listing.root}' names no classes (no data.yaml with 'names', no classes.txt); name them in the order of"
            " their numbers with --classes"
        )
    config.file, config.names = None, dict(enumerate(options.classes))


def _namer(config: Config) -> str:
    return f"'{config.file}'" if config.file else "--classes"


def _folders(images: dict[str, str | None]) -> str:
    names = sorted({posixpath.dirname(image) or "." for image in images})
    return ", ".join(f"'{name}'" for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _lay_out(listing: Listing, config: Config) -> _Layout:
    """Decide folder by folder whether its images are of the set, and where their labels lie."""
    texts = {file.casefold(): file for file in _text_files(listing)}
    stated = {image for images in config.parts.values() for image in images}
    by_folder: dict[str, list[str]] = {}
    for image in map(str, listing.images()):
        by_folder.setdefault(posixpath.dirname(image), []).append(image)
    layout = _Layout()
    direct = {folder: _label_paths(images, texts) for folder, images in by_folder.items()}
    taken = {file for labels in direct.values() for file in labels.values() if file}
    rest = _by_stem(file for file in texts.values() if file not in taken)
    for folder, images in sorted(by_folder.items()):
        labels = direct[folder]
        if not any(labels.values()):
            labels = _labels_elsewhere(images, rest)
        belongs = any(labels.values()) or not stated.isdisjoint(images) or "images" in folder.casefold().split("/")
        if belongs:
            layout.labels.update(labels)
            _report_missing(layout, folder or ".", labels)
        else:
            text = f"{len(images)} image files, none with a label file: left out; put labels beside them if they belong"
            layout.findings.append(Finding(folder or ".", "unused-images", text, True))
    used: dict[str, str] = {}
    for image, file in layout.labels.items():
        if file and used.setdefault(file, image) != image:
            text = f"the image '{image}' has the same label file as '{used[file]}': both were kept"
            layout.findings.append(Finding(file, "shared-label", text))
    if not used:
        raise InputError(f"'{listing.root}' holds no label file of any image (images/1.jpg with labels/1.txt)")
    _report_orphans(listing, layout, set(used), texts)
    return layout


def _label_paths(images: list[str], texts: dict[str, str]) -> dict[str, str | None]:
    """Labels in the folder `labels` that stands where the image has `images` (the last one first), else beside it."""
    result: dict[str, str | None] = {}
    for image in images:
        steps = posixpath.dirname(image).casefold().split("/")
        name = stem_of(image).casefold() + ".txt"
        places = [[*steps[:i], "labels", *steps[i + 1 :]] for i in range(len(steps)) if steps[i] == "images"][::-1]
        found = (texts.get("/".join([*place, name]).lstrip("/")) for place in (*places, steps))
        result[image] = next((file for file in found if file), None)
    return result


def _by_stem(files: Iterable[str]) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for file in files:
        result.setdefault(stem_of(file).casefold(), []).append(file)
    return result


def _labels_elsewhere(images: list[str], by_stem: dict[str, list[str]]) -> dict[str, str | None]:
    """Labels of the images' stems in a folder of another name, where no two fit equally well."""
    result: dict[str, str | None] = {}
    for image in images:
        candidates = by_stem.get(stem_of(image).casefold(), [])
        best = best_match(candidates, image) if candidates else []
        result[image] = candidates[best[0]] if len(best) == 1 else None
    return result


def _report_missing(layout: _Layout, folder: str, labels: dict[str, str | None]) -> None:
    missing = sum(file is None for file in labels.values())
    if missing * 2 > len(labels):
        count = "none" if missing == len(labels) else f"only {len(labels) - missing}"
        text = (
            f"{count} of its {len(labels)} images has a label file; by the rule of the format the others are good"
            f" parts; if they are simply not annotated, leave them out with --exclude"
        )
        layout.findings.append(Finding(folder, "few-labels", text))


def _report_orphans(listing: Listing, layout: _Layout, used: set[str], texts: dict[str, str]) -> None:
    """Label files without an image; other text files (a read-me, lists of names) are passed over."""
    folders = {posixpath.dirname(file) for file in used}
    for file in texts.values():
        folder = posixpath.dirname(file)
        if file in used or (folder not in folders and "labels" not in folder.casefold().split("/")):
            continue
        if looks_like_labels(read_text(listing, file)) or (
            stem_of(file).casefold() not in PART_WORDS and "labels" in folder.casefold().split("/")
        ):
            layout.findings.append(
                Finding(file, "no-image", "a label file with no image of its name: left out; add the image", True)
            )


def _read_samples(
    listing: Listing, config: Config, layout: _Layout, findings: list[Finding]
) -> tuple[list[RawSample], dict[str, str]]:
    """Samples in order of their ids, and class name -> a label file that uses it."""
    parsed: dict[str, LabelFile] = {}
    for image, file in layout.labels.items():
        if file is not None:
            text = read_text(listing, file)
            parsed[image] = parse_labels(file, text, config.key_points)
            check_classes(parsed[image], config.names, _namer(config))
    sizes = _sizes(listing.root, [image for image, labels in parsed.items() if labels.lines])
    samples: list[RawSample] = []
    found: dict[str, str] = {}
    for image in sorted(layout.labels):
        sample = RawSample(image, listing.root / image, shapes=[])
        if image in parsed:
            labels, size = parsed[image], sizes.get(image)
            # A broken image has no size; that is told, and the image left out, when it is opened.
            sample.shapes = make_shapes(labels, config.names, size) if size else []
            findings += labels.findings()
            if labels.lost and not sample.shapes and (size or not labels.lines):
                text = f"no line of '{labels.file}' is usable, so it may be defective: left out; annotate it again"
                findings.append(Finding(image, "nothing-usable", text, True))
                continue
            for shape in sample.shapes:
                found.setdefault(shape.class_name, labels.file)
        samples.append(sample)
    _report_kinds(config, samples, findings)
    return samples, found


def _sizes(root: Path, images: list[str]) -> dict[str, tuple[int, int] | None]:
    """(width, height) of the upright images; None where a file is broken."""

    def size_of(image: str) -> tuple[int, int] | None:
        try:
            return read_header((root / image).read_bytes()).upright_size
        except (OSError, ImageError):
            return None

    with closing(on_threads(size_of, images)) as results:
        return dict(progress(results, len(images), "sizes", "image"))


def _report_kinds(config: Config, samples: list[RawSample], findings: list[Finding]) -> None:
    """Tell what a look at single lines cannot: boxes among outlines, outlines that are boxes, key points."""
    kinds: Counter[str] = Counter()
    for sample in samples:
        for shape in sample.shapes or ():
            kinds["box" if shape.region is None else "outline"] += 1
            kinds["rectangle"] += shape.region is not None and is_rectangle(shape.region)
    if kinds["box"] and kinds["outline"]:
        text = (
            f"{kinds['box']} boxes beside {kinds['outline']} outlines: in an image with a box of a class the mask does"
            " not speak of that class"
        )
        findings.append(Finding(".", "mixed-labels", text))
    if kinds["outline"] and kinds["rectangle"] == kinds["outline"]:
        text = (
            f"all {kinds['outline']} outlines are rectangles, as of oriented boxes or of boxes written as outlines;"
            " the masks are filled with them"
        )
        findings.append(Finding(".", "only-rectangles", text))
    if config.key_points:
        findings.append(
            Finding(config.file or ".", "key-points", "key points (kpt_shape) are passed over; the boxes are taken")
        )
