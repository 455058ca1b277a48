"""Instances, scores and verdicts of hand-made maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from defectctl.inference.detections import FoundBoxes
from defectctl.inference.maps import Maps, empty_maps
from defectctl.inference.postprocess import Instance, clean, clean_map, detections, image_score, verdict

MAPS = Maps(torch.zeros(4, 5, dtype=torch.uint8), torch.zeros(4, 5, dtype=torch.uint8))


def make_maps() -> tuple[np.ndarray, np.ndarray]:
    classes, defect = np.zeros((10, 12), np.uint8), np.full((10, 12), 10, np.uint8)
    classes[1:3, 1:4] = 2
    defect[1:3, 1:4] = 255
    classes[6, 6] = 1
    defect[6, 6] = 204
    return classes, defect


def test_instances_have_mean_probability_box_and_area() -> None:
    small, large = clean(*make_maps(), 0).instances
    assert (small.label, small.box, small.area) == (1, (6, 6, 7, 7), 1)
    assert small.score == pytest.approx(0.8)
    assert (large.label, large.box, large.area, large.score) == (2, (1, 1, 4, 3), 6, 1.0)
    assert image_score(MAPS, [small, large]) == 1.0


def test_small_components_become_background_and_are_counted() -> None:
    classes, defect = make_maps()
    cleaned = clean(classes, defect, 2)
    assert cleaned.removed == 1 and [i.label for i in cleaned.instances] == [2]
    expected = classes.copy()
    expected[6, 6] = 0
    assert np.array_equal(cleaned.class_map, expected) and np.array_equal(clean_map(classes, 2), expected)
    assert classes[6, 6] == 1


def test_nothing_found_scores_nothing() -> None:
    cleaned = clean(np.zeros((4, 5), np.uint8), np.full((4, 5), 90, np.uint8), 3)
    assert cleaned.instances == [] and cleaned.removed == 0 and image_score(MAPS, []) == 0.0


def test_verdicts() -> None:
    for without in ({}, {"pixel": 0.9}):
        assert verdict(0.0, without) == "OK" and verdict(0.6, without) == "NG"
    assert verdict(0.6, {"pixel": 0.2, "ng": 0.7}) == "OK"
    assert verdict(0.6, {"ng": 0.7}) == "OK" and verdict(0.7, {"ng": 0.7}) == "NG"
    two = {"ok": 0.5, "ng": 0.7}
    assert [verdict(s, two) for s in (0.4, 0.5, 0.6, 0.7)] == ["OK", "UNSURE", "UNSURE", "NG"]


def test_the_image_score_is_the_surest_word_of_the_model() -> None:
    found = [Instance(1, 0.6, (0.0, 0.0, 1.0, 1.0), 1)]
    boxes = FoundBoxes(np.zeros((2, 4), np.float32), np.array([0.75, 0.1], np.float32), np.array([1, 2]))
    only_boxes = empty_maps(4, 5, torch.device("cpu"))
    only_boxes.boxes = boxes
    both = Maps(MAPS.class_map, MAPS.defect, boxes=boxes)
    decided = Maps(MAPS.class_map, MAPS.defect, probability=0.2, boxes=boxes)
    assert [image_score(m, found) for m in (MAPS, only_boxes, both, decided)] == [0.6, 0.75, 0.75, 0.2]
    only_boxes.boxes = boxes.above(0.9)
    assert image_score(only_boxes, []) == 0.0


def test_a_box_stops_a_part_whose_mask_is_empty_only_if_it_is_reported() -> None:
    boxes = FoundBoxes(np.zeros((1, 4), np.float32), np.array([0.75], np.float32), np.array([1]))
    both = Maps(MAPS.class_map, MAPS.defect, boxes=boxes)
    assert [image_score(both, [], least) for least in (0.5, 0.75, 0.8)] == [0.75, 0.75, 0.0]
    detector = empty_maps(4, 5, torch.device("cpu"))
    detector.boxes = boxes
    assert image_score(detector, [], 0.8) == 0.75, "a detector's threshold is on the score itself"


def test_boxes_are_reported_from_their_score_on() -> None:
    corners = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
    boxes = FoundBoxes(corners, np.array([0.75, 0.25], np.float32), np.array([2, 1]))
    first, second = detections(boxes, 0.25)
    assert (first.label, first.score, first.box) == (2, 0.75, (1, 2, 3, 4)) and second.label == 1
    assert len(detections(boxes, 0.26)) == 1 and detections(None, 0.0) == []
