"""Which boxes are true of a sample, class by class, and what an edge leaves of them."""

from __future__ import annotations

import numpy as np
import pytest

from defectctl.dataset.types import ClassInfo, Dataset, Known, Object, Sample, Source
from defectctl.loading.box_truth import box_truth, clip_boxes


def truth(known, mask, objects=(), min_area=0):
    sample = Sample("a.png", "a.png", 20, 20, "", "s", objects=list(objects))
    classes = [ClassInfo("a", (1, 0, 0)), ClassInfo("b", (0, 1, 0))]
    source = Source("s", "toy", known)
    return box_truth(Dataset(None, "d", classes, [sample], {"s": source}, "", [], ""), sample, mask, min_area)


@pytest.fixture
def mask():
    """Class 1 of 6 pixels, class 2 of 12, a lone pixel of class 1, and unknown pixels beside the first."""
    mask = np.zeros((20, 20), np.uint8)
    mask[2:4, 3:6], mask[10:14, 5:8], mask[18, 19] = 1, 2, 1
    mask[4, 3:6] = 255
    return mask


def test_objects_go_before_the_mask(mask):
    found = truth(Known(mask=(1, 2), boxes=(1, 2)), mask, [Object(2, (1, 2, 3.5, 4)), Object(1, (0, 0, 9, 9), True)])
    assert found.boxes.tolist() == [[1, 2, 3.5, 4], [0, 0, 9, 9]] and found.boxes.dtype == np.float32
    assert found.labels.tolist() == [2, 1] and found.crowd.tolist() == [False, True] and found.known == (1, 2)


def test_components_stand_in_where_no_boxes_are_known(mask):
    found = truth(Known(mask=(1, 2)), mask, min_area=2)
    assert found.boxes.tolist() == [[3, 2, 6, 4], [5, 10, 8, 14]]  # the one that touches unknown pixels too
    assert found.labels.tolist() == [1, 2] and not found.crowd.any() and found.known == (1, 2)
    assert len(truth(Known(mask=(1, 2)), mask).boxes) == 3


def test_a_mask_speaks_only_of_its_classes_and_objects_win_for_theirs(mask):
    assert truth(Known(mask=(2,)), mask).labels.tolist() == [2]
    mixed = truth(Known(mask=(1, 2), boxes=(1,)), mask, [Object(1, (0, 0, 5, 5))])
    assert mixed.labels.tolist() == [1, 2] and mixed.boxes[0].tolist() == [0, 0, 5, 5] and mixed.known == (1, 2)
    assert truth(Known(mask=(1, 2), boxes=(1,)), None).known == (1,)


def test_with_neither_nothing_is_known(mask):
    found = truth(Known(image=True), None)
    assert found.boxes.shape == (0, 4) and found.known == ()
    assert truth(Known(mask=(1,)), None).known == ()


def test_an_edge_leaves_boxes_of_which_enough_remains():
    boxes = np.array(
        [
            [0, 0, 10, 10],  # untouched
            [-6, 0, 2, 8],  # exactly a quarter remains, 2 pixels wide
            [-7, 0, 2, 8],  # less than a quarter
            [-1, 0, 1.5, 8],  # 60 %, but under 2 pixels
            [5, 5, 6, 6],  # small, but whole
            [-9, -9, -1, -1],  # gone
        ],
        np.float32,
    )
    clipped, kept = clip_boxes(boxes, (0, 0, 20, 20))
    assert kept.tolist() == [True, True, False, False, True, False]
    assert clipped[1].tolist() == [0, 0, 2, 8]
