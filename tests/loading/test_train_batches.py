"""Training batches: determined by seed, epoch and step alone, and true to what is known of each sample."""

import cv2
import numpy as np
import pytest
import torch

from defectctl.config.schema import Preset
from defectctl.dataset.types import ClassInfo, Dataset, Known, Object, Sample, Source
from defectctl.fileio import sha256_bytes
from defectctl.imaging.masks import encode_mask
from defectctl.loading.pictures import PictureStore
from defectctl.loading.train_batches import TrainBatches

STAGE = {"name": "all", "epochs": 1, "losses": {"ce": 1}, "optimiser": {"name": "sgd", "lr": 0.1}}


def make_preset(**augment):
    return Preset.model_validate(
        {
            "name": "test",
            "model": {"name": "none"},
            "input": {"size": [32, 32]},
            "augment": [{name: value} for name, value in augment.items()],
            "train": {"batch_size": 4, "stages": [STAGE]},
        }
    )


@pytest.fixture
def dataset(tmp_path):
    """Eight images 20x20; image i has grey level 10 i, odd ones a 4x4 defect of class 2; two classes."""
    samples = []
    for index in range(8):
        image = cv2.imencode(".png", np.full((20, 20), 10 * index, np.uint8))[1].tobytes()
        mask = np.zeros((20, 20), np.uint8)
        if index % 2:
            mask[2:6, 4:8] = 2
        mask_bytes = encode_mask(mask, [(255, 0, 0), (0, 255, 0)])
        (tmp_path / f"{index}.png").write_bytes(image)
        (tmp_path / f"{index}m.png").write_bytes(mask_bytes)
        samples.append(
            Sample(
                id=f"{index}.png",
                image=f"{index}.png",
                width=20,
                height=20,
                sha256=sha256_bytes(image),
                source="s",
                mask=f"{index}m.png" if index % 2 else None,
                mask_sha256=sha256_bytes(mask_bytes),
                objects=[Object(2, (4, 2, 8, 6)), Object(1, (0, 0, 20, 20), crowd=True)] if index % 2 else [],
            )
        )
    samples[1].known = Known(mask=(2,), boxes=(1, 2))
    source = Source("s", "coco", Known(mask=(1, 2), boxes=(1, 2), image=True))
    classes = [ClassInfo("a", (255, 0, 0)), ClassInfo("b", (0, 255, 0))]
    return Dataset(tmp_path, "d", classes, samples, {"s": source}, "", [], "random")


def batches(dataset, preset=None, **options):
    return TrainBatches(
        dataset, dataset.samples, PictureStore(dataset, "rgb"), preset or make_preset(), torch.device("cpu"), **options
    )


def test_a_batch_holds_what_is_known_of_each_sample(dataset):
    seen = {}
    for batch in batches(dataset, needs=frozenset({"masks", "boxes"})).epoch(0):
        assert batch.images.shape == (4, 3, 32, 32) and batch.masks.shape == (4, 32, 32)
        for row, name in enumerate(batch.ids):
            seen[name] = (batch, row)
    assert len(seen) == 8
    batch, row = seen["3.png"]
    assert torch.allclose(batch.images[row], torch.tensor(30 / 255), atol=1e-5)
    assert batch.boxes[row].tolist() == [pytest.approx([6.4, 3.2, 12.8, 9.6])]  # times 32/20; the crowd is left out
    assert batch.box_labels[row].tolist() == [2] and batch.labels[row] == 1
    assert set(batch.masks[row].unique().tolist()) == {0, 2}
    assert batch.known[row].tolist() == [True, True, True]
    batch, row = seen["1.png"]
    assert batch.known[row].tolist() == [True, False, True]
    batch, row = seen["0.png"]
    assert batch.labels[row] == 0 and batch.masks[row].sum() == 0


def test_an_epoch_entered_in_the_middle_goes_on_as_the_whole_one(dataset):
    preset = make_preset(hflip=0.5, rot90=1.0, noise={"amount": 0.5, "p": 1.0})
    whole = list(batches(dataset, preset, seed=3).epoch(2))
    rest = list(batches(dataset, preset, seed=3, threads=0).epoch(2, start=1))
    assert len(whole) == 2 and len(rest) == 1
    assert whole[1].ids == rest[0].ids
    assert torch.equal(whole[1].images, rest[0].images) and torch.equal(whole[1].masks, rest[0].masks)
    other = list(batches(dataset, preset, seed=4).epoch(2))
    assert not torch.equal(whole[0].images, other[0].images)


def test_balanced_and_pairs_see_the_labels(dataset):
    for sampler in ("balanced", "pairs"):
        labels = torch.cat([b.labels for e in range(10) for b in batches(dataset, sampler=sampler).epoch(e)])
        assert 0.3 < (labels == 1).float().mean() < 0.7
    assert batches(dataset, sampler="alternate").steps == 2


def test_a_micro_batch_is_a_view_of_its_rows(dataset):
    batch = next(iter(batches(dataset).epoch(0)))
    part = batch.part(1, 3)
    assert len(part) == 2 and part.ids == batch.ids[1:3]
    assert part.images.data_ptr() == batch.images[1:3].data_ptr()


def test_samplers_learn_the_labels_without_decoding_a_picture(dataset, monkeypatch):
    monkeypatch.setattr(PictureStore, "picture", lambda store, sample: pytest.fail("a picture was decoded"))
    assert batches(dataset, sampler="pairs").steps == 2
