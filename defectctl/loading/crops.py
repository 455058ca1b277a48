"""Training crops at the image's own resolution (`input.mode: tile`): where they lie, and what is true of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from defectctl.dataset.types import UNKNOWN, Box
from defectctl.imaging.geometry import Geometry


def lay_crop(
    width: int,
    height: int,
    size: tuple[int, int],
    targets: Sequence[tuple[int, Box]],
    mask: NDArray[np.uint8] | None,
    defect_share: float,
    generator: np.random.Generator,
) -> Geometry:
    """Choose the place of a crop.

    Args:
        width, height: of the image; where it is smaller than the crop, all of it is shown and padded.
        size: (height, width) of the crop.
        targets: class and box of each defect.
        mask: `(H, W)` uint8; a defect too large for the crop is met at one of its pixels. None: anywhere in its box.
        defect_share: chance that the crop is laid around a defect, drawn evenly from the targets; the defect lies in
            it whole where it fits, at any place. Else the crop falls anywhere.
    """
    wants_defect, *places = generator.random(5)
    if not targets or wants_defect >= defect_share:
        top, left = _between(0, height - size[0], places[0]), _between(0, width - size[1], places[1])
        return Geometry.tile(width, height, *size, top, left)
    label, (x1, y1, x2, y2) = targets[int(generator.integers(len(targets)))]
    x1, y1 = max(0, int(np.floor(x1))), max(0, int(np.floor(y1)))
    x2, y2 = min(width, int(np.ceil(x2))), min(height, int(np.ceil(y2)))
    row, column = y1 + int(places[2] * max(y2 - y1, 1)), x1 + int(places[3] * max(x2 - x1, 1))
    if mask is not None:
        pixels = np.flatnonzero(mask[y1:y2, x1:x2] == label)
        if len(pixels):
            down, across = divmod(int(pixels[int(places[2] * len(pixels))]), x2 - x1)
            row, column = y1 + down, x1 + across
    top = _around(y1, y2, row, size[0], height, places[0])
    left = _around(x1, x2, column, size[1], width, places[1])
    return Geometry.tile(width, height, *size, top, left)


def crop_state(
    state: int, classes: int, mask: NDArray[np.uint8] | None, spoken: frozenset[int], whole: Sequence[bool]
) -> int:
    """Whether what a crop shows is defective: 1, 0, or -1 where nobody knows.

    A crop of a good part is good. A crop of a defective part is what its own pixels and boxes say; the image's label
    says nothing about it.

    Args:
        state: of the whole part.
        classes: number of defect classes.
        mask: the crop's mask, or None.
        spoken: classes of which the mask and the boxes speak.
        whole: per box of a class without mask that reaches into the crop: whether enough of it does to be seen.
    """
    if state == 0:
        return 0
    if any(whole) or (mask is not None and bool(((mask != 0) & (mask != UNKNOWN)).any())):
        return 1
    undecided = len(whole) > 0 or len(spoken) < classes or (mask is not None and bool((mask == UNKNOWN).any()))
    return -1 if undecided else 0


def _between(low: int, high: int, place: float) -> int:
    """One of the whole numbers low..high, for `place` in [0, 1); `low` where there are none."""
    return low + int(place * (max(high, low) - low + 1))


def _around(start: int, end: int, point: int, crop: int, length: int, place: float) -> int:
    """Start of a crop that holds start..end where it fits, and the point in any case."""
    if length <= crop:
        return 0
    if end - start <= crop:
        return _between(max(0, end - crop), min(start, length - crop), place)
    return _between(max(start, point - crop + 1), min(point, end - crop), place)
