"""Which truths a training opens: without masks in its needs it is the same whether or not there are any."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from loading_toys import toy_dataset, toy_preset

from defectctl.dataset.types import Known, Object
from defectctl.errors import InputError
from defectctl.loading.pictures import PictureStore
from defectctl.loading.train_batches import TrainBatches

FIELDS = ("images", "masks", "known", "labels", "known_boxes")
AUGMENT = ({"hflip": 0.5}, {"rot90": 1.0}, {"brightness": {"amount": 0.2, "p": 1.0}})


def dataset_of(root, recorded=True, **options):
    """Six images, every other one with a 5x4 defect of class 2."""
    generator, items = np.random.default_rng(0), []
    for index in range(6):
        mask = np.zeros((24, 24), np.uint8)
        mask[4:8, 6:11] = 2
        items.append((generator.integers(0, 256, (24, 24), dtype=np.uint8), mask if index % 2 else None))
    return toy_dataset(root, items, recorded=recorded, **options)


def run(dataset, needs, sampler="pairs", preset=None, epochs=2):
    store = PictureStore(dataset, "rgb")
    preset = preset or toy_preset(batch_size=2, augment=AUGMENT)
    source = TrainBatches(
        dataset, dataset.samples, store, preset, torch.device("cpu"), sampler=sampler, needs=frozenset(needs)
    )
    return [batch for epoch in range(epochs) for batch in source.epoch(epoch)]


@pytest.mark.parametrize("sampler", ["shuffle", "balanced", "pairs", "alternate"])
def test_weak_training_sees_the_same_bits_with_the_masks_folder_deleted(tmp_path, sampler):
    dataset = dataset_of(tmp_path)
    before = run(dataset, {"labels"}, sampler)
    shutil.rmtree(tmp_path / "masks")
    after = run(dataset, {"labels"}, sampler)
    assert len(before) == len(after) > 0
    for one, other in zip(before, after, strict=True):
        assert one.ids == other.ids
        assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in FIELDS)
        assert (one.masks == 255).all() and not one.known.any() and not one.known_boxes.any()
        assert one.labels.tolist() == [int(name[0]) % 2 for name in one.ids]


@pytest.mark.parametrize("sampler", ["balanced", "pairs", "alternate"])
def test_samplers_open_no_mask_where_the_record_tells(tmp_path, sampler, monkeypatch):
    dataset = dataset_of(tmp_path)
    monkeypatch.setattr(PictureStore, "mask", lambda store, sample: pytest.fail("a mask was opened"))
    source = TrainBatches(
        dataset, dataset.samples, PictureStore(dataset, "rgb"), toy_preset(2), torch.device("cpu"), sampler
    )
    assert source.steps > 0


def test_a_dataset_without_the_record_gives_the_same_batches_from_its_masks(tmp_path):
    new, old = dataset_of(tmp_path / "new"), dataset_of(tmp_path / "old", recorded=False)
    for sampler in ("shuffle", "balanced", "pairs"):
        for one, other in zip(run(new, {"masks"}, sampler), run(old, {"masks"}, sampler), strict=True):
            assert one.ids == other.ids and all(torch.equal(getattr(one, n), getattr(other, n)) for n in FIELDS)


def test_balanced_draws_parts_that_are_called_defective_without_a_class(tmp_path):
    picture = np.zeros((24, 24), np.uint8)
    dataset = toy_dataset(tmp_path, [(picture + i, None) for i in range(6)], known=Known(image=True))
    for index, sample in enumerate(dataset.samples):
        sample.label = "defective" if index == 0 else "good"
    drawn = [label for batch in run(dataset, {"labels"}, "balanced", epochs=60) for label in batch.labels.tolist()]
    assert sum(drawn) / len(drawn) == pytest.approx(0.5, abs=0.1)  # one image of six, half of the draws


def test_boxes_of_objects_need_no_mask_and_boxes_of_components_do(tmp_path):
    known, objects = Known(mask=(1, 2), boxes=(1, 2), image=True), {i: [Object(2, (6, 4, 11, 8))] for i in (1, 3, 5)}
    with_objects = dataset_of(tmp_path / "objects", known=known, objects=objects)
    shutil.rmtree(tmp_path / "objects" / "masks")
    plain = toy_preset(batch_size=2)
    from_objects = run(with_objects, {"boxes"}, preset=plain)
    from_masks = run(dataset_of(tmp_path / "masks"), {"boxes"}, preset=plain)
    for one, other in zip(from_objects, from_masks, strict=True):
        assert (one.masks == 255).all() and (other.masks == 255).all()
        assert one.known_boxes.tolist() == other.known_boxes.tolist() == [[False, True, True]] * 2
        for row, label in enumerate(one.labels.tolist()):
            expected = [pytest.approx([8, 16 / 3, 44 / 3, 32 / 3])] if label else []  # 24 pixels become 32
            assert one.boxes[row].tolist() == expected and other.boxes[row].tolist() == expected
            assert one.box_labels[row].tolist() == other.box_labels[row].tolist() == [2] * label


def test_boxes_that_the_augmentation_pushes_out_are_dropped_with_their_labels(tmp_path):
    objects = {1: [Object(1, (0, 0, 3, 3)), Object(2, (10, 10, 14, 14))]}
    dataset = dataset_of(tmp_path, known=Known(mask=(1, 2), boxes=(1, 2)), objects=objects)
    dataset.samples = dataset.samples[1:2]
    zoom = toy_preset(1, augment=({"scale": {"low": 2.0, "high": 2.0, "p": 1.0}},))
    (batch,) = run(dataset, {"boxes"}, "shuffle", zoom, epochs=1)
    assert batch.box_labels[0].tolist() == [2]  # the corner has left the picture
    # 24 pixels become 32, and twice that around the centre: (10 * 4 / 3 - 16) * 2 + 16 = 32 / 3
    assert batch.boxes[0].tolist() == [pytest.approx([32 / 3, 32 / 3, 64 / 3, 64 / 3], abs=1e-4)]


def test_crops_without_masks_or_boxes_are_refused(tmp_path):
    with pytest.raises(InputError, match="image label tells nothing"):
        run(dataset_of(tmp_path), {"labels"}, preset=toy_preset(2, mode="tile"))
