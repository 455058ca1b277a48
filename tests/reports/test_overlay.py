"""Overlays: what is drawn where, and what stays untouched."""

from __future__ import annotations

import numpy as np

from defectctl.reports.overlay import draw_overlay, line_width, to_rgb8

RED, BLUE = (255, 0, 0), (0, 0, 255)


def test_outlines_have_the_class_colour_and_the_rest_stays() -> None:
    picture = np.full((60, 80), 100, np.uint8)
    classes = np.zeros((60, 80), np.uint8)
    classes[10:20, 10:30] = 2
    classes[40:50, 50:60] = 255
    drawn = draw_overlay(picture, classes, [], ["a", "b"], [RED, BLUE])
    assert drawn.shape == (60, 80, 3) and drawn.dtype == np.uint8
    assert tuple(drawn[10, 15]) == BLUE and tuple(drawn[19, 29]) == BLUE
    assert (drawn[15, 20] == 100).all() and (drawn[40:50, 50:60] == 100).all()
    assert not (drawn == RED).all(axis=2).any() and (picture == 100).all()


def test_boxes_stay_inside_and_outside_the_defect() -> None:
    picture = np.zeros((60, 80, 3), np.uint8)
    boxes = [(1, (20.0, 20.0, 30.0, 30.0), 0.5), (2, (0.0, 0.0, 80.0, 60.0), 1.0)]
    drawn = draw_overlay(picture, np.zeros((60, 80), np.uint8), boxes, ["a", "裂缝"], [RED, BLUE])
    assert tuple(drawn[25, 18]) == RED and not drawn[20:30, 20:30].any()
    assert tuple(drawn[30, 0]) == BLUE and tuple(drawn[30, 79]) == BLUE


def test_16_bit_and_grey_become_rgb() -> None:
    grey = np.array([[0, 65535, 256]], np.uint16)
    assert to_rgb8(grey)[0, :, 1].tolist() == [0, 255, 1]
    assert line_width((100, 100)) == 1 and line_width((4000, 3000)) == 6
