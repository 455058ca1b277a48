"""Connected components against scipy's labelling and hand-drawn cases."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy import ndimage

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


def by_scipy(class_map: np.ndarray) -> tuple[np.ndarray, list[Component]]:
    """The same by scipy: labels one class at a time, sorts by class and then by first pixel."""
    found = []
    for label in sorted(set(class_map.ravel().tolist()) - {0, 255}):
        marks, _ = ndimage.label(class_map == label, structure=np.ones((3, 3)))
        for mark, (rows, columns) in enumerate(ndimage.find_objects(marks), 1):
            own = marks == mark
            pixels = np.flatnonzero(own)
            box = (float(columns.start), float(rows.start), float(columns.stop), float(rows.stop))
            found.append((label, int(pixels[0]), len(pixels), box, own))
    ids = np.zeros(class_map.shape, np.int32)
    components = []
    for index, (label, _, area, box, own) in enumerate(sorted(found, key=lambda patch: patch[:2]), 1):
        ids[own] = index
        components.append(Component(label, area, box, index))
    return ids, components


def assert_as_scipy(class_map: np.ndarray) -> None:
    (ids, components), (true_ids, true) = find_components(class_map), by_scipy(class_map)
    assert components == true
    assert ids.dtype == np.int32 and ids.shape == class_map.shape and (ids == true_ids).all()
    for component in components:
        assert {type(component.label), type(component.area), type(component.index)} <= {int}
        assert {type(edge) for edge in component.box} == {float}


@pytest.mark.parametrize("density", [0.0, 0.002, 0.02, 0.1, 0.3, 0.5, 0.8, 0.98, 1.0])
@pytest.mark.parametrize("labels", [[1], [1, 2, 254, 255]])
def test_same_as_scipy_on_random_maps(density: float, labels: list[int]) -> None:
    rng = np.random.default_rng(round(1000 * density) + len(labels))
    for shape in ((23, 31), (40, 9), (1, 50), (50, 1), (2, 2)):
        assert_as_scipy(np.where(rng.random(shape) < density, rng.choice(labels, shape), 0).astype(np.uint8))


@pytest.mark.parametrize("threads", [1, 4])
def test_same_as_scipy_however_many_threads(threads: int) -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        assert_as_scipy((np.random.default_rng(1).random((130, 40)) < 0.15).astype(np.uint8))
    finally:
        cv2.setNumThreads(before)


def test_same_as_scipy_with_every_class() -> None:
    assert_as_scipy(np.arange(512, dtype=np.int64).reshape(16, 32).astype(np.uint8))
    assert_as_scipy(np.random.default_rng(2).integers(0, 256, (20, 30)).astype(np.uint8))


def thin_and_bordering() -> dict[str, np.ndarray]:
    """Lines one pixel wide, patches at the edges, and shapes whose first pixel is not where a block scan meets them."""
    slope = np.eye(12, dtype=np.uint8)
    frame = np.full((7, 9), 3, np.uint8)
    frame[1:-1, 1:-1] = 0
    ring = frame.copy()
    ring[3, 4] = 3
    ends = np.zeros((6, 8), np.uint8)
    ends[:, 0] = ends[:, -1] = 1
    late = np.array([[0, 0, 0, 0, 1], [1, 0, 0, 1, 0], [0, 1, 1, 0, 0], [1, 0, 0, 0, 1]], np.uint8)
    maps = {"slope": slope, "other slope": slope[:, ::-1], "cross": slope | slope[:, ::-1], "frame": frame}
    maps |= {
        "ring": ring,
        "row ends": ends,
        "joined late": late,
        "checks": np.indices((6, 7)).sum(0).astype(np.uint8) % 2,
    }
    maps |= {
        "stripes": np.tile(np.array([1, 2], np.uint8), (5, 6)),
        "unknown between": np.array([[1, 255, 1]], np.uint8),
    }
    for place in ((0, 0), (0, 4), (3, 0), (3, 4)):
        maps[f"one pixel at {place}"] = np.zeros((4, 5), np.uint8)
        maps[f"one pixel at {place}"][place] = 254
    return maps


@pytest.mark.parametrize("name", thin_and_bordering())
def test_same_as_scipy_on_thin_and_bordering_shapes(name: str) -> None:
    assert_as_scipy(thin_and_bordering()[name])


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_a_map_without_pixels_has_no_components(shape: tuple[int, int]) -> None:
    ids, components = find_components(np.zeros(shape, np.uint8))
    assert ids.shape == shape and components == []


def test_input_is_left_as_it_is_and_may_be_read_only() -> None:
    class_map = np.array([[1, 0, 255], [0, 2, 2]], np.uint8)
    class_map.flags.writeable = False
    before = class_map.copy()
    assert_as_scipy(class_map)
    assert (class_map == before).all()


def test_views_and_columns_of_a_larger_map_are_taken():
    class_map = np.zeros((10, 10), np.uint8)
    class_map[2:4, 2:8] = 7
    ids, components = find_components(class_map[:, ::2])
    assert [(c.label, c.area, c.box) for c in components] == [(7, 6, (1, 2, 4, 4))]
    assert ids.shape == (10, 5)
    picture = np.random.default_rng(3).integers(0, 4, (40, 50)).astype(np.uint8)
    for view in (picture[::2, 1::3], picture.T, picture[::-1, ::-1], picture[5:20, 7:30], np.asfortranarray(picture)):
        assert_as_scipy(view)
