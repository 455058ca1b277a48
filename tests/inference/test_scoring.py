"""Scores of a network whose prediction is known are held against numpy counts and hand-worked states."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from inference_toys import BrightBox, BrightJudge, Everything
from torch import nn

from defectctl.config.schema import InputConfig
from defectctl.dataset.types import ClassInfo, Dataset, Known, Object, Sample, Source
from defectctl.inference.runner import TorchRunner
from defectctl.inference.scoring import count_pixels, score_samples
from defectctl.metrics.instance_matching import match_instances
from defectctl.metrics.instances import INSTANCE_GROUPS
from defectctl.metrics.region_overlap import regions_of
from defectctl.metrics.saliency import structure_columns
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


def bright(box: tuple[int, int, int, int] | None) -> np.ndarray:
    picture = np.full((32, 64), 20, np.uint8)
    if box is not None:
        picture[box[1] : box[3], box[0] : box[2]] = 250
    return picture


class NoMasks(FakePictures):
    """A store whose mask files are gone."""

    def mask(self, sample: Sample) -> np.ndarray | None:
        raise AssertionError(f"the mask of {sample.id} was opened")


def small_runner(model: nn.Module) -> TorchRunner:
    return TorchRunner(model, InputConfig(size=[32, 64], colour="grey"), torch.device("cpu"))


def test_boxes_of_a_detector_meet_labelled_objects_and_the_components_of_masks() -> None:
    """Four images with one bright box each: labelled so, labelled elsewhere, told by a mask, and known of nobody."""
    seen, elsewhere = (8, 4, 20, 14), (40, 4, 52, 14)
    truth = np.zeros((32, 64), np.uint8)
    truth[4:14, 8:20] = 1
    samples = [
        sample("a", "boxes", objects=[Object(1, seen)]),
        sample("b", "boxes", objects=[Object(1, elsewhere), Object(2, seen)]),
        sample("c", "all", mask="c.png"),
        sample("d", "none"),
    ]
    pairs = {name: (bright(seen), truth if name == "c" else None) for name in "abcd"}
    table = score_samples(small_runner(BrightBox()), make_dataset(samples), samples, FakePictures(pairs), batch_size=3)
    found = table.detections
    assert found.truths.tolist() == [[0, 1, 0], [0, 1, 1], [0, 1, 0], [0, 0, 0]]
    # the detector says class 1 with 0.9 and class 2 with 0.1 in every image
    assert found.row.tolist() == [0, 0, 1, 1, 2, 2] and found.label.tolist() == [1, 2] * 3
    assert found.matched[:, 0].tolist() == [True, False, False, True, True, False]
    assert table.confusion.sum() == 0 and not table.known.any() and table.unknown.tolist() == [32 * 64] * 4
    assert table.score == pytest.approx([0.9] * 4) and table.defective.tolist() == [1, 1, 1, -1]


def test_a_decision_needs_neither_masks_nor_their_files() -> None:
    """Weak supervision: states come from the record, an old record without them leaves the part unknown."""
    samples = [
        sample("a", label="good"),
        sample("b", label="defective", mask="b.png"),
        sample("c", mask="c.png", present=(2,)),
        sample("d", mask="d.png", present=()),
        sample("e", mask="e.png"),
        sample("f"),
    ]
    pictures = NoMasks({s.id: (bright((1, 1, 5, 5) if s.id in "bc" else None), None) for s in samples})
    dataset = make_dataset(samples)
    for model in (BrightJudge(), Everything()):
        table = score_samples(small_runner(model), dataset, samples, pictures, needs=frozenset({"labels"}))
        assert table.defective.tolist() == [0, 1, 1, 0, -1, 0]
        assert table.score == pytest.approx([0.25, 0.75, 0.75, 0.25, 0.25, 0.25])
        assert not table.known.any() and table.confusion.sum() == 0


def test_masks_are_opened_for_boxes_only_where_nothing_else_tells_them() -> None:
    known = sample("a", "boxes", mask="a.png", objects=[Object(1, (8, 4, 20, 14))])
    pictures = NoMasks({"a": (bright((8, 4, 20, 14)), None), "b": (bright(None), None)})
    needs = frozenset({"boxes"})
    table = score_samples(small_runner(BrightBox()), make_dataset([known]), [known], pictures, needs=needs)
    assert table.detections.truths.tolist() == [[0, 1, 0]]
    told_by_mask = sample("b", "all", mask="b.png")
    with pytest.raises(AssertionError, match="mask of b"):
        score_samples(small_runner(BrightBox()), make_dataset([told_by_mask]), [told_by_mask], pictures, needs=needs)


def random_images(count: int) -> tuple[list[Sample], dict]:
    """Pictures of `LevelNet` with random truths; the last is without a mask, the one before it is a good part."""
    random = np.random.default_rng(2)
    samples = [replace(sample(f"{n}.png", group=f"batch {n // 2}"), sha256=str(n)) for n in range(count)]
    pairs = {}
    for n, one in enumerate(samples):
        predicted, truth = (np.kron(random.integers(0, 3, (4, 8)), np.ones((8, 8))).astype(np.uint8) for _ in "ab")
        truth[random.random(truth.shape) < 0.01 * (n % 2)] = 255
        pairs[one.id] = (predicted * 100, None if n == count - 1 else truth * (n != count - 2))
    return samples, pairs


@pytest.mark.parametrize("threads", [1, 4])
def test_finer_rows_are_those_of_the_definitions_in_the_order_of_the_images(threads: int) -> None:
    samples, pairs = random_images(9)
    runner = small_runner(LevelNet())
    more = {"batch_size": 2, "threads": threads, "finer": True}
    table = score_samples(runner, make_dataset(samples), samples, FakePictures(pairs), **more)
    assert table.ids == [s.id for s in samples]
    assert len(set(table.groups)) == 5 and all(table.groups[n] == table.groups[n + 1] for n in range(0, 8, 2))
    known = np.ones(3, bool)
    for n, (picture, truth) in enumerate(list(pairs.values())[:-1]):
        predicted, level = picture // 100, np.where(picture > 0, 255, 0).astype(np.uint8)
        mine, expected = table.instances.select(np.array([n])), match_instances(truth, predicted, known)
        for names in INSTANCE_GROUPS.values():
            for name in names:
                assert np.array_equal(getattr(mine, name), getattr(expected, name)), name
        regions, wanted = table.regions.select(np.array([n])), regions_of(truth, level, known)
        assert all(np.array_equal(getattr(regions, c), getattr(wanted, c)) for c in ("row", "whole", "label", "levels"))
        unknown = int((truth == 255).sum())
        assert table.structure[n] == pytest.approx(structure_columns(truth, level, unknown), nan_ok=True)
    assert not table.instances.judged[-1] and np.isnan(table.structure[-1]).all()
    assert table.instances.judged[:-1].all() and not (table.instances.row == 7).any()


def test_small_components_are_no_predicted_defects() -> None:
    picture = np.zeros((32, 64), np.uint8)
    picture[2:4, 2:4], picture[10:20, 10:20] = 100, 200
    one = sample("a.png")
    pictures = FakePictures({"a.png": (picture, np.zeros_like(picture))})
    table = score_samples(small_runner(LevelNet()), make_dataset([one]), [one], pictures, min_area=5, finer=True)
    assert table.instances.blob_area.tolist() == [100] and table.confusion[0, 0, 2] == 100


def test_an_error_in_judging_reaches_the_caller() -> None:
    samples, pairs = random_images(6)
    pairs["3.png"] = (pairs["3.png"][0], np.zeros((5, 5), np.uint8))
    with pytest.raises((ValueError, RuntimeError, IndexError)):
        score_samples(small_runner(LevelNet()), make_dataset(samples), samples, FakePictures(pairs), batch_size=1)


def test_what_has_no_masks_has_nothing_finer() -> None:
    """Not asked for; a model without masks; labels only, where the model has masks but no truth tells them."""
    samples, pairs = random_images(3)
    dataset, pictures = make_dataset(samples), FakePictures(pairs)
    plain = score_samples(small_runner(LevelNet()), dataset, samples, pictures)
    judge = score_samples(small_runner(BrightJudge()), dataset, samples, pictures, finer=True)
    for table in (plain, judge):
        assert table.instances is None and table.regions is None and table.structure is None
    labelled = [sample("a", "none", label="good"), sample("b", "none", label="defective")]
    pictures = FakePictures({s.id: (pairs["0.png"][0], None) for s in labelled})
    table = score_samples(small_runner(LevelNet()), make_dataset(labelled), labelled, pictures, finer=True)
    assert not table.instances.judged.any() and not len(table.instances.row) and not len(table.regions)
    assert table.defective.tolist() == [0, 1] and np.isnan(table.structure).all()
