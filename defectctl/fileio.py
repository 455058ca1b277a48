"""Files that are whole or absent: atomic writes, hashes, append-only journals, and a lock on a folder."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from defectctl.errors import InputError

TEMPORARY_SUFFIX = ".part"
"""Ending of every file that is still being written; left over only after a crash, never read."""

REPLACE_WAITS = (0.05, 0.1, 0.2, 0.4, 0.8) if os.name == "nt" else ()
"""Seconds between attempts to rename over a file that another program holds open; only Windows refuses that."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed to `path`, else removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=TEMPORARY_SUFFIX, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.chmod(temporary, 0o666 & ~_UMASK)
        _replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _replace(temporary: Path, path: Path) -> None:
    """Rename over `path`; on Windows wait for readers and virus scanners, which hold a file for moments."""
    for wait in REPLACE_WAITS:
        try:
            os.replace(temporary, path)
            return
        except PermissionError:
            time.sleep(wait)
    os.replace(temporary, path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _umask()
"""Asked for once, at import: to ask means to set it, for all threads, and another thread would read the 0 between."""


def check_writable(folder: Path, what: str) -> None:
    """Refuse a folder that cannot be made or written to, before anything is computed; nothing is left behind.

    Args:
        what: the folder's name in the sentence, e.g. "the run folder".

    Raises:
        InputError: with the reason.
    """
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(f"{what} '{folder}' cannot be made: '{existing}' is a file; choose another with --out")
    try:
        # Tried, not asked for: on Windows and on network shares the rights that a folder shows are not the whole truth.
        handle, name = tempfile.mkstemp(prefix=".defectctl-", dir=existing)
        os.close(handle)
        os.unlink(name)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{what} '{folder}' cannot be written: {reason}; choose another with --out") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically, making parent folders."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically as UTF-8 with `\\n` line ends on every system."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` atomically as indented JSON (no NaN: absent numbers are `null`)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file; `what` names its kind in the error a user sees.

    Raises:
        InputError: the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{what} '{path}' cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{what} '{path}' is not valid JSON: {error}") from error


def sha256_bytes(data: bytes) -> str:
    """Return the hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes, read in blocks."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(handle)


def _digest(handle: Any) -> str:
    total = hashlib.sha256()
    while block := handle.read(1 << 20):
        total.update(block)
    return total.hexdigest()


@contextmanager
def folder_lock(folder: Path, what: str) -> Iterator[None]:
    """Hold `folder/.lock` while the block runs, so that a second writer of `what` is refused.

    The operating system drops the lock with the process, so a crash never leaves a folder locked.

    Raises:
        InputError: another process holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    with open(path, "a+b") as handle:
        if not _try_lock(handle, path):
            raise InputError(
                f"{what} '{folder}' is being written by another defectctl; wait for it or choose another folder"
            )
        try:
            yield
        finally:
            if os.name != "nt":  # Windows does not remove open files; there the empty file stays
                path.unlink(missing_ok=True)


def _try_lock(handle: Any, path: Path) -> bool:
    """Lock the open file; False where another holds it, or where its last holder has removed it in the meantime."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(os.fstat(handle.fileno()), os.stat(path))
    except OSError:
        return False
    return True
