"""The names that results take below OUT: safe on every system, unique, and never another image's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from defectctl.dataset.ids import safe_id


def result_names(files: Sequence[str], taken: Mapping[str, str] | None = None) -> list[str]:
    """Names of the results: the stem with `.png`; where two would be one, the full name with `.png` added.

    `a.jpg` becomes `a.png`, but `a.jpg` beside `a.bmp` become `a.jpg.png` and `a.bmp.png`. Names are told apart with
    case folded, for Windows; names that differ in nothing else get `~2`, `~3`. What cannot be a name below a folder on
    every system (`..`, drive letters, `NUL`, line breaks, 255 bytes) is replaced as `dataset.ids.safe_id` does.

    Args:
        files: paths of the inputs below their common folder, POSIX, each once.
        taken: names with case folded that an earlier run gave away, and the file that each belongs to.
    """
    safe = [safe_id(file.encode("utf-8", "replace").decode("utf-8")) for file in files]
    names = [PurePosixPath(file).with_suffix(".png").as_posix() for file in safe]
    for _ in range(len(files)):
        count = Counter(name.casefold() for name in names)
        clashing = [n for n, name in enumerate(names) if count[name.casefold()] > 1 and name != f"{safe[n]}.png"]
        if not clashing:
            break
        for n in clashing:
            names[n] = f"{safe[n]}.png"
    return keep_apart(names, files, taken or {})


def keep_apart(names: Sequence[str], files: Sequence[str], taken: Mapping[str, str]) -> list[str]:
    """Number those of the names that are another's, or are called like a folder in which results will lie.

    Args:
        names: of the results of `files`.
        taken: as in `result_names`.
    """
    seen = {folder for name in names for folder in _folders(name.casefold())}
    apart: list[str] = []
    for name, file in zip(names, files, strict=True):
        chosen, number = name, 1
        while not _free(chosen.casefold(), seen) or taken.get(chosen.casefold(), file) != file:
            number += 1
            chosen = f"{name.removesuffix('.png')}~{number}.png"
        seen.add(chosen.casefold())
        apart.append(chosen)
    return apart


def _free(name: str, seen: set[str]) -> bool:
    # An overlay ends in .jpg, and a folder may be called so as well.
    return name not in seen and f"{name.removesuffix('.png')}.jpg" not in seen


def _folders(name: str) -> list[str]:
    return [parent.as_posix() for parent in PurePosixPath(name).parents][:-1]
