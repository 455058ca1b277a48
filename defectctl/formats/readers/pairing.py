"""Images and their masks matched by names: parallel folder trees, or files side by side; linear in their number."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from typing import Any

from defectctl.formats.base import Finding, Listing
from defectctl.formats.readers.names import IMAGE_HINT, MASK_HINT, SECOND_HINT, part_of_name, stem_of
from defectctl.formats.readers.peek import tell_masks

MOST_MEMBERS = 8
"""Keys shared by more files than this say nothing (numbered files in many folders) and would cost quadratic time."""
MOST_LOOKS = 12
"""Pairs of families looked into, commonest first."""
ENOUGH = 0.9
"""Share of the images at which no further way of matching is tried."""


@dataclass(slots=True)
class Pairing:
    """Images and masks matched by names.

    Attributes:
        pairs: image file -> mask file, POSIX paths below the root.
        families: the pairs of folder names or suffixes `(image side, mask side)`.
        lone_images, lone_masks: members of the families without a partner.
        unused: image files of no family.
        coverage: share of all image files that is paired.
    """

    pairs: dict[str, str] = field(default_factory=dict)
    families: list[tuple[str, str]] = field(default_factory=list)
    lone_images: list[str] = field(default_factory=list)
    lone_masks: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    coverage: float = 0.0

    @property
    def surety(self) -> float:
        """1 where at least half of the image files pair up; less where many images have no mask or masks no image."""
        if self.coverage >= 0.5 or not self.pairs:
            return min(1.0, 2 * self.coverage)
        return len(self.pairs) / (len(self.pairs) + len(self.lone_masks)) * (0.5 + self.coverage)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A pair of families with its direction told; `pairs` run from image to mask."""

    image: Hashable
    mask: Hashable
    pairs: list[tuple[str, str]]
    distinct: float

    @property
    def rank(self) -> tuple:
        image, mask = str(self.image), str(self.mask)
        return (
            -len(self.pairs),
            bool(SECOND_HINT.search(image)) - bool(IMAGE_HINT.search(image)),
            bool(SECOND_HINT.search(mask)) - bool(MASK_HINT.search(mask)),
            self.distinct,
            image,
            mask,
        )


Keyed = Iterable[tuple[Hashable, Any, str]]
"""`(family, key, file)`: files of two families with the same key belong together."""


def _exact_where_needed(keyed: Keyed) -> Iterator[tuple[Hashable, Any, str]]:
    """Keys that do not heed case, except where two files of a family differ in case only (`A.png`, `a.png`)."""
    items = [(family, key, _folded(key), file) for family, key, file in keyed]
    bare = {file.rpartition(".")[0] for _, _, _, file in items}
    doubtful: set[Any] = set()
    if len({name.casefold() for name in bare}) < len(bare):
        counts = Counter((family, folded) for family, _, folded, _ in items)
        doubtful = {folded for (_, folded), count in counts.items() if count > 1}
    for family, key, folded, file in items:
        yield family, key if folded in doubtful else folded, file


def _folded(key: tuple[Any, str]) -> tuple[Any, str]:
    return _folded_folders(key[0]), key[1].casefold()


@lru_cache(maxsize=4096)
def _folded_folders(folders: str | tuple[str, ...]) -> str | tuple[str, ...]:
    return folders.casefold() if isinstance(folders, str) else tuple(folder.casefold() for folder in folders)


def _candidates(
    listing: Listing, keyed: Keyed, partners: Callable[[Hashable, Hashable], tuple | None]
) -> list[_Candidate]:
    """Pairs of families that share keys and of which one side holds masks, best first."""
    groups: dict[Any, list[tuple[Hashable, str]]] = defaultdict(list)
    for family, key, file in _exact_where_needed(keyed):
        groups[key].append((family, file))
    shared: dict[tuple[Hashable, Hashable], list[tuple[str, str]]] = defaultdict(list)
    for members in groups.values():
        if not 2 <= len(members) <= MOST_MEMBERS:
            continue
        for (family, file), (other, second) in combinations(sorted(members), 2):
            if names := partners(family, other):
                shared[names].append((file, second))
    found = []
    for (first, second), pairs in sorted(shared.items(), key=lambda item: -len(item[1]))[:MOST_LOOKS]:
        direction = tell_masks(listing.root, pairs, (str(first), str(second)))
        if direction is None:
            continue
        if direction.second_is_mask:
            found.append(_Candidate(first, second, pairs, direction.distinct))
        else:
            found.append(_Candidate(second, first, [(b, a) for a, b in pairs], direction.distinct))
    return sorted(found, key=lambda c: c.rank)


def _finish(candidates: list[_Candidate], files: list[str], family_of: Callable[[str], Hashable]) -> Pairing:
    """Take the best disjoint candidates; files of their families without a partner are lone, all others unused."""
    result = Pairing()
    images: set[Hashable] = set()
    masks: set[Hashable] = set()
    used: set[str] = set()
    for candidate in candidates:
        if {candidate.image, candidate.mask} & (images | masks):
            continue
        images.add(candidate.image)
        masks.add(candidate.mask)
        result.families.append((str(candidate.image), str(candidate.mask)))
        for image, mask in candidate.pairs:
            result.pairs.setdefault(image, mask)
            used.update((image, mask))
    taken = set(result.pairs.values())
    for file in files:
        if file in result.pairs or file in taken:
            continue
        family = family_of(file)
        if family in images:
            result.lone_images.append(file)
        else:
            (result.lone_masks if family in masks else result.unused).append(file)
    result.coverage = 2 * len(result.pairs) / max(1, len(files))
    return result


def pair_folders(listing: Listing) -> Pairing:
    """Match images and masks in parallel folder trees.

    Two trees are parallel where their paths differ in one folder name only, at any depth
    (`images/training/1.jpg` and `annotations/training/1.png`; `1.jpg` and `masks/1.png`), or failing that, where two
    folders hold the same stems. Letters that all stems of a tree begin or end with (`_mask`) are left out of the
    comparison where the bare stems do not match.
    """
    files = [str(file) for file in listing.images()]
    best = Pairing()
    for strip in (False, True):
        for position in range(max((file.count("/") for file in files), default=0) + 1):
            best = max(best, _pair_trees(listing, files, lambda f, p=position: _tree(f, p), strip), key=_gain)
            if best.coverage >= ENOUGH:
                return best
        if best.coverage < 0.5:
            best = max(best, _pair_trees(listing, files, _whole_folder, strip), key=_gain)
        if best.coverage >= 0.5:
            return best
    return best


def _gain(pairing: Pairing) -> int:
    return len(pairing.pairs)


def _tree(file: str, position: int) -> tuple[str, tuple[str, ...]] | None:
    """The folder name at `position` and the rest of the folders; "" stands for the folder itself."""
    folders = tuple(file.split("/")[:-1])
    if position > len(folders):
        return None
    if position == len(folders):
        return "", folders
    return folders[position], (*folders[:position], *folders[position + 1 :])


def _whole_folder(file: str) -> tuple[str, tuple[str, ...]]:
    return file.rpartition("/")[0], ()


def _pair_trees(listing: Listing, files: list[str], tree_of: Callable[[str], tuple | None], strip: bool) -> Pairing:
    trees = {file: tree for file in files if (tree := tree_of(file)) is not None}
    if len({name for name, _ in trees.values()}) < 2:
        return Pairing()
    affixes = _affixes(trees) if strip else {}

    def keyed() -> Iterator[tuple[str, Any, str]]:
        for file, (name, rest) in trees.items():
            stem = stem_of(file)
            prefix, suffix = affixes.get(name, (0, 0))
            yield name, (rest, stem[prefix : len(stem) - suffix]), file

    @lru_cache(maxsize=4096)  # asked for every pair of files
    def partners(first: str, second: str) -> tuple[str, str] | None:
        parts = {part_of_name(first), part_of_name(second)} - {None}
        return (first, second) if first != second and len(parts) < 2 else None

    candidates = _candidates(listing, keyed(), partners)
    return _finish(candidates, files, lambda file: trees[file][0] if file in trees else None)


def _affixes(trees: dict[str, tuple[str, tuple[str, ...]]]) -> dict[str, tuple[int, int]]:
    """For each tree the lengths of the letters (no digits) that all its stems begin and end with."""
    stems: dict[str, list[str]] = defaultdict(list)
    for file, (name, _) in trees.items():
        stems[name].append(stem_of(file).casefold())
    lengths = {}
    for name, own in stems.items():
        prefix = re.match(r"\D*", _common_prefix(own)).end()
        ending = re.match(r"\D*", _common_prefix([stem[::-1] for stem in own])).end()
        shortest = min(map(len, own))
        lengths[name] = (prefix, ending) if prefix + ending < shortest else (0, 0)
    return lengths


def _common_prefix(names: list[str]) -> str:
    first, last = min(names), max(names)
    return next((first[:i] for i, letter in enumerate(first) if not last.startswith(letter, i)), first)


_SPLIT = re.compile(r"(?=[_\-. ])|(?<=\d)(?=[^\W\d])")
_MOST_SPLITS = 4


def pair_suffixes(listing: Listing) -> Pairing:
    """Match images and masks that lie side by side: a common suffix (`Part0.jpg`, `Part0_label.bmp`) or another ending.

    The suffix begins at a separator or where letters follow a digit; it is found from the names.
    """
    files = [str(file) for file in listing.images()]

    def keyed() -> Iterator[tuple[tuple[str, str], Any, str]]:
        for file in files:
            folder, _, name = file.rpartition("/")
            stem, _, ending = name.rpartition(".")
            cuts = [m.start() for m in _SPLIT.finditer(stem) if m.start()][-_MOST_SPLITS:]
            for cut in (*cuts, len(stem)):
                yield (stem[cut:].casefold(), ending.casefold()), (folder, stem[:cut]), file

    def partners(first: tuple[str, str], second: tuple[str, str]) -> tuple | None:
        if first[0] != second[0]:
            return (first[0], ""), (second[0], "")
        return (first, second) if first[0] == "" and first[1] != second[1] else None

    candidates = _candidates(listing, keyed(), partners)[:1]
    if not candidates:
        return Pairing()
    image, mask = candidates[0].image, candidates[0].mask

    def family_of(file: str) -> tuple[str, str] | None:
        stem, _, ending = file.casefold().rpartition(".")
        for family in sorted((image, mask), key=lambda f: -len(f[0])):
            if stem.endswith(family[0]) and family[1] in ("", ending):
                return family
        return None

    result = _finish(candidates, files, family_of)
    result.families = [tuple(suffix or (f".{ending}" if ending else "") for suffix, ending in (image, mask))]
    return result


def unmatched_findings(pairing: Pairing) -> list[Finding]:
    """Findings for images without a mask, masks without an image, and folders of images that were not used."""
    no_mask = "an image with no mask of its name: left out; add its mask (all black for a good part)"
    no_image = "a mask with no image of its name: left out; add the image or take the mask away"
    findings = [Finding(file, "no-mask", no_mask, True) for file in pairing.lone_images]
    findings += [Finding(file, "no-image", no_image, True) for file in pairing.lone_masks]
    folders: dict[str, int] = defaultdict(int)
    for file in pairing.unused:
        folders[file.rpartition("/")[0] or "."] += 1
    for folder, count in sorted(folders.items()):
        text = (
            f"{count} image files that are neither images nor masks of the set: left out; take them away or pair them"
        )
        if SECOND_HINT.search(folder):
            text = f"{count} image files of objects, or pictures of masks: left out, the class masks are read instead"
        findings.append(Finding(folder, "unused-images", text, True))
    return findings
