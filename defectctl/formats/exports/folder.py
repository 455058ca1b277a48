"""An export's folder, whole or absent: everything is written beside it under a hidden name and renamed at the end."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from defectctl import fileio
from defectctl.errors import InputError

MANIFEST = "export.json"
"""Says what an export was made of; only a folder that holds it is ever replaced."""
STAGING_ENDING = ".defectctl-new"
OLD_ENDING = ".defectctl-old"


def check_out(out: Path, dataset_root: Path, replace: bool) -> None:
    """Refuse a folder that an export must not be written to.

    Raises:
        InputError: it is a file, meets the dataset's folder, cannot be written, or is not empty (with `replace`: and
            is no export).
    """
    inner, outer = out.resolve(), dataset_root.resolve()
    if inner == outer or outer in inner.parents or inner in outer.parents:
        raise InputError(f"the dataset '{dataset_root}' and --out '{out}' lie one in the other; choose another --out")
    if inner == Path.cwd() or inner in Path.cwd().parents:
        raise InputError(f"this command stands in '{out}', which it would exchange; choose a folder inside for --out")
    if out.exists() and not out.is_dir():
        raise InputError(f"'{out}' is a file; choose a folder for --out")
    if out.is_dir() and any(out.iterdir()):
        if not (out / MANIFEST).is_file():
            raise InputError(f"'{out}' is not empty and no earlier export; choose an empty or a new folder for --out")
        if not replace:
            raise InputError(f"'{out}' already holds an export; choose another --out, or give --replace")
    fileio.check_writable(out, "the export's folder")


@contextmanager
def export_folder(out: Path, manifest: dict[str, Any]) -> Iterator[Path]:
    """Yield a folder to write to; if the block ends without an error it becomes `out`, else nothing is left.

    Args:
        out: checked by `check_out`; what it holds makes way at the end.
        manifest: written as `MANIFEST` at the end, so the block may still add to it.

    Raises:
        InputError: another process writes an export there.
    """
    out = out.resolve()  # a link is followed, not replaced
    staging, old = (out.with_name(f".{out.name}{ending}") for ending in (STAGING_ENDING, OLD_ENDING))
    made = [folder for folder in out.parents if not folder.exists()]
    if old.exists() and not out.exists():
        raise InputError(f"replacing '{out}' was cut short; the former export is in '{old}': rename it or delete it")
    mine = False
    try:
        with fileio.folder_lock(staging, "the export"):
            mine = True
            _empty(staging)
            yield staging
            fileio.write_text(staging / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
        (staging / ".lock").unlink(missing_ok=True)
        _exchange(staging, out, old)
    finally:
        if mine:
            shutil.rmtree(staging, ignore_errors=True)
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _empty(staging: Path) -> None:
    """Remove what a killed export left."""
    for entry in staging.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != ".lock":
            entry.unlink()


def _exchange(staging: Path, out: Path, old: Path) -> None:
    shutil.rmtree(old, ignore_errors=True)
    former = out.exists()
    if former:
        os.replace(out, old)
    try:
        os.replace(staging, out)
    except BaseException:
        if former:
            os.replace(old, out)
        raise
    shutil.rmtree(old, ignore_errors=True)
