"""Samples of different sources that are the same photograph, found by their names or by what they show."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from defectctl.errors import InputError
from defectctl.formats.base import EmbeddedImage, Finding
from defectctl.formats.opened import Opened, View
from defectctl.formats.threads import on_threads
from defectctl.imaging.reader import ImageError, decode_image
from defectctl.messages import progress

WAYS = ("name", "content")
THUMB_SIDE = 32
MOST_THUMB_DISTANCE = 2.0
"""Root mean square difference of two thumbnails, in 8-bit grey levels, up to which a pair is looked at closely.

Re-encoding changes block means by a fraction of a level (NEU-DET's JPEGs against the bitmaps: at most 0.44), other
pictures differ by far more (there: 3.7 and up).
"""
MOST_DIFFERENCE = 6.0
"""Mean absolute difference of all pixels, in 8-bit grey levels, up to which two pictures can be the same."""
MOST_OF_SPREAD = 0.5
"""The same as a share of the picture's own mean deviation: of two independent noises it is 1.4."""
EXACT = 0.5
"""Mean absolute difference up to which two pictures are the same however flat they are."""
NEIGHBOURS = 6
_BLOCK_ELEMENTS = 1 << 24
_DECODED_KEPT = 64

Row = tuple[View, ...]


@dataclass(slots=True)
class Joined:
    """Samples as they will be: each a tuple of views of one photograph, the first source's view first."""

    rows: list[Row]
    notes: list[str]
    findings: list[Finding]


def join_sources(sources: Sequence[Opened], way: str | None) -> Joined:
    """Bring the sources' samples together; without a `way` each stays alone.

    Args:
        way: None, "name" or "content".

    Raises:
        InputError: names are ambiguous, or a source shares no photograph with those before it.
    """
    result = Joined([(View(sources[0], raw),) for raw in sources[0].raw.samples], [], [])
    for source in sources[1:]:
        views = [View(source, raw) for raw in source.raw.samples]
        pairs: dict[int, int] = {}
        if way is not None:
            find = _pairs_by_name if way == "name" else _pairs_by_content
            pairs = find([row[0] for row in result.rows], views, result.findings)
            if not pairs:
                others = ", ".join(f"'{other.handle}'" for other in sources[: sources.index(source)])
                raise InputError(f"--join {way}: no image of '{source.handle}' is one of {others}; leave --join away")
            result.notes.append(
                f"joined by {way}: {len(pairs)} images of '{source.handle}' with those before it; alone:"
                f" {len(views) - len(pairs)} of '{source.handle}', {len(result.rows) - len(pairs)} before it"
            )
        for theirs, own in pairs.items():
            result.rows[own] += (views[theirs],)
        result.rows += [(view,) for number, view in enumerate(views) if number not in pairs]
    return result


def _pairs_by_name(first: list[View], other: list[View], findings: list[Finding]) -> dict[int, int]:
    """Index in `other` -> index in `first` of equal paths without ending, else of equal stems (case folded)."""
    del findings
    pairs: dict[int, int] = {}
    for key in (_path_key, _stem_key):
        used = set(pairs.values())
        sides = []
        for views, done in ((first, used), (other, pairs.keys())):
            names: dict[str, list[int]] = defaultdict(list)
            for index, view in enumerate(views):
                if index not in done:
                    names[key(view)].append(index)
            sides.append(names)
        for name in sides[0].keys() & sides[1].keys():
            _refuse_ambiguous(name, [(first, sides[0][name]), (other, sides[1][name])])
            pairs[sides[1][name][0]] = sides[0][name][0]
    return pairs


def _path_key(view: View) -> str:
    return str(PurePosixPath(view.raw.id).with_suffix("")).casefold()


def _stem_key(view: View) -> str:
    return PurePosixPath(view.raw.id).stem.casefold()


def _refuse_ambiguous(name: str, sides: list[tuple[list[View], list[int]]]) -> None:
    for views, indices in sides:
        if len(indices) > 1:
            one, two = (f"'{views[i].source.file(views[i].raw.id)}'" for i in indices[:2])
            raise InputError(
                f"--join name: {one} and {two} are both called '{name}', so a partner of that name is ambiguous;"
                " rename one, --exclude it, or use --join content"
            )


def _pairs_by_content(first: list[View], other: list[View], findings: list[Finding]) -> dict[int, int]:
    """Index in `other` -> index in `first` of the same picture; each is used once, the most alike first."""
    candidates = _candidates(_thumbs(first), _thumbs(other))
    look = _PixelCompare(first, other)
    alike: list[tuple[float, bool, str, str, int, int]] = []
    with closing(on_threads(look, candidates)) as results:
        for (own, theirs), difference in progress(results, len(candidates), "join", "pair"):
            if difference is not None:
                names = first[own].raw.id, other[theirs].raw.id
                alike.append((round(difference, 2), _number(names[0]) != _number(names[1]), *names, own, theirs))
    pairs: dict[int, int] = {}
    used: set[int] = set()
    for *_, own, theirs in sorted(alike):
        if theirs not in pairs and own not in used:
            pairs[theirs] = own
            used.add(own)
    partners: dict[int, list[int]] = defaultdict(list)
    for *_, own, theirs in sorted(alike):
        partners[theirs].append(own)
    for theirs, own in partners.items():
        if len(own) > 1:
            findings.append(_tie(other[theirs], [first[i] for i in own], pairs.get(theirs), first))
    return pairs


def _tie(view: View, partners: list[View], taken: int | None, first: list[View]) -> Finding:
    names = ", ".join(f"'{partner.raw.id}'" for partner in partners)
    done = "it stays alone" if taken is None else f"joined with '{first[taken].raw.id}'"
    text = f"the same picture as {len(partners)} of another source ({names}): {done}"
    return Finding(view.source.file(view.raw.id), "several-partners", text)


def _number(name: str) -> str:
    """The last number in a file's name, which breaks ties."""
    numbers = re.findall(r"\d+", PurePosixPath(name).stem)
    return numbers[-1].lstrip("0") if numbers else ""


def _thumbs(views: list[View]) -> dict[tuple[int, int], tuple[list[int], NDArray[np.float32]]]:
    """Image size -> indices of the views of that size and their thumbnails `(n, 1024)`; unreadable ones are absent."""
    rows: dict[tuple[int, int], tuple[list[int], list[NDArray]]] = defaultdict(lambda: ([], []))
    paths = [(index, view.raw.image) for index, view in enumerate(views)]
    with closing(on_threads(lambda item: _thumb(item[1]), paths)) as results:
        for (index, _), found in progress(results, len(paths), "compare", "image"):
            if found is not None:
                indices, thumbs = rows[found[0]]
                indices.append(index)
                thumbs.append(found[1])
    return {size: (indices, np.stack(thumbs)) for size, (indices, thumbs) in rows.items()}


def _thumb(path: Path | EmbeddedImage) -> tuple[tuple[int, int], NDArray[np.float32]] | None:
    grey = _grey(path)
    if grey is None:
        return None
    small = cv2.resize(grey, (THUMB_SIDE, THUMB_SIDE), interpolation=cv2.INTER_AREA)
    return grey.shape[:2], small.ravel() - np.float32(128)  # centred, so that float32 sums stay exact enough


def _grey(path: Path | EmbeddedImage) -> NDArray[np.float32] | None:
    """Pixels as `(H, W)` float32 grey, 0..255; None where the file cannot be read (told when it is written)."""
    try:
        grey = decode_image(path.read_bytes(), "grey", name=path.name)
    except (OSError, ImageError):
        return None
    if grey.dtype == np.uint16:
        full = (1 << max(8, int(grey.max()).bit_length())) - 1
        return grey.astype(np.float32) * np.float32(255 / full)
    return grey.astype(np.float32)


def _candidates(first: dict, other: dict) -> list[tuple[int, int]]:
    """`(index in first, index in other)` of pairs with nearly equal thumbnails, the nearest few of each."""
    found: list[tuple[int, int]] = []
    for size in first.keys() & other.keys():
        own, table = first[size]
        theirs, rows = other[size]
        for row, distances in _distances(rows, table):
            near = np.argpartition(distances, NEIGHBOURS)[:NEIGHBOURS] if len(own) > NEIGHBOURS else range(len(own))
            found += [(own[i], theirs[row]) for i in near if distances[i] <= MOST_THUMB_DISTANCE]
    return sorted(found)


def _distances(rows: NDArray[np.float32], table: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Each row's root mean square distance to every row of `table`, by matrix products in blocks."""
    squares = (table**2).sum(axis=1)
    step = max(1, _BLOCK_ELEMENTS // len(table))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        squared = (block**2).sum(axis=1)[:, None] + squares[None] - 2 * block @ table.T
        yield from enumerate(np.sqrt(np.maximum(squared, 0) / table.shape[1]), start)


class _PixelCompare:
    """Mean absolute grey difference of a pair, or None where it is not the same picture; runs on several threads."""

    def __init__(self, first: list[View], other: list[View]) -> None:
        self.first, self.other = first, other
        self._pixels = lru_cache(_DECODED_KEPT)(_grey)

    def __call__(self, pair: tuple[int, int]) -> float | None:
        one, two = self._pixels(self.first[pair[0]].raw.image), self._pixels(self.other[pair[1]].raw.image)
        if one is None or two is None:
            return None
        difference = float(np.abs(one - two).mean())
        spread = float(np.abs(one - one.mean()).mean())
        same = difference <= EXACT or (difference <= MOST_DIFFERENCE and difference <= MOST_OF_SPREAD * spread)
        return difference if same else None
