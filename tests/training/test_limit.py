"""The limit on defective parts: whole groups, drawn by the seed, good parts untouched."""

from __future__ import annotations

from pathlib import Path

import pytest

from defectctl.dataset.types import ClassInfo, Dataset, Known, Sample, Source
from defectctl.training.limit import limit_defective


def dataset_of(samples):
    source = Source("raw", "raw", Known(mask=(1,), image=True))
    return Dataset(Path("data"), "d", [ClassInfo("crack", (255, 0, 0))], samples, {"raw": source}, "f", [], "")


def part(folder: int, number: int, label: str) -> Sample:
    name = f"f{folder}/{number}.png"
    return Sample(name, f"images/{name}", 8, 8, name, "raw", label=label, group=f"f{folder}")


@pytest.fixture
def samples():
    """Ten folders of three: in the first six one part is defective, in folder 0 two."""
    kinds = lambda folder: ["defective" if folder < 6 else "good", "defective" if folder == 0 else "good", "good"]  # noqa: E731
    return [part(folder, number, kind) for folder in range(10) for number, kind in enumerate(kinds(folder))]


def defective(samples):
    return {s.group for s in samples if s.label == "defective"}


def test_no_limit_leaves_everything(samples):
    assert limit_defective(dataset_of(samples), samples, None, 0) is samples


@pytest.mark.parametrize("most", [1, 3, 6])
def test_so_many_groups_stay_with_all_their_defective_parts(samples, most):
    kept = limit_defective(dataset_of(samples), samples, most, 0)
    assert len(defective(kept)) == most
    assert [s for s in kept if s.label == "good"] == [s for s in samples if s.label == "good"]
    for group in defective(kept):
        assert sum(s.group == group for s in kept) == 3


def test_the_seed_draws_the_groups(samples):
    data = dataset_of(samples)
    first = [frozenset(defective(limit_defective(data, samples, 2, seed))) for seed in range(8)]
    assert first == [frozenset(defective(limit_defective(data, samples, 2, seed))) for seed in range(8)]
    assert len(set(first)) > 2


def test_fewer_groups_than_the_limit_are_no_error(samples):
    assert limit_defective(dataset_of(samples), samples, 99, 0) == samples
