"""Copies across the parts of a split are counted, whether equal byte for byte or of one family of near-duplicates."""

from __future__ import annotations

import pytest

from defectctl.dataset.leaks import copies_in_training, leaks, with_copies
from defectctl.dataset.types import Sample, Split


@pytest.fixture
def samples():
    """a and b have equal bytes, b and c are of one family, d has no copy."""
    rows = {"a": ("1", None), "b": ("1", "b"), "c": ("2", "b"), "d": ("3", None)}
    return [Sample(name, "", 8, 8, sha, "s", twins=twins) for name, (sha, twins) in rows.items()]


@pytest.mark.parametrize(
    ("held_out", "others", "expected"),
    [("a", "b", "a"), ("a", "c", ""), ("c", "b", "c"), ("bd", "ac", "b"), ("d", "abc", ""), ("", "abc", "")],
)
def test_copies_are_equal_bytes_or_of_one_family(samples, held_out, others, expected):
    chosen = [s for s in samples if s.id in held_out]
    assert "".join(s.id for s in with_copies(chosen, [s for s in samples if s.id in others])) == expected


@pytest.mark.parametrize(
    ("parts", "torn", "seen"),
    [
        ({"train": ["a", "b", "c", "d"]}, 0, {}),
        ({"train": ["a", "d"], "test": ["b", "c"]}, 2, {"test": 1}),
        ({"train": ["d"], "val": ["b"], "test": ["c"]}, 2, {"val": 0, "test": 0}),
        ({"train": ["b"], "val": ["a"], "test": ["c"]}, 3, {"val": 1, "test": 1}),
        ({"train": ["a"], "test": ["c"]}, 0, {"test": 0}),
    ],
)
def test_leaks_by_hand(samples, parts, torn, seen):
    split = Split("s", "", 0, parts)
    assert leaks(split, samples) == torn and copies_in_training(split, samples) == seen


def test_overlapping_crops_in_two_parts_are_a_leak(samples):
    samples[0].overlaps = samples[3].overlaps = "a"
    assert leaks(Split("s", "", 0, {"train": ["a"], "test": ["d"]}), samples) == 2
