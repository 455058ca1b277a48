"""Training on crops: picture, mask, boxes and labels of a batch show the same part of the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loading_toys import toy_dataset, toy_preset

from defectctl.config.schema import InputConfig
from defectctl.dataset.types import Known, Object
from defectctl.loading.network_input import to_unit
from defectctl.loading.pictures import PictureStore
from defectctl.loading.train_batches import TrainBatches

CPU = torch.device("cpu")
BOTH = frozenset({"masks", "boxes"})


def large(seed):
    """100x140 with two defects, which alone are brighter than 200."""
    picture = np.random.default_rng(seed).integers(0, 180, (100, 140), dtype=np.uint8)
    mask = np.zeros((100, 140), np.uint8)
    mask[20:26, 30:37], mask[70:80, 100:105] = 1, 2
    picture[mask > 0] = 220
    return picture, mask


def items():
    return [large(0), large(1), (np.full((100, 140), 90, np.uint8), None), (np.full((20, 28), 90, np.uint8), None)]


def source(dataset, share=0.7, augment=(), needs=BOTH, **options):
    preset = toy_preset(4, share, augment, mode="tile", size=[32, 48], colour="grey")
    store = PictureStore(dataset, "grey")
    return TrainBatches(dataset, dataset.samples, store, preset, CPU, needs=needs, **options)


def test_picture_mask_boxes_and_label_agree_in_every_crop(tmp_path):
    dataset = toy_dataset(tmp_path, items())
    seen = set()
    for epoch in range(25):
        for batch in source(dataset, augment=({"hflip": 0.5}, {"vflip": 0.5})).epoch(epoch):
            assert batch.images.shape == (4, 1, 32, 48)
            for row, name in enumerate(batch.ids):
                image, mask, boxes = batch.images[row, 0], batch.masks[row], batch.boxes[row]
                assert torch.equal(image > 200 / 255, (mask > 0) & (mask < 255))
                assert batch.labels[row] == int(((mask > 0) & (mask < 255)).any())
                for (x1, y1, x2, y2), label in zip(boxes.int().tolist(), batch.box_labels[row].tolist(), strict=True):
                    assert (mask[y1:y2, x1:x2] == label).all() and x2 - x1 >= 2 and y2 - y1 >= 2
                seen.add((name, int(batch.labels[row])))
                if name == "3.png":  # smaller than the crop: padded with grey and unknown
                    assert (mask == 255).sum() == 32 * 48 - 20 * 28 and (image[mask == 255] == 0.5).all()
    assert {("0.png", 1), ("0.png", 0), ("1.png", 1), ("2.png", 0), ("3.png", 0)} <= seen


def test_crops_keep_the_native_pixels_and_say_where_they_lie(tmp_path):
    dataset = toy_dataset(tmp_path, items())
    for batch in source(dataset).epoch(1):
        for row, name in enumerate(batch.ids):
            where = batch.geometries[row]
            picture = PictureStore(dataset, "grey").picture(dataset.samples[int(name[0])])
            shown = (batch.images[row, 0][where.inside] * 255).round().byte().numpy()
            assert (shown == picture[where.seen]).all() and (where.width, where.height) == picture.shape[::-1]


def test_every_crop_of_a_defective_part_can_be_made_to_show_a_defect(tmp_path):
    dataset = toy_dataset(tmp_path, items()[:2])
    for epoch in range(20):
        for batch in source(dataset, share=1.0).epoch(epoch):
            assert batch.labels.tolist() == [1] * len(batch)


def test_a_crop_is_a_function_of_seed_epoch_step_and_row(tmp_path):
    dataset = toy_dataset(tmp_path, items() + items())
    augment = ({"copy_paste": {"p": 0.8, "most": 2}}, {"hflip": 0.5})
    whole = list(source(dataset, augment=augment, seed=5).epoch(3))
    rest = list(source(dataset, augment=augment, seed=5, threads=0).epoch(3, start=1))
    assert whole[1].ids == rest[0].ids and whole[1].geometries == rest[0].geometries
    assert torch.equal(whole[1].images, rest[0].images) and torch.equal(whole[1].masks, rest[0].masks)
    other = list(source(dataset, augment=augment, seed=6).epoch(3))
    assert {g.crop_left for b in other for g in b.geometries} != {g.crop_left for b in whole for g in b.geometries}


def test_what_the_mask_does_not_speak_of_stays_unknown(tmp_path):
    """A mask of class 1 and boxes of class 2, as in joined data."""
    picture, mask = large(0)
    mask[mask == 2] = 0
    known = Known(mask=(1,), boxes=(2,), image=True)
    dataset = toy_dataset(tmp_path, [(picture, mask)], known=known, objects={0: [Object(2, (100, 70, 105, 80))]})
    states = set()
    for epoch in range(60):
        (batch,) = source(dataset).epoch(epoch)
        assert batch.known.tolist() == [[True, True, False]] and batch.known_boxes.tolist() == [[False, True, True]]
        bright = batch.images[0, 0] > 200 / 255
        kinds = set(batch.box_labels[0].tolist())
        states.add((int(batch.labels[0]), 2 in kinds))
        assert batch.labels[0] == (1 if kinds or (batch.masks[0] == 1).any() else -1 if bright.any() else 0)
    assert {(1, True), (1, False), (0, False)} <= states


def test_tiles_are_padded_and_never_resized():
    config = InputConfig(size=[32, 32], mode="tile", colour="grey")
    tiles = [np.full((32, 32), 255, np.uint8), np.full((10, 20), 255, np.uint8)]
    images, where = to_unit(tiles, config, CPU)
    assert (images[0] == 1).all() and (images[1] == 1).sum() == 200 and (images[1] == 0.5).sum() == 32 * 32 - 200
    assert (where[1].left, where[1].top) == (6, 11)
    with pytest.raises(ValueError, match="does not go into"):
        to_unit([np.zeros((33, 32), np.uint8)], config, CPU)


def test_crops_are_laid_around_pasted_defects_too(tmp_path):
    dataset = toy_dataset(tmp_path, items()[:3])
    batches = source(dataset, share=1.0, augment=({"copy_paste": {"p": 1.0, "most": 1}},))
    for epoch in range(15):
        (batch,) = batches.epoch(epoch)
        row = batch.ids.index("2.png")  # the good part
        assert batch.labels[row] == 1 and set(batch.masks[row].unique().tolist()) in ({0, 1}, {0, 2})
        assert len(batch.boxes[row]) == 1


@pytest.mark.parametrize("needs", [BOTH, frozenset({"masks"})])
def test_a_crowd_is_no_box_and_leaves_the_crop_undecided(tmp_path, needs):
    known, crowd = Known(mask=(1,), boxes=(2,), image=True), {0: [Object(2, (100, 60, 140, 100), crowd=True)]}
    dataset = toy_dataset(tmp_path, [(large(0)[0], np.zeros((100, 140), np.uint8))], known=known, objects=crowd)
    states = set()
    for epoch in range(40):
        (batch,) = source(dataset, needs=needs).epoch(epoch)
        x1, y1, x2, y2 = batch.geometries[0].to_network((100, 60, 140, 100))
        touches = x1 < 48 and x2 > 0 and y1 < 32 and y2 > 0
        assert batch.labels.tolist() == [-1 if touches else 0] and not len(batch.boxes[0])
        states.add(touches)
    assert states == {True, False}
