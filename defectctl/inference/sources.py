"""Lists the images that a prediction is asked for, and the name that each one's results take."""

from __future__ import annotations

import glob
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from defectctl.errors import InputError
from defectctl.formats.base import IMAGE_ENDINGS
from defectctl.inference.result_names import result_names
from defectctl.messages import say

NOT_IMAGES = ("thumbs.db", "desktop.ini")

BYTES_PER_PIXEL = 8
"""Four channels of 16 bits: no file of a readable image holds more for each of its pixels, but for its headers."""
MOST_HEADERS = 1 << 26
"""Bytes of colour profiles, previews and the like that a file may have beside its pixels."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """One image to predict.

    Attributes:
        path: the file.
        file: its path below the deepest folder that holds all inputs, POSIX; its key in the journal.
        result: name of its mask below OUT, POSIX, ending in `.png`, unique when case is folded.
    """

    path: Path
    file: str
    result: str

    def stamp(self) -> dict[str, int]:
        """Size and time of change of the file, by which `--skip-done` knows it again.

        Raises:
            OSError: it is gone, or it is no file: to read a pipe or a device might never end.
        """
        status = self.path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is a folder, a pipe or a device, not a file")
        return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}

    def read(self, max_mpx: float) -> bytes:
        """The file's bytes.

        Raises:
            OSError: it is gone, or larger than any image of `max_mpx` million pixels.
        """
        size = self.path.stat().st_size
        if size > MOST_HEADERS + BYTES_PER_PIXEL * max_mpx * 1e6:
            raise OSError(f"it has {size / 1e9:.1f} GB, more than any image of {max_mpx:g} Mpx (--max-mpx)")
        return self.path.read_bytes()


def list_inputs(
    inputs: Sequence[str], out: Path, recursive: bool = True, stdin: Iterable[str] | None = None
) -> list[InputFile]:
    """List the images of files, folders, glob patterns and `-` (one path a line on standard input).

    Folders are walked in sorted order; hidden files and files that do not end like images are left out, and so is
    `out` where it lies inside, also from a pattern. A pattern that matches folders alone means these. A file that is
    named itself is taken whatever its ending. A path given twice counts once. Where standard input holds a zero byte,
    paths end with one instead of with a line (`find -print0`).

    Raises:
        InputError: a path is missing, a pattern or folder holds no image, or results would overwrite inputs.
    """
    target = _resolve(out)
    files: dict[Path, Path] = {}
    bases: list[Path] = []
    for path in _expand(inputs, target, stdin):
        found = [path]
        if path.is_dir():
            if _resolve(path) == target:
                raise InputError(f"--out '{out}' is the input folder itself; choose another folder for the results")
            found = _walk(path, target, recursive)
        for file in found:
            files.setdefault(_absolute(file), file)
        bases.append(_absolute(path) if path.is_dir() else _absolute(path).parent)
    if not files:
        raise InputError(f"no images in {', '.join(repr(i) for i in inputs)}: looked for {', '.join(IMAGE_ENDINGS)}")
    base = _common(bases)
    names = [absolute.relative_to(base).as_posix() for absolute in files]
    listed = [InputFile(p, n, r) for p, n, r in zip(files.values(), names, result_names(names), strict=True)]
    originals = {_resolve(path) for path in files}
    for item in listed:
        if target / item.result in originals:
            raise InputError(f"the mask '{out / item.result}' would overwrite an input image; choose another --out")
    return listed


def _expand(inputs: Sequence[str], out: Path, stdin: Iterable[str] | None) -> list[Path]:
    paths: list[Path] = []
    for text in inputs:
        if text == "-":
            lines = split_list(sys.stdin.buffer.read()) if stdin is None else (line.rstrip("\r\n") for line in stdin)
            paths += [_existing(line) for line in lines if line]
        elif glob.has_magic(text) and not os.path.exists(text):
            paths += _matches(text, out)
        else:
            paths.append(_existing(text))
    return paths


def split_list(data: bytes) -> list[str]:
    """The paths of a list: one a line, or ended by zero bytes; UTF-8, or UTF-16 with its mark, as Windows writes it.

    Raises:
        InputError: it is in no such encoding.
    """
    try:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            text = data.decode("utf-16")
        else:
            # On Linux a name may be any bytes; Python carries those that are no UTF-8 in this way.
            text = data.decode("utf-8-sig", "strict" if os.name == "nt" else "surrogateescape")
    except UnicodeDecodeError as error:
        raise InputError(f"the list of images on standard input is not UTF-8: {error}") from error
    if "\0" in text:
        return [name for name in text.split("\0") if name]
    # Not splitlines: it would break names at characters such as U+2028 and form feed.
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return [line for line in lines if line.strip()]


def _existing(text: str) -> Path:
    if not text.strip():
        raise InputError("an input is empty text; name an image or a folder ('.' is the current one)")
    path = Path(text)
    if not path.exists():
        raise InputError(f"input '{text}' does not exist; check the path")
    return path


def _matches(pattern: str, out: Path) -> list[Path]:
    matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
    found = [path for path in matches if path.is_file() and _is_image(path.name)]
    found = [path for path in found if out not in _resolve(path).parents]
    # Folders as a shell would hand them over; where images match as well, the pattern means the images.
    found = found or [
        path for path in matches if path.is_dir() and out not in (_resolve(path), *_resolve(path).parents)
    ]
    if not found:
        raise InputError(f"no image matches '{pattern}'")
    return found


def _walk(folder: Path, out: Path, recursive: bool) -> list[Path]:
    found: list[Path] = []
    others = links = 0

    def fail(error: OSError) -> None:
        raise InputError(f"folder '{error.filename}' cannot be listed: {error.strerror or error}") from error

    for parent, folders, files in os.walk(folder, onerror=fail):
        here = Path(parent)
        links += sum((here / name).is_symlink() for name in folders if recursive)
        folders[:] = sorted(
            name for name in folders if recursive and not name.startswith(".") and _resolve(here / name) != out
        )
        for name in sorted(files):
            if _is_image(name):
                found.append(here / name)
            elif not name.startswith(".") and name.lower() not in NOT_IMAGES:
                others += 1
    if others:
        say(f"{others} file(s) in '{folder}' do not end like images and are left out")
    if links:
        say(f"{links} linked folder(s) in '{folder}' are not walked into; name them as inputs to take their images")
    return found


def _is_image(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(IMAGE_ENDINGS)


def _absolute(path: Path) -> Path:
    """The path from the root without `..`; links stay, since results take the names that the user sees."""
    return Path(os.path.abspath(path))


def _resolve(path: Path) -> Path:
    """The path without `..` and links, so that two spellings of a file are one."""
    return Path(os.path.realpath(path))


def _common(folders: list[Path]) -> Path:
    try:
        return Path(os.path.commonpath(folders))
    except ValueError as error:
        raise InputError("the inputs lie on different drives; run once for each drive") from error
