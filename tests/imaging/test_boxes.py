"""Box IoU and suppression against hand-worked numbers and a plain loop."""

from __future__ import annotations

import numpy as np

from defectctl.imaging.boxes import box_area, box_iou, nms


def test_iou_by_hand():
    found = box_iou([[0, 0, 2, 2], [0, 0, 1, 1]], [[1, 1, 3, 3], [0, 0, 2, 2], [5, 5, 6, 6]])
    np.testing.assert_allclose(found, [[1 / 7, 1, 0], [0, 0.25, 0]])


def test_empty_sets_and_empty_boxes():
    assert box_iou(np.zeros((0, 4)), [[0, 0, 1, 1]]).shape == (0, 1)
    assert box_iou([], []).shape == (0, 0)
    assert box_iou([[1, 1, 1, 1]], [[1, 1, 1, 1]]).tolist() == [[0]]
    assert box_area([[0, 0, 2, 3], [3, 3, 1, 1], [3, 0, 1, 5]]).tolist() == [6, 0, 0]
    assert nms([], [], 0.5).tolist() == []


def test_iou_equals_counted_pixels():
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 15, (12, 2))
    boxes = np.concatenate([corners, corners + rng.integers(1, 12, (12, 2))], axis=1)
    canvas = np.zeros((12, 30, 30), bool)
    for plane, (x1, y1, x2, y2) in zip(canvas, boxes, strict=True):
        plane[y1:y2, x1:x2] = True
    common = (canvas[:, None] & canvas[None]).sum((2, 3))
    union = (canvas[:, None] | canvas[None]).sum((2, 3))
    np.testing.assert_allclose(box_iou(boxes, boxes), common / union)


def test_nms_by_hand():
    boxes = [[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 0, 10, 10]]
    assert nms(boxes, [0.5, 0.9, 0.1, 0.5], 0.5).tolist() == [1, 2]
    assert nms(boxes, [0.5, 0.9, 0.1, 0.5], 0.9).tolist() == [1, 0, 2]
    assert nms(boxes, [0.5, 0.9, 0.1, 0.5], 1.0).tolist() == [1, 0, 3, 2]


def test_nms_leaves_no_overlap_and_drops_nothing_without_cause():
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 50, (60, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 25, (60, 2))], axis=1)
    scores = rng.random(60)
    kept = nms(boxes, scores, 0.3)
    overlap = box_iou(boxes, boxes)
    assert (np.diff(scores[kept]) <= 0).all()
    assert (overlap[np.ix_(kept, kept)][~np.eye(len(kept), dtype=bool)] <= 0.3).all()
    for dropped in set(range(60)) - set(kept.tolist()):
        assert any(overlap[dropped, k] > 0.3 and scores[k] >= scores[dropped] for k in kept)


def test_nms_of_several_classes_equals_torchvision():
    """More boxes than are compared at once, and a limit on what is kept."""
    import torch
    from torchvision.ops import batched_nms

    rng = np.random.default_rng(2)
    corners = rng.uniform(0, 200, (700, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 90, (700, 2))], axis=1)
    scores, labels = rng.random(700), rng.integers(1, 4, 700)
    expected = batched_nms(*map(torch.from_numpy, (boxes, scores, labels)), 0.4).tolist()
    assert nms(boxes, scores, 0.4, labels).tolist() == expected
    assert nms(boxes, scores, 0.4, labels, most=50).tolist() == expected[:50]
    assert nms([], [], 0.5, [], 300).tolist() == []


def test_boxes_of_different_classes_do_not_drop_each_other():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]]
    assert nms(boxes, [0.5, 0.9, 0.7], 0.5, [1, 2, 1]).tolist() == [1, 2]
