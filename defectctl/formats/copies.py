"""Looks for images of one photograph, and images that show parts of others, and notes them in the samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from numpy.typing import NDArray

from defectctl.dataset.near_duplicates import ReadGrey, families, find_twins
from defectctl.dataset.shared_parts import find_shared_parts
from defectctl.dataset.splits import clusters
from defectctl.dataset.ties import cut_ties
from defectctl.dataset.types import Sample
from defectctl.imaging.prints import ImagePrint
from defectctl.imaging.reader import ImageError, read_image
from defectctl.messages import progress, say

MOST_TOGETHER = 0.05
"""Share of all images that may hang together by shared parts; what ties more together can only train."""
LEAST_TOGETHER = 20
"""So many images may hang together however few there are."""

PathOf = Callable[[Sample], Path]
"""Where a sample's image lies."""


def mark_copies(path_of: PathOf, samples: Sequence[Sample], prints: Sequence[ImagePrint | None]) -> list[str]:
    """Set `twins` of the samples that are near-duplicates of one another; return notes.

    Args:
        prints: one a sample, in their order.
    """
    read = _reader(path_of, samples)
    twins = find_twins(prints, read, lambda pairs, count: progress(pairs, count, "copies", "pair"))
    groups = families(twins)
    for group in groups:
        ids = sorted(samples[index].id for index in group)
        for index in group:
            samples[index].twins = ids[0]
    if not groups:
        return []
    turned = sum(twin.pose != 0 for twin in twins)
    images = sum(map(len, groups))
    return [
        f"near-duplicates: {images} images are copies of {len(groups)} photographs ({len(twins)} pairs, of them turned"
        f" or mirrored: {turned}); no split of our own parts them"
    ]


def mark_parts(path_of: PathOf, samples: Sequence[Sample]) -> list[str]:
    """Set `overlaps` and `pasted_from` of samples that show parts of others; return notes. After `mark_copies`."""
    say("looking for images that show parts of one another")
    groups = clusters(samples)
    home = {i: number for number, ids in enumerate(groups) for i in ids}
    chosen: dict[str, int] = {}
    for index, sample in enumerate(samples):
        chosen.setdefault(sample.twins or sample.sha256, index)
    found = find_shared_parts(sorted(chosen.values()), _reader(path_of, samples))
    pairs = {(home[samples[part.first].id], home[samples[part.second].id]) for part in found}
    edges = {(one, other) for one, other in pairs if one != other}
    if not edges:
        return ["shared parts: no image was found that shows a part of another"]
    sizes = {number: len(ids) for number, ids in enumerate(groups)}
    cut = cut_ties(edges, sizes, max(LEAST_TOGETHER, int(MOST_TOGETHER * len(samples))))
    tied = sum(sizes[tie] for tie in cut.ties)
    if 2 * tied > len(samples):
        return [
            f"shared parts: {len(edges)} pairs of photographs look alike in parts, as with one background behind them"
            " all; splits take no notice of them"
        ]
    by_id = {sample.id: sample for sample in samples}
    for tie, beside in cut.ties.items():
        for sample_id in groups[tie]:
            by_id[sample_id].pasted_from = tuple(groups[number][0] for number in beside)
    for component in cut.components:
        ids = sorted(sample_id for number in component for sample_id in groups[number])
        for sample_id in ids:
            by_id[sample_id].overlaps = ids[0]
    return [
        f"shared parts: {len(edges)} pairs of photographs show parts of each other; {tied} images that would tie too"
        " many others together can only train"
    ]


def _reader(path_of: PathOf, samples: Sequence[Sample]) -> ReadGrey:
    def read(index: int) -> NDArray | None:
        try:
            return read_image(path_of(samples[index]), "grey")
        except ImageError:
            return None

    return read
