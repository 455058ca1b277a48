"""Holds one image's predicted defects against its true ones: which pixels they share, and how far outlines differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from defectctl.metrics.instances import DISTANCE_EDGES, INSTANCE_GROUPS, Instances

if TYPE_CHECKING:
    from defectctl.imaging.components import Component


def match_instances(
    truth: np.ndarray | None,
    predicted: np.ndarray,
    known: np.ndarray,
    components: tuple[np.ndarray, list[Component]] | None = None,
) -> Instances:
    """Hold one image's predicted defects against its true ones; the definition of what `Instances` holds.

    What is unknown is as in `count_image`. A true patch of a class for which the mask does not speak is no defect but
    an unknown area, as is 255. A defect that adjoins one counts with the pixels that are known, and is marked `cut`.
    Its pixels are hit by any predicted class, also one of which the mask does not speak. A predicted patch of such a
    class is no blob, for nobody can call it false.

    Outlines are compared pair by pair, true defects of all classes together against predicted ones of all classes: a
    defect found in two pieces, or two found as one, makes one pair. Outline pixels in an unknown area or beside one
    are not measured, and a pair of which none is left is none.

    Args:
        truth: `(H, W)` uint8 class index, 255 unknown; None where there is no mask.
        predicted: `(H, W)` uint8 class index 0..K, as `predict` reports it: without its small components.
        known: `(1+K,)` bool, classes for which the mask speaks.
        components: what `find_components` says of `predicted`, where that is known already: ids `(H, W)` int32 and
            the components in order of `index`. Small components may have been removed since: the list must be without
            them, as `predicted` is, while ids may still hold their numbers; a number that no listed component has
            counts as 0.

    Returns:
        `Instances` of one row; not judged, and without any defect, where no pixel has a truth.
    """
    import cv2

    from defectctl.imaging.components import find_components

    if truth is None or not known[0]:
        return Instances.none(judged=False)
    # All that counts lies around the defects; one pixel more tells whether they adjoin the unknown.
    left, top, width, height = cv2.boundingRect(cv2.bitwise_or(truth, predicted))
    if not width:
        return Instances.none(judged=True)
    left, top, right, bottom = max(left - 1, 0), max(top - 1, 0), left + width + 1, top + height + 1
    window = slice(top, bottom), slice(left, right)
    speaks = np.zeros(256, np.uint8)
    speaks[: len(known)] = known
    judged = cv2.LUT(truth[window], speaks)
    if judged.size == truth.size and not judged.any():
        return Instances.none(judged=False)
    true = cv2.LUT(truth[window], np.arange(256, dtype=np.uint8) * speaks)
    said = np.ascontiguousarray(predicted[window])
    blobs = find_components(said) if components is None else (components[0][window], components[1])
    origin = (0, 0) if components is None else (left, top)
    return _match(_Patches.of(*find_components(true)), _Patches.of(*blobs, origin), judged == 0, said, speaks)


class _Patches(NamedTuple):
    """Components as arrays: ids `(H, W)` int32, 0..P; label, area `(1+P,)` int64, 0 of no patch; box `(P, 4)`."""

    ids: np.ndarray
    label: np.ndarray
    area: np.ndarray
    box: np.ndarray

    @classmethod
    def of(cls, ids: np.ndarray, components: list[Component], origin: tuple[int, int] = (0, 0)) -> _Patches:
        """`origin` is the corner (x, y) of the window that `ids` are of, in the picture that boxes are of."""
        highest = int(ids.max(initial=0))
        if highest != len(components):
            numbers = np.zeros(1 + max([highest, *(patch.index for patch in components[-1:])]), np.int32)
            numbers[[patch.index for patch in components]] = np.arange(1, 1 + len(components))
            ids = numbers[ids]
        label, area = np.array([(0, 0), *((patch.label, patch.area) for patch in components)]).T
        box = np.array([patch.box for patch in components]).reshape(-1, 4).astype(np.int64) - [*origin, *origin]
        return cls(ids, label, area, box)


def _match(true: _Patches, said: _Patches, silent: np.ndarray, predicted: np.ndarray, speaks: np.ndarray) -> Instances:
    """`match_instances` of a window; `(H, W)` bool `silent`: where nobody knows."""
    import cv2

    first, second, pixels = _shared_pixels(true.ids, said.ids)
    same = true.label[first] == said.label[second]
    hit = _sums(first, pixels, len(true.label))
    blobs = np.flatnonzero(speaks[said.label])[1:]  # of index 0, which is no patch, the label is background
    columns = {
        "row": np.zeros(len(true.box)),
        "label": true.label[1:],
        "area": true.area[1:],
        "hit": hit[1:],
        "hit_class": _sums(first[same], pixels[same], len(true.label))[1:],
        "cut": _touched(true.ids, silent, len(true.label))[1:],
        "blob_row": np.zeros(len(blobs)),
        "blob_label": said.label[blobs],
        "blob_area": said.area[blobs],
        "blob_true": _sums(second, pixels, len(said.label))[blobs],
        "blob_unknown": np.bincount(said.ids[silent], minlength=len(said.label))[blobs],
        "judged": np.ones(1),
    }
    unsure = silent | ((true.ids == 0) & (cv2.LUT(predicted, speaks) == 0))
    groups = _groups(first, second, len(true.label), len(said.label))
    return Instances(**columns, **_pairs(true, said, groups, hit, unsure))


def _shared_pixels(true_ids: np.ndarray, said_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`(true, said, pixels)`, an entry for each two patches that share pixels."""
    common = (true_ids > 0) & (said_ids > 0)
    side = int(said_ids.max(initial=0)) + 1
    codes = true_ids[common].astype(np.int64) * side + said_ids[common]
    # Neighbours in a row mostly belong to the same patches: sorting runs is far quicker than sorting pixels.
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    found, place = np.unique(codes[starts], return_inverse=True)
    return found // side, found % side, _sums(place, np.diff(starts, append=len(codes)), len(found))


def _sums(place: np.ndarray, values: np.ndarray, length: int) -> np.ndarray:
    return np.bincount(place, weights=values, minlength=length).astype(np.int64)


def _touched(ids: np.ndarray, area: np.ndarray, length: int) -> np.ndarray:
    """`(length,)` bool: patches with one of the eight neighbours of any pixel in `area`."""
    if not area.any():
        return np.zeros(length, bool)
    return np.bincount(ids[_widened(area) > 0], minlength=length) > 0


def _widened(area: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.dilate(area.astype(np.uint8), np.ones((3, 3), np.uint8))


def _groups(first: np.ndarray, second: np.ndarray, true: int, said: int) -> tuple[np.ndarray, np.ndarray]:
    """Number of its pair, `(true,)` and `(said,)` int64, 0 for a patch that shares pixels with none."""
    leader = list(range(true + said))

    def lead(patch: int) -> int:
        while leader[patch] != patch:
            leader[patch] = leader[leader[patch]]
            patch = leader[patch]
        return patch

    linked = first.tolist(), (true + second).tolist()
    for here, there in zip(*linked, strict=True):
        leader[lead(there)] = lead(here)
    numbers, order = np.zeros(true + said, np.int64), {}
    for patch in sorted({*linked[0], *linked[1]}):
        numbers[patch] = order.setdefault(lead(patch), len(order) + 1)
    return numbers[:true], numbers[true:]


def _pairs(
    true: _Patches, said: _Patches, groups: tuple[np.ndarray, np.ndarray], hit: np.ndarray, unsure: np.ndarray
) -> dict[str, np.ndarray]:
    """The columns of the pairs; each is measured within the rectangle around its own patches only."""
    from defectctl.imaging.boundaries import outline_distances

    count = int(groups[0].max(initial=0)) + 1
    area, hit = (_sums(groups[0], values, count) for values in (true.area, hit))
    owner, box = np.concatenate([groups[0][1:], groups[1][1:]]), np.concatenate([true.box, said.box])
    starts, ends = np.full((count, 2), unsure.size, np.int64), np.zeros((count, 2), np.int64)
    np.minimum.at(starts, owner, box[:, :2])
    np.maximum.at(ends, owner, box[:, 2:])
    ignored = _widened(unsure) if unsure.any() else None
    rows = []
    for number, ((left, top), (right, bottom)) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        if not number:
            continue
        window = slice(top, bottom), slice(left, right)
        regions = [
            (numbers[patches.ids[window]] == number).view(np.uint8)
            for numbers, patches in zip(groups, (true, said), strict=True)
        ]
        distances = outline_distances(*regions, None if ignored is None else ignored[window])
        if len(distances):
            place = np.minimum(np.searchsorted(DISTANCE_EDGES, distances), len(DISTANCE_EDGES) - 1)
            histogram = np.bincount(place, minlength=len(DISTANCE_EDGES))
            rows.append((0, area[number], hit[number], distances.sum(), histogram))
    names = INSTANCE_GROUPS["pair_row"]
    if not rows:
        return {name: getattr(Instances.none(True), name) for name in names}
    return dict(zip(names, map(np.array, zip(*rows, strict=True)), strict=True))
