"""Sample ids that are safe as file names on every system and unique when case is folded."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

from defectctl.errors import InputError

_PORTS = "123456789¹²³"  # Windows takes the raised digits for ports, too
_DEVICES = {f"{kind}{port}" for kind in ("com", "lpt") for port in _PORTS}
_RESERVED = {"con", "prn", "aux", "nul", "conin$", "conout$", *_DEVICES}
_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f]')
_LONGEST_NAME = 180  # bytes; file systems allow 255, the mask's ending and a temporary name must fit too


def safe_id(raw: str) -> str:
    """Return `raw` as a relative POSIX path that cannot leave its folder and that Windows can store.

    Drive letters, `..`, leading slashes, reserved device names, forbidden characters and trailing dots or blanks
    are replaced; letters of any alphabet stay (in composed form, NFC). A safe id is returned unchanged.
    """
    text = unicodedata.normalize("NFC", raw).replace("\\", "/")
    parts = [_safe_part(part) for part in text.split("/") if part not in ("", ".")]
    return "/".join(parts) or "_"


def _safe_part(part: str) -> str:
    if part == "..":
        return "_"
    part = _FORBIDDEN.sub("_", part)
    part = re.sub(r"[. ]+$", lambda match: "_" * len(match.group()), part)
    if part.split(".")[0].rstrip().lower() in _RESERVED:
        part = "_" + part
    if part.startswith("."):
        part = "_" + part[1:]
    return _shorten(part)


def _shorten(part: str) -> str:
    if len(part.encode("utf-8")) <= _LONGEST_NAME:
        return part
    suffix = PurePosixPath(part).suffix[:12]
    stem = part[: len(part) - len(suffix)]
    while len((stem + suffix).encode("utf-8")) > _LONGEST_NAME:
        stem = stem[:-1]
    return stem + suffix


def safe_ids(raws: Iterable[str]) -> dict[str, str]:
    """Map every raw path to its id; ids that would meet when case is folded get `~2`, `~3`, … before the ending.

    The result depends on the set of paths only, not on their order.
    """
    taken: set[str] = set()
    result = {}
    # Paths that are safe already keep their name: they come first.
    for raw in sorted(set(raws), key=lambda raw: (safe_id(raw) != raw, raw)):
        wanted = PurePosixPath(safe_id(raw))
        candidate, number = str(wanted), 1
        while candidate.casefold() in taken:
            number += 1
            candidate = str(wanted.with_name(f"{wanted.stem}~{number}{wanted.suffix}"))
        taken.add(candidate.casefold())
        result[raw] = candidate
    return result


def check_id(sample_id: str) -> None:
    """Refuse an id that is not safe as a path below a folder.

    Raises:
        InputError: `sample_id` is not what `safe_id` would make of it.
    """
    safe = safe_id(sample_id)
    if safe != sample_id:
        raise InputError(f"the sample id '{sample_id}' cannot be a file name on every system; use '{safe}'")
