"""What a sample's mask speaks of, and whether its part is good, defective or unknown, by hand-worked cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from defectctl.dataset.truth import defective_state, known_columns
from defectctl.dataset.types import ClassInfo, Dataset, Known, Object, Sample, Source

SOURCES = {"all": Known(mask=(1, 2)), "some": Known(mask=(1,)), "boxes": Known(boxes=(1, 2)), "none": Known()}
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


@pytest.mark.parametrize(
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
    ],
)
def test_state_of_the_part(source: str, mask: np.ndarray | None, more: dict, state: int) -> None:
    assert defective_state(make_dataset(), make_sample(source, **more), mask) == state
