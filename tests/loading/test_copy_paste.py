"""Copy-paste: what changes in the picture is what the mask and the boxes say, and nothing else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from loading_toys import toy_dataset, toy_preset

from defectctl.dataset.types import Known, Object
from defectctl.errors import InputError
from defectctl.imaging.components import find_components
from defectctl.loading.copy_paste import RIM
from defectctl.loading.pictures import PictureStore
from defectctl.loading.rows import RowLoader

BOTH = frozenset({"masks", "boxes"})
ALWAYS = ({"copy_paste": {"p": 1.0, "most": 3}},)


def donor(kind=np.uint8, colour=False):
    """Level 60 with an L of 27 pixels of class 2 at level 160, in units of the full scale / 255."""
    picture, mask = np.full((40, 50), 60.0), np.zeros((40, 50), np.uint8)
    mask[10:22, 20:22], mask[21, 22:25] = 2, 2
    picture[mask == 2] = 160
    picture = (picture * (np.iinfo(kind).max // 255)).astype(kind)
    return (np.repeat(picture[:, :, None], 3, 2) if colour else picture), mask


def loader(root, items, colour="grey", augment=ALWAYS, needs=BOTH, **options):
    dataset = toy_dataset(root, items, **options)
    preset = toy_preset(augment=augment, colour=colour)
    return RowLoader(dataset, dataset.samples, PictureStore(dataset, colour), preset, needs)


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("donor_kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(("kind", "colour"), [(np.uint8, "grey"), (np.uint16, "grey"), (np.uint8, "rgb")])
def test_exactly_the_defects_pixels_change_and_are_labelled(tmp_path, kind, donor_kind, colour, recorded):
    unit = np.iinfo(kind).max // 255
    good = np.full((64, 80), 100 * unit, kind)
    rows = loader(tmp_path, [(good, None), donor(donor_kind)], colour, recorded=recorded)
    counts = set()
    for seed in range(12):
        row = rows.load(0, np.random.default_rng(seed))
        assert row.picture.dtype == kind and row.picture.shape[:2] == (64, 80)
        plane = row.picture if colour == "grey" else row.picture[:, :, 1]
        # The rim is 40 levels darker than the background it comes onto, so the defect becomes 160 + 40.
        assert (plane[row.mask == 2] == 200 * unit).all() and (plane[row.mask == 0] == 100 * unit).all()
        pasted = find_components(row.mask)[1]
        assert {c.area for c in pasted} == {27} and set(np.unique(row.mask)) == {0, 2}
        assert sorted(row.boxes.boxes.tolist()) == sorted(list(c.box) for c in pasted)
        assert {(x2 - x1, y2 - y1) for x1, y1, x2, y2 in row.boxes.boxes.tolist()} <= {(5, 12), (12, 5)}
        assert row.state == 1 and row.boxes.labels.tolist() == [2] * len(pasted) and row.known.all()
        counts.add(len(pasted))
    assert counts == {1, 2, 3}
    assert (rows.pictures.picture(rows.samples[0]) == 100 * unit).all()  # the cached picture is still the good one
    assert rows.load(1, np.random.default_rng(0)).mask.tolist() == donor()[1].tolist()  # a defective part stays


def test_outside_the_softened_rim_nothing_changes(tmp_path):
    noise = np.random.default_rng(0)
    good = noise.integers(60, 140, (64, 80), dtype=np.uint8)
    rough, mask = donor()
    rows = loader(tmp_path, [(good, None), (rough + noise.integers(0, 50, rough.shape, dtype=np.uint8), mask)])
    for seed in range(10):
        row = rows.load(0, np.random.default_rng(seed))
        near = cv2.dilate((row.mask > 0).astype(np.uint8), np.ones((4 * RIM + 1, 4 * RIM + 1), np.uint8))
        assert (row.picture == good)[near == 0].all() and (row.picture != good)[near > 0].any()


def test_pasted_defects_come_in_all_eight_positions(tmp_path):
    rows = loader(tmp_path, [(np.full((64, 64), 100, np.uint8), None), donor()])
    shapes = set()
    for seed in range(60):
        row = rows.load(0, np.random.default_rng(seed))
        x1, y1, x2, y2 = (int(v) for v in row.boxes.boxes[0])
        shapes.add(((y2 - y1, x2 - x1), row.mask[y1:y2, x1:x2].tobytes()))
    assert len(shapes) == 8


def test_defects_go_only_onto_known_background_and_only_of_classes_that_the_mask_speaks_of(tmp_path):
    half = np.zeros((64, 80), np.uint8)
    half[:, :40] = 255
    half[30:34, 60:64] = 1
    picture = np.full((64, 80), 100, np.uint8)
    other = np.full((64, 80), 100, np.uint8)
    rows = loader(tmp_path, [(picture, half), donor(), (other, np.eye(64, 80, dtype=np.uint8))])
    rows.samples[0].known = Known(mask=(1, 2))
    rows.samples[2].known = Known(mask=(1,))
    rows = RowLoader(rows.dataset, rows.samples, rows.pictures, toy_preset(augment=ALWAYS, colour="grey"), BOTH)
    pasted = 0
    for seed in range(20):  # there is no good part, so any sample receives
        row = rows.load(0, np.random.default_rng(seed))
        assert (row.mask[half != 0] == half[half != 0]).all()
        pasted += int((row.mask != half).any())
        assert not (rows.load(2, np.random.default_rng(seed)).mask == 2).any()
    assert pasted > 0


def test_boxes_of_objects_follow_too(tmp_path):
    known = Known(mask=(1, 2), boxes=(1, 2), image=True)
    objects = {1: [Object(2, (20, 10, 25, 22))]}
    rows = loader(tmp_path, [(np.full((64, 80), 100, np.uint8), None), donor()], known=known, objects=objects)
    row = rows.load(0, np.random.default_rng(0))
    assert len(row.boxes.boxes) and sorted(row.boxes.boxes.tolist()) == sorted(
        list(c.box) for c in find_components(row.mask)[1]
    )
    assert rows.samples[0].objects == []


def test_a_defect_larger_than_the_image_is_left_out_and_the_same_draws_give_the_same(tmp_path):
    rows = loader(tmp_path, [(np.full((10, 10), 100, np.uint8), None), donor(), (np.zeros((64, 64), np.uint8), None)])
    for seed in range(5):
        small = rows.load(0, np.random.default_rng(seed))
        assert small.state == 0 and not small.mask.any()
        first, second = rows.load(2, np.random.default_rng(seed)), rows.load(2, np.random.default_rng(seed))
        assert np.array_equal(first.picture, second.picture) and np.array_equal(first.mask, second.mask)


def test_without_masks_it_is_refused(tmp_path):
    with pytest.raises(InputError, match="copy_paste needs masks"):
        loader(tmp_path, [donor()], needs=frozenset({"labels"}))


def test_a_neighbouring_defect_does_not_come_along_unlabelled(tmp_path):
    picture, mask = donor()
    picture[10:20, 24:26], mask[10:20, 24:26] = 250, 1  # two pixels beside the L, inside its rim
    rows = loader(tmp_path, [(np.full((64, 80), 100, np.uint8), None), (picture, mask)], known=Known(mask=(2,)))
    for seed in range(10):
        row = rows.load(0, np.random.default_rng(seed))
        assert (row.picture[row.mask == 0] == 100).all() and (row.picture[row.mask == 2] == 200).all()
        assert (row.mask == 2).any() and not (row.mask == 1).any()
