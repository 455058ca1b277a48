"""Counts of classes, good parts and split parts, against hand-counted labels."""

from __future__ import annotations

import numpy as np

from defectctl.dataset.statistics import Statistics, count_labels, equal_images, part_rows
from defectctl.dataset.types import Known, Object, Sample, Split

NAMES = ["a", "b"]
ALL = Known((1, 2), (1, 2), True)


def test_pixels_objects_and_good_parts_are_counted():
    mask = np.array([[0, 1, 1], [2, 255, 0]], np.uint8)
    defective = Sample("1", "", 3, 2, "x", "s", objects=[Object(2, (0, 0, 1, 1)), Object(2, (0, 0, 1, 1))])
    good = Sample("2", "", 3, 2, "x", "s")
    counts = {"1": count_labels(defective, ALL, mask, NAMES), "2": count_labels(good, ALL, None, NAMES)}
    assert [counts["1"].stratum(), counts["2"].stratum()] == ["1+2", "good"]
    sums = Statistics(NAMES)
    for count in counts.values():
        sums.add(count)
    assert sums.rows() == [
        {"class": "a", "images": 1, "pixels": 2, "pixel_share": 2 / 11, "objects": 0},
        {"class": "b", "images": 1, "pixels": 1, "pixel_share": 1 / 11, "objects": 2},
    ]
    assert sums.to_dict()["background_pixels"] == 8 and sums.to_dict()["unknown_pixels"] == 1
    rows = part_rows(Split("s", "", 0, {"train": ["1"], "val": ["2"]}), counts, NAMES)
    assert [(row["images"], row["good"]) for row in rows] == [(1, 0), (1, 1)]
    assert [row["classes"] for row in rows] == [{"a": 1, "b": 1}, {"a": 0, "b": 0}]


def test_nothing_known_is_neither_good_nor_background():
    count = count_labels(Sample("1", "", 3, 2, "x", "s"), Known(), None, NAMES)
    assert not count.good and count.pixels.sum() == 0 and count.stratum() == "unknown"


def test_a_class_that_no_mask_speaks_of_has_no_share_of_pixels():
    sums = Statistics(NAMES)
    sums.add(count_labels(Sample("1", "", 3, 2, "x", "s"), Known(mask=(2,), boxes=(1,)), None, NAMES))
    assert [row["pixel_share"] for row in sums.rows()] == [None, 0.0]


def test_equal_images_are_grouped_by_hash():
    samples = [Sample(i, "", 1, 1, sha, "s") for i, sha in [("c", "x"), ("a", "x"), ("b", "y")]]
    assert [[s.id for s in group] for group in equal_images(samples)] == [["a", "c"]]
