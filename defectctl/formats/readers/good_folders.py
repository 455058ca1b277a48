"""Folders and prefixes of good parts (`good`, `ok`, `MT_Free`): no class of defects where their masks are empty."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from defectctl.formats.base import Finding, Listing, RawSample, ReadOptions
from defectctl.formats.masks.mask_stored import AUTO, stored_values
from defectctl.formats.readers.label_words import GOOD, meaning
from defectctl.formats.readers.names import class_from_prefix, part_of_folders
from defectctl.formats.threads import on_threads
from defectctl.imaging.reader import ImageError

_WORDS = {"good", "ok", "okay", "normal", "free"}
_AGAINST = {"not", "no", "non", "n", "bad", "ng"}
_DARK = 40
"""Values of a black JPEG stay below this."""


def is_good(name: str) -> bool:
    """Whether a folder or prefix says that its parts are good: as a label would, or by a whole word (`MT_Free`)."""
    said = meaning(name)
    if said is not None:
        return said == GOOD
    words = re.split(r"[\W_]+", name.casefold())
    return bool(_WORDS & set(words)) and not _AGAINST & set(words)


def settle_good(samples: list[RawSample], options: ReadOptions, findings: list[Finding]) -> list[RawSample]:
    """Take the class from samples of good folders whose masks are empty; the samples that remain.

    A name of which half the masks hold something, or which `--classes` lists, is a class like others. A few such masks
    are contradictory, because nothing names their class: they are left out.
    """
    named = {s.class_name for s in samples if s.class_name and s.class_name not in options.classes}
    left_out: set[str] = set()
    for name in filter(is_good, named):
        own = [sample for sample in samples if sample.class_name == name]
        with closing(on_threads(lambda sample: _holds_something(sample.mask), own)) as results:
            marked = {sample.id for sample, found in results if found}
        if len(marked) * 2 >= len(own):
            continue
        for sample in own:
            sample.class_name = None
        left_out |= marked
    for file in sorted(left_out):
        text = (
            "its folder or prefix says good, but its mask holds a defect that nothing names: left out; correct either"
        )
        findings.append(Finding(file, "contradictory", text, True))
    return [sample for sample in samples if sample.id not in left_out]


def _holds_something(path: Path | None) -> bool:
    """Whether a mask has any pixel; False where it cannot be read, which is told later."""
    if path is None:
        return False
    try:
        values = stored_values(path.read_bytes(), path.name, AUTO)[0]
    except (OSError, ImageError):
        return False
    return int(values.max()) > (_DARK if path.suffix.lower() in (".jpg", ".jpeg") else 0)


def lone_good(listing: Listing, files: Iterable[str], options: ReadOptions, ignored: Iterable[str]) -> list[RawSample]:
    """Samples of the images without a mask that lie in a folder of good parts, or whose prefix says so if it counts.

    Args:
        ignored: folder names that tell nothing.
    """
    skip = set(ignored)
    samples = []
    for file in files:
        names = [folder for folder in file.split("/")[:-1] if folder not in skip]
        if options.classes_from == "prefix":
            names.append(class_from_prefix(file))
        if any(map(is_good, names)):
            samples.append(RawSample(file, listing.root / file, label=GOOD, part=part_of_folders(file)))
    return samples
