"""Parts that images share, known by construction."""

from __future__ import annotations

import numpy as np

from defectctl.dataset.shared_parts import find_shared_parts, pose_of
from defectctl.imaging.prints import to_pose
from defectctl.imaging.synthetic import SyntheticSurface

SIDE = 200


def surface(index, size=(SIDE, SIDE)):
    return SyntheticSurface(seed=8, size=size, good_share=0).sample(index)[0]


def near(found, expected, slack=24):
    return all(abs(a - b) <= slack for a, b in zip(found, expected, strict=True))


def test_overlapping_photographs_share_their_overlap():
    strip = surface(0, (SIDE, 320))
    pictures = {3: strip[:, :SIDE], 5: np.rot90(strip[:, 120:]), 9: surface(1)}
    (part,) = find_shared_parts(sorted(pictures), pictures.__getitem__)
    assert (part.first, part.second) == (3, 5) and (to_pose(pictures[5], part.pose) == strip[:, 120:]).all()
    assert part.shift == (0, 120) and near(part.rectangle, (120, 0, 200, 200))


def test_a_mosaic_shares_a_part_with_each_of_its_sources():
    pictures = [surface(index) for index in range(4)]
    mosaic = np.hstack([np.rot90(pictures[1], 3)[:, :110], pictures[2][:, 110:]])
    pictures.append(np.ascontiguousarray(mosaic))
    one, two = find_shared_parts(range(5), lambda index: pictures[index])
    assert (one.first, one.second, one.pose) == (1, 4, 1) and (two.first, two.second) == (2, 4)
    assert two.pose == 0 and two.shift == (0, 0) and near(two.rectangle, (110, 0, 200, 200))


def test_unrelated_flat_and_unreadable_pictures_share_nothing():
    pictures = [surface(0), surface(1), np.full((SIDE, SIDE), 90, np.uint8), None, surface(2)]
    assert find_shared_parts(range(5), lambda index: pictures[index]) == []
    assert find_shared_parts([], pictures.__getitem__) == []


def test_the_matrix_of_a_turn_names_its_pose():
    assert pose_of(np.eye(2)) == 0 and pose_of(np.array([[0, -1], [1, 0]])) == 1 and pose_of(np.diag([1, -1])) == 4
