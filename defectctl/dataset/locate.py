"""Which dataset a command means where the user names none: `./data`, or the only one below it."""

from __future__ import annotations

from pathlib import Path

from defectctl.dataset.writer import HEADER
from defectctl.errors import InputError

DEFAULT_FOLDER = "data"

_HOW = f"`defectctl prepare RAW --out {DEFAULT_FOLDER}` makes one"


def find_dataset(path: Path | None = None) -> Path:
    """Return the dataset folder that a command works on.

    Args:
        path: what `--data` says; a folder with exactly one dataset below it stands for that one.

    Raises:
        InputError: there is none, or several that the name could mean (they are listed).
    """
    root = Path(DEFAULT_FOLDER) if path is None else path
    if not root.exists():
        if path is None:
            raise InputError(f"no --data is given and there is no folder ./{DEFAULT_FOLDER}; {_HOW}")
        raise InputError(f"the dataset folder '{root}' does not exist")
    if (root / HEADER).is_file() or not root.is_dir():
        return root
    found = sorted(folder for folder in root.iterdir() if (folder / HEADER).is_file())
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(f"'{folder}'" for folder in found)
        raise InputError(f"'{root}' holds several datasets; name one with --data: {names}")
    if path is None:
        raise InputError(f"no --data is given and there is no dataset in ./{DEFAULT_FOLDER}; {_HOW}")
    return root
