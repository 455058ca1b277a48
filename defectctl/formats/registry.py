"""The list of readers, the listing of a raw folder, and which reader understands it."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path, PurePosixPath

from defectctl.errors import InputError, nearest
from defectctl.formats import coco, mask_folders, mask_suffix, voc_boxes, voc_masks
from defectctl.formats.base import Listing, Reader

READERS: dict[str, Reader] = {
    reader.NAME: reader  # a module with the protocol's four names
    for reader in (mask_folders, mask_suffix, voc_boxes, voc_masks, coco)
}
"""Every reader by the name that `--format` takes."""

SURE = 0.3
"""Least score at which a layout counts as recognised."""
EQUAL = 0.02
"""Scores closer than this fit equally well."""
_SKIPPED = {"thumbs.db", "desktop.ini", "__macosx"}


def list_folder(root: Path) -> Listing:
    """List a raw folder once: all files below it, sorted; hidden files and the systems' own litter are left out.

    Links to folders are followed, each folder once.

    Raises:
        InputError: the folder is missing, no folder, unreadable or empty.
    """
    if not root.exists():
        raise InputError(f"there is no folder '{root}'; check the path")
    if not root.is_dir():
        raise InputError(f"'{root}' is a file; give the folder that holds the images (unpack an archive first)")
    files: list[str] = []
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        raise InputError(f"'{error.filename}' cannot be read: {error.strerror or error}") from error

    for folder, folders, names in os.walk(root, followlinks=True, onerror=refuse):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if _wanted(name))
        below = Path(folder).relative_to(root).as_posix()
        prefix = "" if below == "." else below + "/"
        files.extend(prefix + name for name in names if _wanted(name))
    if not files:
        raise InputError(f"the folder '{root}' is empty; give the folder that holds the images and their annotations")
    return Listing(root, [PurePosixPath(file) for file in sorted(files)])


def _wanted(name: str) -> bool:
    return not name.startswith(".") and name.casefold() not in _SKIPPED


def recognise(listing: Listing, format: str | None = None) -> Reader:
    """The reader that understands the folder: the one asked for, else the one that fits best.

    Raises:
        InputError: an unknown name, a folder that no reader understands, or two that fit equally well.
    """
    if format is not None:
        if format not in READERS:
            raise InputError(f"unknown format '{format}'{nearest(format, list(READERS))} (one of {', '.join(READERS)})")
        return READERS[format]
    scores = sorted(((reader.recognise(listing), name) for name, reader in READERS.items()), reverse=True)
    (best, name), (second, other) = scores[:2]
    if best < SURE:
        raise InputError(_nothing_fits(listing))
    if best - second < EQUAL:
        raise InputError(
            f"'{listing.root}' can be read as {name} and as {other} equally well; choose with --format {name} "
            f"or --format {other}"
        )
    return READERS[name]


def _nothing_fits(listing: Listing) -> str:
    endings = Counter(file.suffix.lower() or "no ending" for file in listing.files)
    found = ", ".join(f"{count} {ending}" for ending, count in endings.most_common(5))
    looked = "; ".join(f"{name}: {reader.DESCRIPTION}" for name, reader in READERS.items())
    return (
        f"the layout of '{listing.root}' was not recognised (it holds {found}); looked for {looked}; "
        "point to the folder that holds images and annotations together, or name one with --format"
    )
