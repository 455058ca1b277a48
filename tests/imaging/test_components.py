"""Connected components against scipy's labelling and hand-drawn cases."""

from __future__ import annotations

import numpy as np
import pytest

from defectctl.imaging.components import Component, find_components


def test_hand_drawn_classes_and_corners():
    class_map = np.array(
        [
            [2, 0, 0, 0, 255],
            [0, 2, 0, 1, 1],
            [0, 0, 0, 1, 1],
            [3, 0, 0, 0, 0],
            [1, 0, 0, 0, 3],
        ],
        np.uint8,
    )
    ids, components = find_components(class_map)
    assert components == [
        Component(label=1, area=4, box=(3, 1, 5, 3), index=1),
        Component(label=1, area=1, box=(0, 4, 1, 5), index=2),
        Component(label=2, area=2, box=(0, 0, 2, 2), index=3),
        Component(label=3, area=1, box=(0, 3, 1, 4), index=4),
        Component(label=3, area=1, box=(4, 4, 5, 5), index=5),
    ]
    assert ids.dtype == np.int32
    assert ids.tolist() == [[3, 0, 0, 0, 0], [0, 3, 0, 1, 1], [0, 0, 0, 1, 1], [4, 0, 0, 0, 0], [2, 0, 0, 0, 5]]


@pytest.mark.parametrize("value", [0, 255])
def test_background_and_unknown_are_no_components(value):
    ids, components = find_components(np.full((4, 5), value, np.uint8))
    assert components == []
    assert not ids.any()


def test_same_regions_as_scipy_on_random_maps():
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(0)
    for _ in range(20):
        class_map = rng.choice(np.array([0, 0, 1, 2, 254, 255], np.uint8), (23, 31))
        ids, components = find_components(class_map)
        assert [component.index for component in components] == list(range(1, len(components) + 1))
        expected = {}
        for label in (1, 2, 254):
            marks, count = ndimage.label(class_map == label, structure=np.ones((3, 3)))
            for mark in range(1, count + 1):
                rows, columns = np.nonzero(marks == mark)
                box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
                expected[(rows[0], columns[0])] = (label, len(rows), box)
        found = {}
        for component in components:
            rows, columns = np.nonzero(ids == component.index)
            found[(rows[0], columns[0])] = (component.label, component.area, component.box)
        assert found == expected


def test_views_and_columns_of_a_larger_map_are_taken():
    class_map = np.zeros((10, 10), np.uint8)
    class_map[2:4, 2:8] = 7
    ids, components = find_components(class_map[:, ::2])
    assert [(c.label, c.area, c.box) for c in components] == [(7, 6, (1, 2, 4, 4))]
    assert ids.shape == (10, 5)
