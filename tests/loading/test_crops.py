"""Where crops fall, and what they say of their part."""

from __future__ import annotations

import numpy as np
import pytest

from defectctl.loading.crops import crop_state, lay_crop


def crops(targets, mask=None, share=1.0, width=200, height=150, size=(32, 48), count=300):
    return [
        lay_crop(width, height, size, targets, mask, share, np.random.default_rng([7, number]))
        for number in range(count)
    ]


def test_a_defect_that_fits_lies_whole_in_its_crop_at_every_place():
    found = crops([(1, (100.0, 60, 110, 70))])
    offsets = set()
    for where in found:
        x1, y1, x2, y2 = where.to_network((100, 60, 110, 70))
        assert x1 >= 0 and y1 >= 0 and x2 <= 48 and y2 <= 32
        offsets.add((x1, y1))
    assert {x for x, _ in offsets} == set(range(39)) and {y for _, y in offsets} == set(range(23))


def test_a_defect_too_large_for_the_crop_is_met_at_its_pixels():
    mask = np.zeros((150, 200), np.uint8)
    np.fill_diagonal(mask[10:140, 20:150], 2)  # a thin diagonal: most of its box is empty
    seen = set()
    for where in crops([(2, (20.0, 10, 150, 140))], mask):
        assert mask[where.seen].any()
        seen.add(where.crop_top)
    assert min(seen) < 20 and max(seen) > 95
    for where in crops([(2, (20.0, 10, 150, 140))]):  # only the box is known: the crop lies in it
        assert 20 <= where.crop_left <= 150 - 48 and 10 <= where.crop_top <= 140 - 32


def test_other_crops_fall_evenly_anywhere():
    found = crops([(1, (0.0, 0, 5, 5))], share=0.0, count=2000)
    tops = np.bincount([where.crop_top for where in found], minlength=119)
    assert len(tops) == 119 and tops.min() > 0 and tops.max() < 45  # 16.8 each on average
    assert {where.crop_left for where in found} == set(range(153))


def test_the_share_of_crops_with_a_defect_is_the_one_asked_for():
    inside = sum(w.to_network((0, 0, 5, 5))[:2] == (0, 0) for w in crops([(1, (0.0, 0, 5, 5))], share=0.3, count=2000))
    assert inside / 2000 == pytest.approx(0.3, abs=0.03)


def test_a_small_image_is_shown_whole():
    for where in crops([(1, (3.0, 3, 9, 9))], width=20, height=100):
        assert (where.crop_left, where.inner_width, where.left) == (0, 20, 14) and where.inner_height == 32


@pytest.mark.parametrize(
    ("state", "mask", "spoken", "whole", "expected"),
    [
        (0, None, (), [], 0),  # a good part is good everywhere
        (1, [[0, 2]], (1, 2), [], 1),
        (-1, [[0, 2]], (2,), [], 1),
        (1, [[0, 0]], (1, 2), [], 0),  # the defect lies elsewhere
        (1, [[0, 0]], (1,), [], -1),  # of class 2 nobody knows
        (1, [[0, 255]], (1, 2), [], -1),
        (1, None, (1, 2), [True], 1),
        (1, None, (1, 2), [False], -1),  # a corner of a box: perhaps, perhaps not
        (1, None, (1, 2), [], 0),
        (1, None, (), [], -1),  # an image label says nothing about a crop
    ],
)
def test_the_state_of_a_crop(state, mask, spoken, whole, expected):
    mask = None if mask is None else np.array(mask, np.uint8)
    assert crop_state(state, 2, mask, frozenset(spoken), whole) == expected
