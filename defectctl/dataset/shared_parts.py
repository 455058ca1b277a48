"""Finds pairs of images of which one shows a part of the other, in any of the eight poses and moved anywhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectctl.dataset.landmarks import LENGTH, Landmarks, landmarks
from defectctl.dataset.near_duplicates import PixelCache, ReadGrey
from defectctl.imaging.prints import POSES, to_levels, to_pose

Rectangle = tuple[int, int, int, int]
"""`(x1, y1, x2, y2)` in whole pixels, half-open."""

NEIGHBOURS = 8
MOST_DISTANCE = 0.12
"""Distance of two landmarks' looks, whose norm is 1, at most."""
LEAST_VOTES = 3
"""Landmarks that must agree on pose and place before pixels are looked at."""
LEAST_SHARE = 0.04
"""Of the image's area, at least."""
_WINDOW = 21
_LEAST_CORRELATION = 0.4
_TOLERANCE = 3
_TABLES = 12


@dataclass(frozen=True, slots=True)
class SharedPart:
    """A rectangle of one image that another shows too.

    Attributes:
        first, second: indices of the images, `first < second`.
        pose: what `imaging.prints.to_pose` must do to the second.
        shift: rows and columns by which the posed second must then be moved.
        rectangle: the part in the first image's pixels.
    """

    first: int
    second: int
    pose: int
    shift: tuple[int, int]
    rectangle: Rectangle


def find_shared_parts(indices: Iterable[int], read: ReadGrey) -> list[SharedPart]:
    """Shared parts among the images `indices`, which should hold one of each family of near-duplicates, sorted.

    A search, no proof: parts of little structure, scaled or turned by other than quarter turns are not found. Images
    that `read` gives None for are left out.
    """
    pixels = PixelCache(read)
    owners: list[int] = []
    points: list[Landmarks] = []
    for index in indices:
        grey = pixels(index)
        if grey is not None:
            owners.append(index)
            points.append(landmarks(grey))
    parts = []
    for one, other, turn, shift in _agreements(points):
        first, second = sorted((owners[one], owners[other]))
        if owners[one] > owners[other]:
            turn, shift = turn.T, -turn.T @ shift
        grey, posed = pixels(first), pixels(second)
        if grey is not None and posed is not None:
            found = _compare(first, second, grey, posed, turn, shift)
            parts += [found] if found is not None else []
    unique = {(part.first, part.second, part.pose, part.rectangle): part for part in parts}
    return [unique[key] for key in sorted(unique)]


def _agreements(points: list[Landmarks]) -> Iterator[tuple[int, int, NDArray, NDArray]]:
    """Pairs of pictures of which several landmarks agree on how the one must be turned and moved to lie on the other.

    Yields:
        `(one, other, turn (2, 2), shift (2,))`: place in one = turn @ place in other + shift, as in `Landmarks`.
    """
    if not any(len(found.places) for found in points):
        return
    owner = np.repeat(np.arange(len(points)), [len(found.places) for found in points])
    places = np.concatenate([found.places for found in points])
    poses = np.concatenate([found.poses for found in points]).astype(np.int64)
    rows, others = _alike(np.concatenate([found.looks for found in points]))
    keep = owner[rows] < owner[others]
    rows, others = rows[keep], others[keep]
    turns = poses[rows].transpose(0, 2, 1) @ poses[others]
    shifts = places[rows] - np.einsum("nij,nj->ni", turns, places[others])
    votes: dict[tuple, list[NDArray]] = defaultdict(list)
    for one, other, turn, shift in zip(owner[rows].tolist(), owner[others].tolist(), turns, shifts, strict=True):
        votes[(one, other, *turn.ravel().tolist())].append(shift)
    for (one, other, *turn), found in votes.items():
        if len(found) < LEAST_VOTES:
            continue
        table = np.stack(found)
        near = (np.abs(table[:, None] - table[None]) <= _TOLERANCE).all(axis=2)
        best = int(near.sum(axis=1).argmax())
        if near[best].sum() >= LEAST_VOTES:
            yield one, other, np.array(turn).reshape(2, 2), np.rint(np.median(table[near[best]], axis=0) * 2) / 2


def _alike(looks: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of landmarks that look alike, both ways round.

    Looks are turned at random several times and each time sorted by the signs of their first numbers, so that those
    nearly equal are likely to come to lie close together at least once. Each time a landmark meets at most `NEIGHBOURS`
    on either side: so of a part that very many images show, not every pair of images is found.
    """
    rng = np.random.default_rng(0)
    count = len(looks)
    centred = looks - looks.mean(axis=0)
    bits = min(LENGTH, max(1, count.bit_length() - 1))
    found = []
    for _ in range(_TABLES):
        turned = centred @ np.linalg.qr(rng.normal(size=(LENGTH, LENGTH)))[0].astype(np.float32)
        codes = (turned[:, :bits] > 0) @ (1 << np.arange(bits))
        order = np.argsort(codes, kind="stable")
        for step in range(1, min(NEIGHBOURS, count - 1) + 1):
            rows, others = order[:-step], order[step:]
            same = codes[rows] == codes[others]
            rows, others = rows[same], others[same]
            near = ((looks[rows] - looks[others]) ** 2).sum(axis=1) <= MOST_DISTANCE**2
            found += [rows[near] * count + others[near], others[near] * count + rows[near]]
    pairs = np.unique(np.concatenate([np.zeros(0, np.intp), *found]))
    return pairs // max(count, 1), pairs % max(count, 1)


def pose_of(turn: NDArray) -> int:
    """The pose (0..7) whose effect on (row, column) places about the middle is the matrix `turn` `(2, 2)`."""
    quarter, mirror = np.array([[0, -1], [1, 0]]), np.diag([1, -1])
    matrices = [
        np.linalg.matrix_power(quarter, pose % 4) @ (mirror if pose >= 4 else np.eye(2)) for pose in range(POSES)
    ]
    return next(pose for pose, matrix in enumerate(matrices) if (matrix == turn).all())


def _compare(
    first: int, second: int, grey: NDArray, other: NDArray, turn: NDArray, shift: NDArray
) -> SharedPart | None:
    """The part that both show when the second is turned and then moved by `shift` about the middles, or None."""
    import cv2

    pose = pose_of(turn)
    one, two = _fine(grey), np.ascontiguousarray(to_pose(_fine(other), pose))
    guess = np.rint(shift + (np.array(one.shape) - two.shape) / 2).astype(int)
    moved = max(_nearby(guess), key=lambda move: _product(one, two, move))
    here, there = _overlap(one.shape, two.shape, moved)
    if min(side.stop - side.start for side in here) < _WINDOW:
        return None
    one, two = one[here], two[there]
    size = (_WINDOW, _WINDOW)
    energies = [cv2.blur(part * part, size) for part in (one, two)]
    telling = np.minimum(*energies) > 0.25
    agree = telling & (cv2.blur(one * two, size) >= _LEAST_CORRELATION * np.sqrt(energies[0] * energies[1]))
    box = _main_rectangle(agree)
    if box is None or (box[2] - box[0]) * (box[3] - box[1]) < LEAST_SHARE * grey.size:
        return None
    x, y = here[1].start, here[0].start
    rectangle = (box[0] + x, box[1] + y, box[2] + x, box[3] + y)
    return SharedPart(first, second, pose, moved, rectangle)


def _fine(grey: NDArray) -> NDArray[np.float32]:
    import cv2

    levels = to_levels(grey)
    return levels - cv2.GaussianBlur(levels, (0, 0), 2)


def _nearby(guess: NDArray) -> list[tuple[int, int]]:
    return [(int(guess[0]) + y, int(guess[1]) + x) for y in (0, -1, 1, -2, 2) for x in (0, -1, 1, -2, 2)]


def _overlap(one: tuple, two: tuple, move: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where two pictures lie over each other when the second is moved: slices of the one and of the other."""
    here = [slice(max(0, m), max(0, m, min(a, b + m))) for a, b, m in zip(one, two, move, strict=True)]
    there = [slice(side.start - m, side.stop - m) for side, m in zip(here, move, strict=True)]
    return (here[0], here[1]), (there[0], there[1])


def _product(one: NDArray, two: NDArray, move: tuple[int, int]) -> float:
    here, there = _overlap(one.shape, two.shape, move)
    return float(np.vdot(one[here], two[there])) if here[0].stop > here[0].start and here[1].stop > here[1].start else 0


def _main_rectangle(agree: NDArray[np.bool_]) -> Rectangle | None:
    """The bounding box of the largest patch that agrees, or None where that fills little of its box."""
    import cv2

    solid = cv2.morphologyEx(agree.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((_WINDOW, _WINDOW), np.uint8))
    solid = cv2.morphologyEx(solid, cv2.MORPH_OPEN, np.ones((_WINDOW // 2, _WINDOW // 2), np.uint8))
    count, _, stats, _ = cv2.connectedComponentsWithStats(solid)
    if count < 2:
        return None
    x, y, width, height, area = stats[1 + int(stats[1:, 4].argmax())].tolist()
    return (x, y, x + width, y + height) if area >= 0.6 * width * height else None
