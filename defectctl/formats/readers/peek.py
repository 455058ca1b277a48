"""A look into a handful of candidate files, to tell masks from photographs where names cannot."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from defectctl.formats.readers.names import IMAGE_HINT, MASK_HINT

FEW_VALUES = 24
"""A file with at most this many distinct values is a mask."""
TOP_SHARE = 0.85
"""So is one whose four commonest values cover this share of its pixels (a mask smeared by JPEG, or with soft edges)."""
FLAT_SHARE = 0.9
"""So is one of 16 bits of whose pixels this share equals the next; sensors of 16 bits are too noisy for that."""
EXAMPLES = 5
_STRIDE_SIDE = 512
_LOSSY = (".jpg", ".jpeg", ".webp", ".jp2")


@dataclass(frozen=True, slots=True)
class Look:
    """What a look into one file told: number of distinct values, whether it looks like a mask."""

    distinct: int
    mask: bool


def look(path: Path) -> Look | None:
    """Look into one file, pixels sampled at about 512 a side; None where it cannot be read (told later)."""
    try:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            pixels = np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    pixels = pixels[:: max(1, pixels.shape[0] // _STRIDE_SIDE), :: max(1, pixels.shape[1] // _STRIDE_SIDE)]
    if pixels.ndim == 3:
        weights = 256 ** np.arange(min(3, pixels.shape[2]), dtype=np.int64)
        pixels = pixels[..., :3].astype(np.int64) @ weights
    counts = np.sort(np.unique(pixels, return_counts=True)[1])[::-1]
    few = len(counts) <= FEW_VALUES or counts[:4].sum() >= TOP_SHARE * counts.sum()
    if pixels.dtype == np.uint16 and pixels.ndim == 2 and pixels.shape[1] > 1:  # numbers of single objects: flat areas
        few = few or (pixels[:, 1:] == pixels[:, :-1]).mean() >= FLAT_SHARE
    return Look(len(counts), bool(few))


def spread(items: Sequence, count: int = EXAMPLES) -> list:
    """Up to `count` items, evenly spread over the sequence."""
    step = max(1, len(items) / count)
    return [items[int(i * step)] for i in range(min(count, len(items)))]


@dataclass(frozen=True, slots=True)
class Direction:
    """Which side of a pair of file families holds the masks, and how many distinct values those have on average."""

    second_is_mask: bool
    distinct: float


def tell_masks(root: Path, pairs: Sequence[tuple[str, str]], names: tuple[str, str]) -> Direction | None:
    """Tell by a few example pairs which side holds the masks; None where neither does.

    Contents decide: the side that looks like masks where the other does not. Names and endings only break ties
    (both look like masks, or nothing could be read).

    Args:
        pairs: matching files `(first, second)` below `root`.
        names: what the two families are called (folder or suffix), searched for hints.
    """
    looks = [(look(root / a), look(root / b)) for a, b in spread(pairs)]
    read = [(a, b) for a, b in looks if a and b]
    if 2 * sum(not a.mask and not b.mask for a, b in read) > len(read):  # a broken mask must not hide the others
        return None
    votes = sum(b.mask - a.mask for a, b in read)
    if votes == 0:
        votes = _vote_by_names(pairs[0], names)
    if votes == 0:
        return None
    masks = [b if votes > 0 else a for a, b in read]
    return Direction(votes > 0, sum(m.distinct for m in masks) / len(masks) if masks else 0.0)


def _vote_by_names(pair: tuple[str, str], names: tuple[str, str]) -> int:
    """+1 where names speak for the second side as masks, -1 for the first, 0 where they say nothing."""
    masks = [bool(MASK_HINT.search(name)) for name in names]
    images = [bool(IMAGE_HINT.search(name)) for name in names]
    lossy = [file.lower().endswith(_LOSSY) for file in pair]
    for vote in (masks[1] - masks[0], images[0] - images[1], lossy[0] - lossy[1]):
        if vote:
            return vote
    return 0


def has_coloured_palette(path: Path) -> bool:
    """Whether an image file is stored with a palette whose first entries hold colours (its indices are classes)."""
    try:
        with Image.open(path) as image:
            entries = (image.getpalette("RGB") or [])[: 3 * 16] if image.mode == "P" else []
    except (OSError, ValueError, SyntaxError):
        return False
    return any(len(set(entries[i : i + 3])) > 1 for i in range(0, len(entries), 3))
