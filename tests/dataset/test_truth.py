"""What a sample's mask speaks of, and whether its part is good, defective or unknown, by hand-worked cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from defectctl.dataset.truth import defective_state, known_columns, recorded_classes, recorded_state
from defectctl.dataset.types import ClassInfo, Dataset, Known, Object, Sample, Source

SOURCES = {
    "all": Known(mask=(1, 2)),
    "some": Known(mask=(1,)),
    "boxes": Known(boxes=(1, 2)),
    "both": Known(mask=(1,), boxes=(2,)),
    "none": Known(),
}
EMPTY, DENT, UNSURE = np.zeros((4, 4), np.uint8), np.eye(4, dtype=np.uint8), np.full((4, 4), 255, np.uint8)
BOX = [Object(1, (0.0, 0.0, 2.0, 2.0))]


def make_dataset() -> Dataset:
    classes = [ClassInfo("dent", (255, 0, 0)), ClassInfo("scratch", (0, 255, 0))]
    sources = {name: Source(name, "test", known) for name, known in SOURCES.items()}
    return Dataset(Path("."), "test", classes, [], sources, "", [], "")


def make_sample(source: str, **more: object) -> Sample:
    return Sample("a.png", "images/a.png", 4, 4, "", source, **more)


@pytest.mark.parametrize(
    "source, columns", [("all", [1, 1, 1]), ("some", [1, 1, 0]), ("boxes", [0, 0, 0]), ("none", [0, 0, 0])]
)
def test_known_columns(source: str, columns: list[int]) -> None:
    assert known_columns(make_dataset(), make_sample(source)).tolist() == [bool(c) for c in columns]


CASES = pytest.mark.parametrize(
    "source, mask, more, state",
    [
        ("all", DENT, {}, 1),
        ("all", EMPTY, {}, 0),
        ("all", UNSURE, {}, -1),
        ("some", EMPTY, {}, -1),
        ("some", EMPTY, {"label": "good"}, 0),
        ("some", EMPTY, {"objects": BOX}, 1),
        ("none", None, {}, -1),
        ("none", None, {"label": "dent"}, 1),
        ("boxes", None, {}, 0),
        ("boxes", None, {"objects": BOX}, 1),
        ("both", EMPTY, {}, 0),
        ("both", UNSURE, {}, -1),
        ("both", DENT, {}, 1),
    ],
)


@CASES
def test_state_of_the_part(source: str, mask: np.ndarray | None, more: dict, state: int) -> None:
    assert defective_state(make_dataset(), make_sample(source, **more), mask) == state


def record(mask: np.ndarray | None) -> dict:
    """What the record of a sample holds about its mask: a mask of background only has no file."""
    if mask is None or not mask.any():
        return {"present": ()}
    present = tuple(sorted(set(np.unique(mask).tolist()) - {0, 255}))
    return {"mask": "masks/a.png", "present": present, "has_unknown": bool((mask == 255).any())}


@CASES
def test_the_record_alone_tells_the_same(source: str, mask: np.ndarray | None, more: dict, state: int) -> None:
    sample = make_sample(source, **more, **record(mask))
    assert recorded_state(make_dataset(), sample) == state
    classes = {1} if mask is DENT or more.get("objects") or more.get("label") == "dent" else set()
    assert recorded_classes(make_dataset(), sample) == classes


def test_a_record_without_the_classes_of_its_mask_tells_only_what_it_can() -> None:
    dataset, old = make_dataset(), {"mask": "masks/a.png"}
    assert recorded_state(dataset, make_sample("all", **old)) is None
    assert recorded_classes(dataset, make_sample("all", **old)) is None
    assert recorded_state(dataset, make_sample("all", label="good", **old)) == 0
    assert recorded_state(dataset, make_sample("all", objects=BOX, **old)) == 1
    assert recorded_state(dataset, make_sample("all")) == 0 and recorded_classes(dataset, make_sample("all")) == set()
