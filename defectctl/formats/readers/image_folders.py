"""Reader of folders that sort whole images: good against defective parts, or one folder for each class."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

from defectctl.errors import InputError
from defectctl.formats.base import Finding, Listing, RawSample, RawSource, ReadOptions
from defectctl.formats.readers.finer_truth import BESIDE_FINER_TRUTH, holds_finer_truth
from defectctl.formats.readers.label_words import DEFECTIVE, GOOD, Spelling, meaning, settle_classes, told_labels
from defectctl.formats.readers.names import (
    IMAGE_HINT,
    MASK_HINT,
    SECOND_HINT,
    part_of_name,
    set_list_parts,
    settle_parts,
)

NAME = "image-folders"
DESCRIPTION = "images sorted into folders by their label (good and bad, or good, scratch, dent), without masks or boxes"
SCORE = 0.8
UNSURE = 0.2
"""Score of folders that may be classes but have no folder of good parts: `--format` has to say so."""
_UNLABELLED = ("unknown", "unlabelled", "unlabeled", "unsorted")

Folders = tuple[str, ...]


def recognise(listing: Listing) -> float:
    """Sure where a folder of good parts has sisters that name defects and nothing else annotates the images."""
    files = [str(file) for file in listing.images()]
    containers = _containers(files)
    labels = {label for file in files if (label := _label_folder(file, containers))}
    if len(labels) < 2:
        return 0.0
    goods = {label for label in labels if meaning(label) == GOOD}
    others = [label for label in labels - goods if not _is_technical(label)]
    score = SCORE if goods and others else UNSURE if len(others) > 1 else 0.0
    return score * BESIDE_FINER_TRUTH if score and holds_finer_truth(listing) else score


def read(listing: Listing, options: ReadOptions) -> RawSource:
    """Take every image's label from its folder; nothing is known of masks and boxes.

    The labels are the folders beside those that say good or defective (below official parts or not); where none
    says so, those below the folder that holds all images. Only good and defective makes one class, `defect`.

    Raises:
        InputError: the images lie in one folder only.
    """
    files = [str(file) for file in listing.images()]
    containers = _containers(files)
    findings: list[Finding] = []
    samples: list[RawSample] = []
    spelling = Spelling(options)
    outside: Counter[str] = Counter()
    for file in files:
        folder = _label_folder(file, containers)
        if folder is None or folder.casefold() in _UNLABELLED:
            outside[file.rpartition("/")[0] or "."] += 1
            continue
        label = meaning(folder) or spelling(folder)
        samples.append(RawSample(file, listing.root / file, label=label, part=_part(file)))
    if len({_label_folder(sample.id, containers) for sample in samples}) < 2:
        raise InputError(
            f"the images of '{listing.root}' are not sorted into folders by their label (good/1.jpg, bad/2.jpg or"
            " good/1.jpg, scratch/2.jpg); choose another --format"
        )
    findings += [
        Finding(folder, "no-label", f"{count} image files in no folder that names a label: left out", True)
        for folder, count in sorted(outside.items())
    ]
    set_list_parts(listing, samples, findings)
    classes = settle_classes(samples, options)
    layout = f"image labels from folders ({told_labels(samples)})" + settle_parts(samples, findings)
    return RawSource(NAME, layout, listing.root, samples, classes, findings=findings)


@lru_cache(4096)
def _folders(folder: str) -> Folders:
    """The names in a folder's path without those of official parts."""
    return tuple(name for name in folder.split("/") if name and _part_of(name) is None)


def _part_of(folder: str) -> str | None:
    return part_of_name(folder) if meaning(folder) is None else None


def _part(file: str) -> str | None:
    return next((part for folder in file.split("/")[:-1] if (part := _part_of(folder))), None)


def _containers(files: list[str]) -> set[Folders]:
    """Folders whose sub-folders are labels: those with one that says good, or defective; else the deepest of all."""
    paths = {_folders(folder) for folder in {file.rpartition("/")[0] for file in files}}
    for wanted in (GOOD, DEFECTIVE):
        found = {path[:i] for path in paths for i, folder in enumerate(path) if meaning(folder) == wanted}
        if found:
            return found
    if not paths:
        return set()
    first, last = min(paths), max(paths)
    shared = next((i for i, name in enumerate(first) if last[i : i + 1] != (name,)), len(first))
    return {first[:shared]}


def _label_folder(file: str, containers: set[Folders]) -> str | None:
    """The folder that names an image's label: the one below the outermost container around it."""
    path = _folders(file.rpartition("/")[0])
    return next((folder for i, folder in enumerate(path) if path[:i] in containers), None)


def _is_technical(folder: str) -> bool:
    """Whether a folder says what kind of files it holds, not what is on them."""
    if meaning(folder) is not None:
        return False
    return bool(IMAGE_HINT.search(folder) or MASK_HINT.search(folder) or SECOND_HINT.search(folder))
