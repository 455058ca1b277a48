"""Which image file a COCO `file_name` means: folders, backslashes, URL escapes and the prefixes of Label Studio."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

from defectctl.formats.base import Listing
from defectctl.formats.readers.names import best_match, same_case

_PREFIX = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of an uploaded file."""


@dataclass(slots=True)
class ImageNames:
    """The image files of a folder by their names, case folded; `bare` without Label Studio's prefix."""

    by_name: dict[str, list[str]] = field(default_factory=dict)
    bare: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, listing: Listing) -> ImageNames:
        """Index the images of a listing."""
        names = cls()
        for image in listing.images():
            names.by_name.setdefault(image.name.casefold(), []).append(str(image))
            short = _PREFIX.sub("", image.name.casefold(), count=1)
            if short != image.name.casefold():
                names.bare.setdefault(short, []).append(str(image))
        return names

    def find(self, name: str, near: str) -> list[str]:
        """The files that a `file_name` may mean: none, one, or several where it cannot be told.

        The name as it stands comes first, then with URL escapes undone, then without the prefix; of several files of
        the name those whose path ends like it, lie nearest to the JSON `near`, and are spelt in the same case.
        """
        for wanted in _spellings(name):
            last = wanted.rpartition("/")[2].casefold()
            candidates = self.by_name.get(last) or []
            if not candidates:
                short = _PREFIX.sub("", last, count=1)
                candidates = self.bare.get(last) or (self.by_name.get(short) if short != last else None) or []
            if candidates:
                return _nearest(candidates, wanted, near)
        return []


def _spellings(name: str) -> Iterator[str]:
    plain = re.sub(r"/+", "/", name.replace("\\/", "/").replace("\\", "/")).removeprefix("./")
    yield plain
    local = re.search(r"[?&]d=([^&]+)", plain)  # Label Studio's local files: /data/local-files/?d=folder/a.jpg
    address = local.group(1) if local else re.sub(r"^[a-z][a-z0-9+.-]+:/[^/]*/", "", plain, flags=re.I)
    for text in (address, address.partition("?")[0]):
        if unquote(text).replace("\\", "/") != plain:
            yield unquote(text).replace("\\", "/")


def _nearest(candidates: list[str], wanted: str, near: str) -> list[str]:
    folder = near.rpartition("/")[0]
    beside = f"{folder}/{wanted}" if folder else wanted
    for exact in ([beside], [wanted]):
        if exact[0] in candidates:
            return exact
    folded = (beside.casefold(), wanted.casefold())
    best = next((found for f in folded if (found := [c for c in candidates if c.casefold() == f])), [])
    if not best:
        tails = [_shared_tail(c.casefold(), wanted.casefold()) for c in candidates]
        best = [c for c, tail in zip(candidates, tails, strict=True) if tail == max(tails)]
    best = [best[i] for i in best_match(best, near)]
    return same_case(best, wanted, lambda file: file.rpartition("/")[2])


def _shared_tail(path: str, wanted: str) -> int:
    shared = 0
    for a, b in zip(reversed(path.split("/")), reversed(wanted.split("/")), strict=False):
        if a != b:
            break
        shared += 1
    return shared
