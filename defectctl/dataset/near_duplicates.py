"""Finds images that are one another's copies but for a mirror, a quarter turn, re-encoding or a change of brightness.

Three sieves, each finer and dearer than the one before: neighbours in a tree over features that no pose changes, prints
compared in all eight poses, and the pixels themselves.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from defectctl.dataset.same_picture import difference
from defectctl.imaging.prints import COARSE, DETAIL, FLAT, POSES, ImagePrint, to_pose

NEIGHBOURS = 48
"""Nearest images looked at per image, so that a thousand views of one fixed scene cannot make a million pairs."""
MOST_DISTANCE = 0.2
"""Distance of two coarse prints (their norm is 1), at most. Of 2,100 real pictures and their copies (JPEG quality 50,
brightness changed by 10 levels and contrast by a tenth) four lie farther apart."""
LEAST_COARSE = 1 - MOST_DISTANCE**2 / 2
"""The same as a product of two coarse prints."""
LEAST_DETAIL = 0.15
"""Correlation of the prints' details, at least: of such copies it was at least 0.28."""
TELLING_DETAIL = 1.0
"""Standard deviation of the details, in 8-bit grey levels, under which they say nothing (mostly white, or blurred)."""
_RADII = (0.05, 0.1, MOST_DISTANCE)
"""Distances up to which the neighbours of a picture are sought, by what re-encoding can do to it: the smaller, the
faster."""
_NOISE, _CLIPPING = 0.8, 8.0
"""Grey levels by which re-encoding moves the coarse print (0.44 at most), and by which clipping does, times the root
of the clipped share (of 1,500 real pictures all but two stayed under the sum of the two with 7 in its place)."""
_FEATURES, _AXES = 8, 12
_CHUNK = 1 << 14
_CACHE_BYTES = 256 << 20

ReadGrey = Callable[[int], NDArray | None]
"""Index of an image -> its grey pixels `(H, W)` uint8, uint16 or float in 0..255; None where it cannot be read."""


@dataclass(frozen=True, slots=True, order=True)
class Twin:
    """Two images that are copies of each other.

    Attributes:
        first, second: indices, `first < second`.
        pose: what `imaging.prints.to_pose` must do to the second for it to lie on the first, 0..7.
        difference: mean absolute difference of the pixels in 8-bit grey levels, after brightness and contrast have been
            matched; 0.0 for identical pixels.
    """

    first: int
    second: int
    pose: int
    difference: float


def find_twins(
    prints: Sequence[ImagePrint | None],
    read: ReadGrey,
    watch: Callable[[Iterable, int], Iterable] | None = None,
) -> list[Twin]:
    """All pairs of near-duplicates, sorted. Images of different size (but for a quarter turn) are never paired.

    Args:
        prints: one an image, in the images' order; None stands for an image that has none and is left out.
        read: gives the pixels of an image; called in an order in which few images are needed at a time, from one
            thread. Whatever it raises is passed on.
        watch: wraps the iteration over the pairs whose pixels are compared, given their number (a progress bar).
    """
    pairs = candidates(prints)
    pairs = pairs[_reading_order(pairs)]
    pixels = PixelCache(read)
    twins = []
    for first, second in (watch or _unwatched)(pairs.tolist(), len(pairs)):
        twin = _compare(first, second, prints, pixels)
        if twin is not None:
            twins.append(twin)
    return sorted(twins)


def families(twins: Iterable[Twin]) -> list[list[int]]:
    """Indices joined by twins directly or through others: sorted lists of two or more, sorted by their first."""
    parent: dict[int, int] = {}
    for twin in twins:
        one, two = _root(parent, twin.first), _root(parent, twin.second)
        parent[max(one, two)] = min(one, two)
    members = defaultdict(list)
    for index in sorted(parent):
        members[_root(parent, index)].append(index)
    return sorted(members.values())


def candidates(prints: Sequence[ImagePrint | None]) -> NDArray[np.intp]:
    """Pairs `(n, 2)` of indices, first < second, sorted, whose prints agree in some pose."""
    rooms: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, found in enumerate(prints):
        if found is not None and found.spread >= FLAT:
            rooms[min(found.height, found.width), max(found.height, found.width)].append(index)
    found = [_in_room(prints, np.array(room)) for room in rooms.values() if len(room) > 1]
    return np.unique(np.concatenate([np.zeros((0, 2), np.intp), *found]), axis=0)


def _in_room(prints: Sequence[ImagePrint | None], room: NDArray[np.intp]) -> NDArray[np.intp]:
    """Candidates among images of one size."""
    shown = [prints[index] for index in room]
    coarse = np.stack([one.coarse for one in shown if one is not None])
    details = np.stack([one.detail for one in shown if one is not None])
    fine = np.array([one.fine for one in shown if one is not None])
    lying = np.array([np.sign(one.width - one.height) for one in shown if one is not None])
    reach = np.array([_reach(one) for one in shown if one is not None])
    near = _neighbours(_invariants(coarse), reach)
    kept = [
        pairs[_agreeing(pairs, coarse, details, fine, lying)]
        for pairs in (near[start : start + _CHUNK] for start in range(0, len(near), _CHUNK))
    ]
    return room[np.concatenate([np.zeros((0, 2), np.intp), *kept])]


def _invariants(coarse: NDArray[np.float16]) -> NDArray[np.float32]:
    """Features `(n, F)` that no pose changes and that never lie farther apart than the prints in their best pose.

    A mirror changes signs of coefficients: their size stays. A transposition swaps (u, v) and (v, u): the larger and
    the smaller of the two stay. Neither step lengthens a distance, nor does the turn to the principal axes.
    """
    sizes = np.abs(coarse[:, :_FEATURES, :_FEATURES].astype(np.float32))
    rows, columns = np.triu_indices(_FEATURES)
    upper, lower = sizes[:, rows, columns], sizes[:, columns, rows]
    table = np.concatenate([np.maximum(upper, lower), np.minimum(upper, lower)[:, rows != columns]], axis=1)
    table -= table.mean(axis=0)
    axes = np.linalg.eigh(table.T @ table)[1]
    return table @ axes[:, : -_AXES - 1 : -1]


def _reach(one: ImagePrint) -> float:
    """The distance within which the copies of an image lie."""
    expected = (_NOISE + _CLIPPING * one.clipped**0.5) / one.spread
    return next((radius for radius in _RADII if radius >= expected), _RADII[-1])


def _neighbours(points: NDArray[np.float32], reach: NDArray[np.float64]) -> NDArray[np.intp]:
    """Unique pairs `(n, 2)`, first < second, of each point with the nearest ones within its reach."""
    from scipy.spatial import cKDTree

    tree = cKDTree(points)
    count = min(NEIGHBOURS + 1, len(points))
    found = []
    for radius in _RADII:
        rows = np.flatnonzero(reach == radius)
        for start in range(0, len(rows), _CHUNK):
            block = rows[start : start + _CHUNK]
            others = tree.query(points[block], k=count, distance_upper_bound=radius)[1]
            row, column = np.nonzero(others < len(points))  # the tree says "none" by the number of points
            pairs = np.stack([block[row], others[row, column]], axis=1)
            found.append(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _agreeing(pairs: NDArray, coarse: NDArray, details: NDArray, fine: NDArray, lying: NDArray) -> NDArray[np.bool_]:
    """Whether a pair agrees in coarse print and detail, in one and the same pose."""
    first, second = pairs.T
    alike = _pose_correlations(coarse[first], coarse[second]) >= LEAST_COARSE
    alike[np.ix_(lying[first] != lying[second], [0, 2, 4, 6])] = False
    alike[np.ix_(lying[first] * lying[second] == 1, [1, 3, 5, 7])] = False
    mute = np.minimum(fine[first], fine[second]) < TELLING_DETAIL
    result = np.zeros(len(pairs), bool)
    for pose in range(POSES):
        rows = np.flatnonzero(alike[:, pose] & ~result)
        other = to_pose(details[second[rows]].transpose(1, 2, 0), pose).transpose(2, 0, 1)
        result[rows] = mute[rows] | (_correlation(details[first[rows]], other) >= LEAST_DETAIL)
    return result


def _pose_correlations(one: NDArray[np.float16], other: NDArray[np.float16]) -> NDArray[np.float32]:
    """Products `(n, 8)` of coarse prints `(n, C, C)` with the others' in each pose."""
    straight, turned = _pose_signs()
    one, other = one.astype(np.float32), other.astype(np.float32)
    result = np.empty((len(one), POSES), np.float32)
    result[:, 0::2] = (one * other).reshape(len(one), -1) @ straight
    result[:, 1::2] = (one * other.transpose(0, 2, 1)).reshape(len(one), -1) @ turned
    return result


@lru_cache(maxsize=1)
def _pose_signs() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Signs `(C * C, 4)` that the even poses give to cosine coefficients, and the odd ones to transposed coefficients.

    A mirror gives the odd columns a minus; a quarter turn transposes and then gives the odd rows a minus.
    """
    minus = np.where(np.arange(COARSE) % 2, -1, 1)
    signs = []
    for pose in range(POSES):
        sign = np.broadcast_to(minus if pose >= 4 else np.ones(COARSE), (COARSE, COARSE))
        for _ in range(pose % 4):
            sign = sign.T * minus[:, None]
        signs.append(sign.ravel().astype(np.float32))
    return np.stack(signs[0::2], axis=1), np.stack(signs[1::2], axis=1)


def _correlation(one: NDArray[np.int8], other: NDArray[np.int8]) -> NDArray[np.float32]:
    """Correlation of `(n, D, D)` details, row by row; 0 where one has none."""
    one, other = (rows.reshape(len(rows), DETAIL**2).astype(np.float32) for rows in (one, other))
    norms = np.einsum("ij,ij->i", one, one) * np.einsum("ij,ij->i", other, other)
    return np.einsum("ij,ij->i", one, other) / np.sqrt(np.maximum(norms, 1))


def _reading_order(pairs: NDArray[np.intp]) -> NDArray[np.intp]:
    """An order of the pairs in which those that hang together follow one another, so that images are read once."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(pairs):
        return np.zeros(0, np.intp)
    size = int(pairs.max()) + 1
    graph = coo_matrix((np.ones(len(pairs), bool), pairs.T), (size, size))
    family = connected_components(graph, directed=False)[1]
    return np.lexsort((pairs[:, 1], pairs[:, 0], family[pairs[:, 0]]))


def _compare(first: int, second: int, prints: Sequence[ImagePrint | None], pixels: PixelCache) -> Twin | None:
    """The pair as a twin in the pose in which its pixels differ least, or None."""
    one, other = prints[first], prints[second]
    grey, copy = pixels(first), pixels(second)
    if one is None or other is None or grey is None or copy is None:
        return None
    agreement = _pose_correlations(one.coarse[None], other.coarse[None])[0]
    best: Twin | None = None
    for pose in np.argsort(-agreement, kind="stable"):
        if agreement[pose] < LEAST_COARSE or (best is not None and best.difference == 0):
            break
        found = difference(grey, to_pose(copy, int(pose)))
        if found is not None and (best is None or found < best.difference):
            best = Twin(first, second, int(pose), found)
    return best


class PixelCache:
    """The pixels read last, up to a number of bytes."""

    def __init__(self, read: ReadGrey) -> None:
        self._read = read
        self._kept: OrderedDict[int, NDArray | None] = OrderedDict()
        self._bytes = 0

    def __call__(self, index: int) -> NDArray | None:
        if index not in self._kept:
            self._kept[index] = self._read(index)
            self._bytes += _size(self._kept[index])
            while self._bytes > _CACHE_BYTES and len(self._kept) > 1:
                self._bytes -= _size(self._kept.popitem(last=False)[1])
        self._kept.move_to_end(index)
        return self._kept[index]


def _size(pixels: NDArray | None) -> int:
    return 0 if pixels is None else pixels.nbytes


def _root(parent: dict[int, int], index: int) -> int:
    parent.setdefault(index, index)
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index


def _unwatched(pairs: Iterable, count: int) -> Iterator:
    del count
    return iter(pairs)
