"""Doubtful labels are told, with numbers counted by hand, and sound ones are left alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defectctl.dataset.statistics import Statistics, count_labels
from defectctl.dataset.survey import Survey, measure
from defectctl.dataset.types import Known, Object, Sample, Split
from defectctl.formats.checks import (
    box_without_mask,
    boxes_without_mask,
    distrust,
    doubled_objects,
    image_findings,
    wrong_ending,
)
from defectctl.formats.checks_set import DefectSides, set_findings, set_notes
from defectctl.imaging.geometry import Geometry
from defectctl.imaging.reader import ImageInfo

KIND = ImageInfo(0, 0, 8, 1, False, False, False, 255)


def encoded(ending):
    return cv2.imencode(ending, np.zeros((4, 4), np.uint8))[1].tobytes()


@pytest.mark.parametrize(
    ("name", "content", "kind", "right"),
    [
        ("a/b.jpg", ".png", "PNG", ".png"),
        ("B.JPG", ".bmp", "BMP", ".bmp"),
        ("c.png", ".jpg", "JPEG", ".jpg"),
        ("d.bmp", ".tif", "TIFF", ".tif"),
    ],
)
def test_a_wrong_ending_is_told_with_the_right_one(name, content, kind, right):
    finding = wrong_ending(name, encoded(content))
    assert (finding.file, finding.problem, finding.dropped) == (name, "wrong-ending", False)
    assert kind in finding.text and finding.text.endswith(f"rename it to {right}")


@pytest.mark.parametrize(
    ("name", "content"), [("a.JPEG", ".jpg"), ("a.tiff", ".tif"), ("a.pgm", ".pgm"), ("a.json", ".png")]
)
def test_right_and_unknown_endings_are_left_alone(name, content):
    assert wrong_ending(name, encoded(content)) is None


BOX = (10.0, 10.0, 30.0, 30.0)
"""400 pixels, 5 % of them are 20."""


def filled(rows, columns, value=1):
    mask = np.zeros((40, 40), np.uint8)
    mask[rows, columns] = value
    return mask


@pytest.mark.parametrize(
    ("mask", "drawn"),
    [
        (filled(slice(12, 16), slice(12, 17)), True),  # 20 pixels
        (filled(slice(12, 13), slice(11, 30)), False),  # 19 pixels in one row: they reach over 19 of 400
        (filled(np.arange(11, 29), np.arange(11, 29)), True),  # 18 pixels of a slanting scratch: they reach over 324
        (filled(slice(0, 10), slice(0, 40)), False),  # all of it outside the box
        (filled(slice(10, 30), slice(10, 30), 2), False),  # of another class
        (filled(slice(10, 30), slice(10, 30), 255), True),  # unknown: the mask does not contradict
        (None, False),
    ],
)
def test_a_box_needs_its_class_in_the_mask(mask, drawn):
    thing = Object(1, BOX)
    assert boxes_without_mask(mask, [thing], (1, 2)) == ([] if drawn else [thing])
    assert (box_without_mask("a.png", mask, [thing], (1, 2)) is None) == drawn
    assert boxes_without_mask(mask, [thing], (2,)) == []  # the mask says nothing of the class
    assert boxes_without_mask(mask, [Object(1, BOX, crowd=True)], (1,)) == []


def test_boxes_without_mask_are_one_finding_an_image():
    finding = box_without_mask("a.png", None, [Object(1, BOX), Object(1, (0, 0, 5, 5.5))], (1,))
    assert (finding.file, finding.problem, finding.dropped) == ("a.png", "box-without-mask", False)
    assert "2 boxes" in finding.text and "10, 10, 30, 30" in finding.text and "--distrust" in finding.text


def test_distrust_makes_background_unknown_and_nothing_else():
    mask = filled(slice(0, 12), slice(0, 12), 2)
    before = mask.copy()
    result = distrust(mask, [(10.5, 10.0, 13.0, 12.5)])
    assert (mask == before).all()
    # 3 columns and 3 rows are touched; of these 2 by 2 are of class 2
    assert (result == 255).sum() == 5 and (result == 2).sum() == 144
    assert (result[10:12, 10:12] == 2).all() and result[12, 10] == 255
    assert boxes_without_mask(distrust(before, [BOX]), [Object(1, BOX)], (1, 2)) == []


def test_objects_drawn_twice_are_told():
    first, wider, half = (0, 0, 10, 20), (0, 0, 10, 21), (0, 0, 10, 11)  # 200 of 210, then 110 of 200 and of 210
    things = [Object(1, first), Object(1, half), Object(1, wider), Object(2, first)]
    finding = doubled_objects("a.png", things)
    assert (finding.problem, finding.dropped) == ("doubled-object", False)
    assert "a box repeats" in finding.text and "0, 0, 10, 21" in finding.text
    assert doubled_objects("a.png", [things[0], things[1], things[3], Object(1, first, crowd=True)]) is None
    assert doubled_objects("a.png", []) is None
    many = [Object(1, (i, 0, i + 1, 1)) for i in range(300)]
    assert doubled_objects("a.png", many) is None
    assert "300 boxes" in doubled_objects("a.png", many + many).text


def test_all_doubts_about_one_image():
    things = [Object(1, BOX), Object(1, BOX)]
    found = image_findings("a.jpg", encoded(".png"), None, things, (1,))
    assert [finding.problem for finding in found] == ["wrong-ending", "box-without-mask", "doubled-object"]
    assert image_findings("a.png", encoded(".png"), None, [], (1,)) == []


class Set:
    """A made-up dataset: what `prepare` has gathered when the last image is done."""

    def __init__(self, names):
        self.statistics = Statistics(names)
        self.samples, self.counts, self.survey, self.sides = [], {}, Survey(len(names)), DefectSides()

    def add(self, sample_id, mask=None, size=(50, 50), kind=KIND, label=None, boxes=()):
        sample = Sample(sample_id, "", *size, "", "s", label=label, objects=[Object(1, box) for box in boxes])
        known = Known((), (1,), True) if boxes else Known((1, 2), (), True)
        count = count_labels(sample, known, mask, self.statistics.class_names)
        facts = measure(np.zeros(size[::-1], np.uint8), kind, mask, sample.objects, known.mask)
        self.samples.append(sample)
        self.counts[sample_id] = count
        self.statistics.add(count)
        self.survey.add(sample_id, facts)
        self.sides.add(sample_id, facts)

    def findings(self, **parts):
        splits = [Split(name, "", 0, lists) for name, lists in parts.items()]
        return set_findings(self.samples, self.counts, self.statistics, splits, self.survey, self.sides)


def patch(value, side=10, at=5):
    mask = np.zeros((50, 50), np.uint8)
    mask[at : at + side, at : at + side] = value
    return mask


def test_tiny_patches_are_slips_where_the_class_is_usually_larger():
    made = Set(["dent", "pore"])
    slip = patch(1)
    slip[40, 40] = slip[45, 1:4] = slip[48, 45:49] = 1  # of 1, 3 and 4 pixels
    made.add("slip.png", slip)
    made.add("pores.png", patch(2, side=1))
    found = [finding for finding in made.findings() if finding.problem == "tiny-patches"]
    assert [finding.file for finding in found] == ["slip.png"]
    assert "2 of 'dent'" in found[0].text and not found[0].dropped


def test_a_thousand_specks_do_not_make_specks_usual():
    made = Set(["dent"])
    specks = np.zeros((50, 50), np.uint8)
    specks[20::2, ::2] = 1  # 15 x 25
    specks[:18, :] = 1  # 900 pixels
    made.add("a.png", specks)
    assert "375 of 'dent'" in next(f for f in made.findings() if f.problem == "tiny-patches").text


def test_classes_in_few_images_are_told():
    made = Set(["dent", "pore"])
    for i in range(10):
        made.add(f"{i}.png", patch(1) if i else np.maximum(patch(1), patch(2, at=30)))
    few = [finding for finding in made.findings() if finding.problem == "few-examples"]
    assert [finding.file for finding in few] == ["."] and "'pore': 1," in few[0].text


def test_classes_missing_in_a_part_are_told_by_split():
    made = Set(["dent", "pore"])
    for name, value in (("d1", 1), ("d2", 1), ("p1", 2), ("p2", 2), ("g", 0)):
        made.add(name, patch(value) if value else None)
    whole = {"train": ["d1", "p1"], "test": ["d2", "p2", "g"]}
    torn = {"train": ["d1", "d2", "p1"], "val": ["g"], "test": ["p2"]}
    found = [f for f in made.findings(whole=whole, torn=torn) if f.problem == "class-missing"]
    assert len(found) == 1 and found[0].file == "."
    assert "'torn' has no image of any class in 'val' and none of 'dent' in 'test'" in found[0].text


def test_tests_with_only_one_kind_of_parts_are_told():
    made = Set(["dent"])
    for name in ("d1", "d2"):
        made.add(name, patch(1))
    made.add("d3", label="defective")
    for name in ("g1", "g2"):
        made.add(name)
    fine = {"train": ["d1", "g1"], "test": ["d2", "g2"]}
    bad, word = {"train": ["g1"], "test": ["d1", "d2"]}, {"train": ["g1", "d1"], "test": ["d3"]}
    good = {"train": ["d1", "d2"], "test": ["g1", "g2"]}
    found = {f.problem: f.text for f in made.findings(fine=fine, bad=bad, word=word, good=good)}
    assert "test part of 'bad', 'word' holds no good part" in found["no-good-parts"]
    assert "overkill" in found["no-good-parts"]
    assert "test part of 'good' holds no defective part" in found["no-defective-parts"]
    calm = {f.problem for f in made.findings(fine=fine)}
    assert not calm & {"no-good-parts", "no-defective-parts", "class-missing"}


def test_very_different_sizes_are_told():
    made = Set(["dent"])
    made.add("a.png", size=(100, 20))
    made.add("b.png", size=(40, 399))
    assert not [f for f in made.findings() if f.problem == "sizes-differ"]
    made.add("c.png", size=(40, 400))
    text = next(f.text for f in made.findings() if f.problem == "sizes-differ")
    assert "100x20 ('a.png')" in text and "40x400 ('c.png')" in text


def test_defects_that_resizing_would_lose_are_told_with_their_sides():
    made = Set(["dent"])
    mask = np.zeros((1024, 700), np.uint8)
    mask[10:18, 100:140] = 1  # 8 pixels high; the longer side of the image is 1024
    made.add("a.png", mask, size=(700, 1024))
    text = next(f.text for f in made.findings() if f.problem == "small-defects")
    sides = []
    for side in (224, 256, 512):
        x1, y1, x2, y2 = Geometry.fit(700, 1024, side, side).to_network((100, 10, 140, 18))
        sides.append(f"{min(x2 - x1, y2 - y1):.1f} at {side}x{side}")
    assert sides == ["1.8 at 224x224", "2.0 at 256x256", "4.0 at 512x512"]
    assert ", ".join(sides) in text and "'dent'" in text and "8 pixels" in text and "--set input.mode=tile" in text


def test_defects_that_stay_large_or_are_not_made_smaller_are_no_finding():
    made = Set(["dent"])
    made.add("a.png", patch(1, side=20), size=(50, 50))
    made.add("b.png", boxes=[(0, 0, 3, 40)], size=(200, 200))  # enlarged at 224
    assert not [f for f in made.findings() if f.problem == "small-defects"]
    boxed = Set(["dent"])
    boxed.add("b.png", boxes=[(0, 0, 3, 40)], size=(225, 200))
    assert "3 pixels" in next(f.text for f in boxed.findings() if f.problem == "small-defects")


def test_mixed_kinds_are_counted_in_notes():
    made = Set(["dent"])
    for i, kind in enumerate(
        [
            ImageInfo(0, 0, 8, 1, False, False, False, 255),
            ImageInfo(0, 0, 8, 2, False, True, True, 255),  # grey with alpha, turned
            ImageInfo(0, 0, 16, 3, False, False, True, 255),
            ImageInfo(0, 0, 4, 1, True, False, False, 15),
        ]
    ):
        made.add(str(i), kind=kind)
    kinds, depths, turned, alpha = set_notes(made.survey)
    assert "2 grey, 1 colour, 1 palette" in kinds and "3 8 bits or fewer, 1 more than 8 bits" in depths
    assert "mirrors: 2;" in turned and "transparency: 1;" in alpha
    plain = Set(["dent"])
    plain.add("a")
    assert set_notes(plain.survey) == []
