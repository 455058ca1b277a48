"""Moves an input that is done out of the watched folder: never over another file, never a newer one of its name."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from defectctl.fileio import TEMPORARY_SUFFIX, atomic_path, sha256_file
from defectctl.inference.arrivals import Stamp, stamp_of


class ReplacedError(Exception):
    """The file is no longer the one that was predicted; it stays in the watched folder."""


def move_done(path: Path, stamp: Stamp, target: Path) -> Path:
    """Move `path` to `target`, or to `NAME~2.ENDING` and so on where another file has that name; return where it lies.

    On one drive the move is one step. To another drive the file is copied with its times, flushed to disk, and only
    then taken away; if that last step is missed, the next call finds the copy and does it. What a link points to is
    copied, and the link taken away.

    Args:
        stamp: of the picture that was predicted.

    Raises:
        ReplacedError: the file has another stamp by now. It stays, or is put back under a free name beside its own.
        OSError: it cannot be moved now; it lies where it lay.
    """
    if stamp_of(path) != stamp:
        raise ReplacedError
    target.parent.mkdir(parents=True, exist_ok=True)
    for name in _names(target):
        if os.path.lexists(name):
            if _is_copy(path, name):
                _take_away(path, stamp)
                return name
            continue
        if _claim(name):
            _fill(name, path, stamp)
            return name
    raise AssertionError("names never end")


def _names(target: Path) -> Iterator[Path]:
    yield target
    number = 1
    while True:
        number += 1
        yield target.with_name(f"{target.stem}~{number}{target.suffix}")


def _claim(name: Path) -> bool:
    """Make an empty file of that name, which is ours to replace then; False where another was quicker."""
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        return False
    return True


def _fill(name: Path, path: Path, stamp: Stamp) -> None:
    """Put the file in the place of the claimed empty one; on failure the name is free again."""
    moved = False
    try:
        moved = not path.is_symlink() and _rename(path, name)
        if not moved:
            with atomic_path(name) as temporary:
                shutil.copyfile(path, temporary)
            with suppress(OSError):  # some file servers refuse times; a copy without them is a copy
                shutil.copystat(path, name)
    except BaseException:
        name.unlink(missing_ok=True)
        raise
    if moved:
        _put_back_if_newer(name, path, stamp)
    else:
        _take_away(path, stamp, copy=name)


def _rename(path: Path, name: Path) -> bool:
    """Rename in one step; False where `name` lies on another drive."""
    try:
        os.replace(path, name)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return False
        raise
    return True


def _put_back_if_newer(name: Path, path: Path, stamp: Stamp) -> None:
    """The camera may have replaced the file in the very moment before it was moved."""
    if stamp_of(name) == stamp:
        return
    free = next(free for free in _names(path) if _claim(free))
    os.replace(name, free)
    raise ReplacedError


def _take_away(path: Path, stamp: Stamp, copy: Path | None = None) -> None:
    """Remove a file whose copy is safe; it gets a name of its own first, so that a newer one cannot be hit.

    Args:
        copy: to be removed where the file has been replaced while it was copied.
    """
    handle, spare = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=TEMPORARY_SUFFIX, dir=path.parent)
    os.close(handle)
    try:
        os.replace(path, spare)
    except BaseException:
        os.unlink(spare)
        raise
    if stamp_of(Path(spare)) == stamp:
        os.unlink(spare)
        return
    os.replace(spare, next(free for free in _names(path) if _claim(free)))
    if copy is not None:
        copy.unlink()
    raise ReplacedError


def _is_copy(path: Path, name: Path) -> bool:
    """Whether `name` is what an earlier move has copied: same bytes, same time."""
    try:
        same = stamp_of(name) == stamp_of(path) and not os.path.samefile(name, path)
        return same and sha256_file(name) == sha256_file(path)
    except OSError:
        return False
