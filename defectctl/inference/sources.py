"""Lists the images that a prediction is asked for, and the name that each one's results take."""

from __future__ import annotations

import glob
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from defectctl.errors import InputError
from defectctl.formats.base import IMAGE_ENDINGS
from defectctl.messages import say

NOT_IMAGES = ("thumbs.db", "desktop.ini")


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


def list_inputs(
    inputs: Sequence[str], out: Path, recursive: bool = True, stdin: Iterable[str] | None = None
) -> list[InputFile]:
    """List the images of files, folders, glob patterns and `-` (one path a line on standard input).

    Folders are walked in sorted order; hidden files and files that do not end like images are left out, and so is
    `out` where it lies inside. A file that is named itself is taken whatever its ending. A path given twice counts
    once.

    Raises:
        InputError: a path is missing, a pattern or folder holds no image, or results would overwrite inputs.
    """
    target = _resolve(out)
    files: dict[Path, Path] = {}
    bases: list[Path] = []
    for path in _expand(inputs, stdin):
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


def result_names(files: Sequence[str]) -> list[str]:
    """Names of the results: the stem with `.png`; where two would be one, the full name with `.png` added.

    `a.jpg` becomes `a.png`, but `a.jpg` beside `a.bmp` become `a.jpg.png` and `a.bmp.png`. Names are told apart with
    case folded, for Windows; names that differ in nothing else get `~2`, `~3`.
    """
    names = [PurePosixPath(f).with_suffix(".png").as_posix() for f in files]
    for _ in range(len(files)):
        count = Counter(name.casefold() for name in names)
        clashing = [n for n, name in enumerate(names) if count[name.casefold()] > 1 and name != f"{files[n]}.png"]
        if not clashing:
            break
        for n in clashing:
            names[n] = f"{files[n]}.png"
    seen: set[str] = set()
    for n, name in enumerate(names):
        number = 1
        while names[n].casefold() in seen:
            number += 1
            names[n] = f"{name.removesuffix('.png')}~{number}.png"
        seen.add(names[n].casefold())
    return names


def _expand(inputs: Sequence[str], stdin: Iterable[str] | None) -> list[Path]:
    paths: list[Path] = []
    for text in inputs:
        if text == "-":
            lines = _stdin_lines() if stdin is None else stdin
            paths += [_existing(line.strip()) for line in lines if line.strip()]
        elif glob.has_magic(text) and not os.path.exists(text):
            paths += _matches(text)
        else:
            paths.append(_existing(text))
    return paths


def _stdin_lines() -> list[str]:
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"the list of images on standard input is not UTF-8: {error}") from error


def _existing(text: str) -> Path:
    if not text.strip():
        raise InputError("an input is empty text; name an image or a folder ('.' is the current one)")
    path = Path(text)
    if not path.exists():
        raise InputError(f"input '{text}' does not exist; check the path")
    return path


def _matches(pattern: str) -> list[Path]:
    found = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
    found = [path for path in found if path.is_file() and _is_image(path.name)]
    if not found:
        raise InputError(f"no image matches '{pattern}'")
    return found


def _walk(folder: Path, out: Path, recursive: bool) -> list[Path]:
    found: list[Path] = []
    others = 0

    def fail(error: OSError) -> None:
        raise InputError(f"folder '{error.filename}' cannot be listed: {error.strerror or error}") from error

    for parent, folders, files in os.walk(folder, onerror=fail):
        here = Path(parent)
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
