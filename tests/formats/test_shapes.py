"""Shapes painted into masks: order, instances, boxes only, broken outlines."""

from __future__ import annotations

import numpy as np

from defectctl.formats.base import RawShape, Region
from defectctl.formats.regions import encode_rle
from defectctl.formats.shapes import paint

LABELS = {"a": 1, "b": 2}


def block(top, left, bottom, right, shape=(20, 20)):
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


def shaped(name, mask, crowd=False):
    return RawShape(name, region=Region(rle=encode_rle(mask)), crowd=crowd)


def test_the_smaller_region_lies_on_top_whatever_the_order():
    large, small = block(0, 0, 10, 10), block(4, 4, 6, 6)
    for shapes in ([shaped("a", large), shaped("b", small)], [shaped("b", small), shaped("a", large)]):
        painted = paint(shapes, LABELS, 20, 20, with_mask=True)
        assert (painted.mask == np.where(small, 2, large)).all()
        assert painted.covered == 1 and painted.instances is not None


def test_separate_objects_need_no_instances_but_touching_ones_do():
    left, right, far = block(0, 0, 5, 5), block(0, 5, 5, 10), block(12, 12, 15, 15)
    assert paint([shaped("a", left), shaped("a", far)], LABELS, 20, 20, True).instances is None
    painted = paint([shaped("a", left), shaped("a", right, crowd=True)], LABELS, 20, 20, True)
    assert painted.instances == [
        {"label": 1, "crowd": False, "rle": encode_rle(left)},
        {"label": 1, "crowd": True, "rle": encode_rle(right)},
    ]
    assert painted.objects[1].crowd and painted.objects[1].box == (5, 0, 10, 5)


def test_an_object_of_two_parts_needs_an_instance():
    assert paint([shaped("a", block(0, 0, 2, 2) | block(9, 9, 12, 12))], LABELS, 20, 20, True).instances is not None


def test_box_only_objects_make_their_class_unknown_in_the_mask():
    painted = paint([shaped("a", block(0, 0, 2, 2)), RawShape("b", box=(1, 1, 5, 30))], LABELS, 20, 20, True)
    assert painted.box_only == {2} and painted.objects[1].box == (1, 1, 5, 20)
    assert painted.instances is not None and painted.instances[1]["rle"] is None


def test_unusable_shapes_are_told_not_dropped_silently():
    outside = RawShape("a", box=(30, 30, 40, 40))
    broken = RawShape("b", region=Region(rle={"size": [3, 3], "counts": [9]}))
    painted = paint([outside, broken], LABELS, 20, 20, True)
    assert [problem[0] for problem in painted.problems] == ["empty-object", "broken-region"]
    assert painted.box_only == {2} and not painted.mask.any()
