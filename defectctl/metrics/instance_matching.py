"""Holds one image's predicted defects against its true ones: which pixels they share, and how far outlines differ."""

from __future__ import annotations

import numpy as np

from defectctl.metrics.instances import DISTANCE_EDGES, INSTANCE_GROUPS, Instances


def match_instances(truth: np.ndarray | None, predicted: np.ndarray, known: np.ndarray) -> Instances:
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

    Returns:
        `Instances` of one row; not judged, and without any defect, where no pixel has a truth.
    """
    import cv2

    if truth is None or not known[0]:
        return Instances.none(judged=False)
    speaks = np.zeros(256, np.uint8)
    speaks[: len(known)] = known
    judged = cv2.LUT(truth, speaks)
    if not judged.any():
        return Instances.none(judged=False)
    true = cv2.LUT(truth, np.arange(256, dtype=np.uint8) * speaks)
    left, top, width, height = cv2.boundingRect(cv2.bitwise_or(true, predicted))
    if not width:
        return Instances.none(judged=True)
    # All that counts lies around the defects; one pixel more tells whether they adjoin the unknown.
    window = slice(max(top - 1, 0), top + height + 1), slice(max(left - 1, 0), left + width + 1)
    return _match(true[window], np.ascontiguousarray(predicted[window]), judged[window] == 0, speaks)


def _match(truth: np.ndarray, predicted: np.ndarray, silent: np.ndarray, speaks: np.ndarray) -> Instances:
    """`match_instances` of a window: `truth` is 0 where `silent`, `(H, W)` bool, says that nobody knows."""
    import cv2

    from defectctl.imaging.components import find_components

    true_ids, true = find_components(truth)
    said_ids, said = find_components(predicted)
    label, said_label = (np.array([0, *(patch.label for patch in group)]) for group in (true, said))
    area, said_area = (np.array([0, *(patch.area for patch in group)]) for group in (true, said))
    first, second, pixels = _shared_pixels(true_ids, said_ids)
    same = label[first] == said_label[second]
    hit = _sums(first, pixels, len(label))
    blobs = np.flatnonzero(speaks[said_label])[1:]  # of index 0, which is no patch, the label is background
    columns = {
        "row": np.zeros(len(true)),
        "label": label[1:],
        "area": area[1:],
        "hit": hit[1:],
        "hit_class": _sums(first[same], pixels[same], len(label))[1:],
        "cut": _touched(true_ids, silent, len(label))[1:],
        "blob_row": np.zeros(len(blobs)),
        "blob_label": said_label[blobs],
        "blob_area": said_area[blobs],
        "blob_true": _sums(second, pixels, len(said_label))[blobs],
        "blob_unknown": np.bincount(said_ids[silent], minlength=len(said_label))[blobs],
        "judged": np.ones(1),
    }
    unsure = silent | ((truth == 0) & (cv2.LUT(predicted, speaks) == 0))
    groups = _groups(first, second, len(label), len(said_label))
    boxes = [np.array([patch.box for patch in group]).reshape(-1, 4) for group in (true, said)]
    return Instances(**columns, **_pairs(true_ids, said_ids, boxes, groups, area, hit, unsure))


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
    true_ids: np.ndarray,
    said_ids: np.ndarray,
    boxes: list[np.ndarray],
    groups: tuple[np.ndarray, np.ndarray],
    area: np.ndarray,
    hit: np.ndarray,
    unsure: np.ndarray,
) -> dict[str, np.ndarray]:
    """The columns of the pairs; each is measured within the rectangle around its own patches only."""
    from defectctl.imaging.boundaries import outline_distances

    ignored = _widened(unsure) if unsure.any() else None
    rows = []
    for number in range(1, int(groups[0].max(initial=0)) + 1):
        mine = groups[0] == number, groups[1] == number
        edges = np.concatenate([box[own[1:]] for box, own in zip(boxes, mine, strict=True)])
        (left, top), (right, bottom) = edges[:, :2].min(axis=0).astype(int), edges[:, 2:].max(axis=0).astype(int)
        window = slice(top, bottom), slice(left, right)
        regions = [own[ids[window]].view(np.uint8) for own, ids in zip(mine, (true_ids, said_ids), strict=True)]
        distances = outline_distances(*regions, None if ignored is None else ignored[window])
        if len(distances):
            place = np.minimum(np.searchsorted(DISTANCE_EDGES, distances), len(DISTANCE_EDGES) - 1)
            histogram = np.bincount(place, minlength=len(DISTANCE_EDGES))
            rows.append((0, area[mine[0]].sum(), hit[mine[0]].sum(), distances.sum(), histogram))
    names = INSTANCE_GROUPS["pair_row"]
    if not rows:
        return {name: getattr(Instances.none(True), name) for name in names}
    return dict(zip(names, map(np.array, zip(*rows, strict=True)), strict=True))
