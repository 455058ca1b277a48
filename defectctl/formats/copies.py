"""Looks for images of one photograph among those of a dataset, and notes them in the samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from numpy.typing import NDArray

from defectctl.dataset.near_duplicates import families, find_twins
from defectctl.dataset.types import Sample
from defectctl.imaging.prints import ImagePrint
from defectctl.imaging.reader import ImageError, read_image
from defectctl.messages import progress


def mark_copies(
    path_of: Callable[[Sample], Path], samples: Sequence[Sample], prints: Sequence[ImagePrint | None]
) -> list[str]:
    """Set `twins` of the samples that are near-duplicates of one another; return notes.

    Args:
        path_of: where a sample's image lies.
        prints: one a sample, in their order.
    """

    def read(index: int) -> NDArray | None:
        try:
            return read_image(path_of(samples[index]), "grey")
        except ImageError:
            return None

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
