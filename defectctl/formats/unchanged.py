"""Tells whether a dataset still is what the same command would make again, without opening a file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from defectctl.dataset.store import load_dataset
from defectctl.dataset.types import Dataset, Sample
from defectctl.dataset.writer import HEADER, REPORT
from defectctl.errors import InputError
from defectctl.formats.options import PrepareOptions
from defectctl.formats.registry import list_folder
from defectctl.version import __version__


def signature(roots: Sequence[Path], options: PrepareOptions) -> str:
    """SHA-256 over the tool's version, the options, and path, size and time of every raw file.

    Raises:
        InputError: a folder is missing, unreadable or empty.
    """
    total = hashlib.sha256(f"{__version__} {replace(options, replace=False)!r}\n".encode())
    for root in roots:
        where = root.resolve()  # linked images are found by their place, copied ones need none
        total.update(f"{where if options.link else where.name}\n".encode("utf-8", "surrogateescape"))
        for file in list_folder(root).files:
            about = (root / file).stat()
            total.update(f"{file} {about.st_size} {about.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    if options.folds is not None and options.folds.is_file():
        total.update(options.folds.read_bytes())
    return total.hexdigest()


def unchanged(roots: Sequence[Path], out: Path, options: PrepareOptions) -> Dataset | None:
    """The dataset at `out` if it is whole, and made by this version with these options from these very files."""
    if options.replace or not (out / HEADER).is_file():
        return None
    try:
        dataset = load_dataset(out)
        same = dataset.made_from == signature(roots, options) and (out / REPORT).is_file()
        return dataset if same and all(_is_there(dataset, sample) for sample in dataset.samples) else None
    except (InputError, OSError):
        return None  # told where it is prepared


def _is_there(dataset: Dataset, sample: Sample) -> bool:
    mask = dataset.mask_path(sample)
    return dataset.image_path(sample).is_file() and (mask is None or mask.is_file())
