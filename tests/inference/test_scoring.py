"""Scores of a network whose prediction is known are held against numpy counts and hand-worked states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from defectctl.config.schema import InputConfig
from defectctl.dataset.types import ClassInfo, Dataset, Known, Sample, Source
from defectctl.inference.runner import TorchRunner
from defectctl.inference.scoring import count_pixels, score_samples
from defectctl.metrics.table import count_image
from defectctl.models.output import Output


class LevelNet(nn.Module):
    """Predicts class k where the grey level is 100 * k of 255, with certainty."""

    def forward(self, images: torch.Tensor) -> Output:
        label = (images[:, 0] * 2.55).round().long().clamp(0, 2)
        return Output(mask_logits=20.0 * nn.functional.one_hot(label, 3).permute(0, 3, 1, 2).float())


class FakePictures:
    """Stands in for the store of decoded pictures."""

    def __init__(self, pairs: dict) -> None:
        self.pairs = pairs

    def picture(self, sample: Sample) -> np.ndarray:
        return self.pairs[sample.id][0]

    def mask(self, sample: Sample) -> np.ndarray | None:
        return self.pairs[sample.id][1]


def make_dataset(samples: list[Sample]) -> Dataset:
    classes = [ClassInfo("dent", (255, 0, 0)), ClassInfo("scratch", (0, 255, 0))]
    sources = {
        "all": Source("all", "test", Known(mask=(1, 2))),
        "some": Source("some", "test", Known(mask=(1,))),
        "boxes": Source("boxes", "test", Known(boxes=(1, 2))),
        "none": Source("none", "test", Known()),
    }
    return Dataset(Path("."), "test", classes, samples, sources, "", [], "")


def sample(name: str, source: str = "all", **more) -> Sample:
    return Sample(name, name, 64, 32, "", source, **more)


def test_table_equals_numpy_counts() -> None:
    random = np.random.default_rng(0)
    pairs, samples = {}, []
    for n in range(5):
        predicted = np.kron(random.integers(0, 3, (4, 8)), np.ones((8, 8), int)).astype(np.uint8)
        truth = random.choice([0, 1, 2, 255], (32, 64)).astype(np.uint8)
        source = "some" if n == 3 else "all"
        if source == "some":
            truth[truth == 2] = 0
        samples.append(sample(f"{n}.png", source))
        pairs[f"{n}.png"] = (predicted * 100, None if n == 4 else truth)
    dataset = make_dataset(samples)
    runner = TorchRunner(LevelNet(), InputConfig(size=[32, 64], colour="grey"), torch.device("cpu"))
    seen: list[int] = []
    table = score_samples(runner, dataset, samples, FakePictures(pairs), batch_size=2, progress=seen.append)
    assert seen == [2, 2, 1]
    assert table.ids == [s.id for s in samples]
    for n in range(4):
        picture, truth = pairs[f"{n}.png"]
        known = np.array([True, True, n != 3])
        expected = count_image(truth, picture // 100, known, np.where(picture > 0, 255, 0).astype(np.uint8))
        assert np.array_equal(table.confusion[n], expected.confusion)
        assert table.unknown[n] == expected.unknown
        assert np.array_equal(table.positives[n], expected.positives)
        assert np.array_equal(table.negatives[n], expected.negatives)
    assert table.confusion[4].sum() == 0 and table.unknown[4] == 32 * 64 and not table.known[4].any()
    assert table.score == pytest.approx([1.0] * 5)
    assert table.defective.tolist() == [1, 1, 1, 1, -1]


def test_small_components_are_background_before_counting() -> None:
    picture = np.zeros((32, 64), np.uint8)
    picture[2:4, 2:4] = 100
    picture[10:20, 10:20] = 200
    truth = (picture // 100).astype(np.uint8)
    dataset = make_dataset([sample("a.png")])
    runner = TorchRunner(LevelNet(), InputConfig(size=[32, 64], colour="grey"), torch.device("cpu"))
    pictures = FakePictures({"a.png": (picture, truth)})
    table = score_samples(runner, dataset, dataset.samples, pictures, min_area=5)
    assert table.confusion[0].tolist() == [[32 * 64 - 104, 0, 0], [4, 0, 0], [0, 0, 100]]


@pytest.mark.parametrize("known", [(True, True, True), (True, False, True), (True, True, False)])
def test_device_counts_equal_the_definition(known: tuple[bool, ...]) -> None:
    random = np.random.default_rng(1)
    truth = random.choice([0, 0, 1, 2, 255], (20, 30)).astype(np.uint8)
    predicted = random.integers(0, 3, (20, 30), dtype=np.uint8)
    defect = random.integers(0, 256, (20, 30), dtype=np.uint8)
    expected = count_image(truth, predicted, np.array(known), defect)
    found = count_pixels(*(torch.from_numpy(a) for a in (truth, predicted, defect)), np.array(known))
    for have, want in zip(found, (expected.confusion, expected.positives, expected.negatives), strict=True):
        assert np.array_equal(have, want)
