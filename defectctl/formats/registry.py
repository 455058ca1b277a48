"""The list of readers, the listing of a raw folder, and which reader understands it."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from defectctl.errors import InputError, nearest
from defectctl.formats.base import Finding, Listing, Reader
from defectctl.formats.readers import (
    coco,
    image_folders,
    label_table,
    labelme,
    mask_folders,
    mask_suffix,
    mvtec,
    rle_csv,
    voc_boxes,
    voc_masks,
    yolo,
)

READERS: dict[str, Reader] = {
    reader.NAME: reader  # a module with the protocol's four names
    for reader in (
        mask_folders,
        mask_suffix,
        voc_boxes,
        voc_masks,
        coco,
        labelme,
        yolo,
        mvtec,
        image_folders,
        label_table,
        rle_csv,
    )
}
"""Every reader by the name that `--format` takes."""

SURE = 0.3
"""Least score at which a layout counts as recognised."""
EQUAL = 0.02
"""Scores closer than this fit equally well."""
_ARCHIVES = {".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz"}
_SKIPPED = {"thumbs.db", "desktop.ini", "__macosx"}


@dataclass(slots=True)
class Listed(Listing):
    """A listing with what was left out of it.

    Attributes:
        findings: links that lead out of the folder or nowhere, and archives.
    """

    findings: list[Finding] = field(default_factory=list)


def list_folder(root: Path) -> Listed:
    """List a raw folder once: all files below it, sorted; hidden files and the systems' own litter are left out.

    A link to a folder inside is followed only where that folder is not listed anyway, a link to a file inside always;
    links that lead out of the folder are findings and left out.

    Raises:
        InputError: the folder is missing, no folder, unreadable or empty.
    """
    if not root.exists():
        raise InputError(f"there is no folder '{root}'; check the path")
    if not root.is_dir():
        raise InputError(f"'{root}' is a file; give the folder that holds the images (an archive: unpack it first)")
    listed = Listed(root, [])
    files: list[str] = []
    links = _walk(listed, root, "", files, seen := set())
    while links:  # of folders whose own place is not listed (hidden ones, say); they may hold further links
        path, below = links.pop(0)
        if os.path.realpath(path) not in seen:
            links += _walk(listed, Path(path), below + "/", files, seen)
    if not files and not listed.findings:
        raise InputError(f"the folder '{root}' is empty; give the folder that holds the images and their annotations")
    listed.files = [PurePosixPath(file) for file in sorted(files)]
    listed.findings += [
        Finding(str(file), "archive", "an archive, which is not looked into: left out; unpack it first", True)
        for file in listed.files
        if file.suffix.lower() in _ARCHIVES
    ]
    return listed


def _walk(listed: Listed, top: Path, prefix: str, files: list[str], seen: set[str]) -> list[tuple[str, str]]:
    """Add the files below a folder, not following links to folders; returns those that lead to inside the root."""
    links: list[tuple[str, str]] = []

    def refuse(error: OSError) -> None:
        raise InputError(f"'{error.filename}' cannot be read: {error.strerror or error}") from error

    for folder, folders, names in os.walk(top, onerror=refuse):
        seen.add(os.path.realpath(folder))
        below = Path(folder).relative_to(top).as_posix()
        here = prefix + ("" if below == "." else below + "/")
        for name in sorted(name for name in folders if _wanted(name) and _is_link(os.path.join(folder, name))):
            if _leads_inside(listed, os.path.join(folder, name), here + name):
                links.append((os.path.join(folder, name), here + name))
        # A folder that was reached by a link is not walked again, nor is one that the system calls a link.
        folders[:] = sorted(
            name
            for name in folders
            if _wanted(name) and not _is_link(path := os.path.join(folder, name)) and os.path.realpath(path) not in seen
        )
        for name in filter(_wanted, names):
            path = os.path.join(folder, name)
            if (shown := _shown(here + name)) != here + name:
                text = "its name is no valid text on this system: left out; rename it"
                listed.findings.append(Finding(shown, "odd-name", text, True))
            elif not os.path.islink(path) or _leads_inside(listed, path, here + name):
                files.append(here + name)
    return links


def _shown(name: str) -> str:
    """A name as it can be printed and stored: bytes that are no text (an old archive's umlauts) with escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _is_link(path: str) -> bool:
    is_junction = getattr(os.path, "isjunction", None)  # Windows, Python 3.12
    return os.path.islink(path) or (is_junction is not None and is_junction(path))


def _leads_inside(listed: Listed, link: str, name: str) -> bool:
    """Whether a link leads to something below the root; else a finding says where it leads."""
    target, root = Path(os.path.realpath(link)), Path(os.path.realpath(listed.root))
    if not target.exists():
        listed.findings.append(Finding(name, "link-broken", "a link that leads nowhere: left out; mend it", True))
        return False
    if target != root and root not in target.parents:
        text = f"a link that leads out of the folder, to '{target}': left out; copy what it means into the folder"
        listed.findings.append(Finding(name, "link-outside", text, True))
        return False
    return True


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
    left_out = getattr(listing, "findings", [])
    told = f"; {left_out[0].file} is {left_out[0].text}" if left_out else ""
    looked = "; ".join(f"{name}: {reader.DESCRIPTION}" for name, reader in READERS.items())
    return (
        f"the layout of '{listing.root}' was not recognised (it holds {found or 'no file'}{told}); looked for {looked};"
        " point to the folder that holds images and annotations together, or name one with --format"
    )
