"""What a model's option may be, and the sentence that a wrong value gets."""

from __future__ import annotations

import pytest

from defectctl.models.catalogue import REGISTRY
from defectctl.models.options import DataNumbers, Number, Text, option_problem


@pytest.mark.parametrize(
    ("option", "good", "bad"),
    [
        ((1, 2), 2, True),  # True equals 1, but is not what was meant
        (("a", "b"), "a", "c"),
        ((False, True), True, 1),
        (Number(0, 1), 0.5, 1.5),
        (Number(0, 1), 1, True),
        (Text(r"[a-z]+", "a word"), "word", "two words"),
        (Text(r"[a-z]+", "a word"), "word", 3),
        (DataNumbers(2), [1, 0.5], [1, 2, 3]),
        (DataNumbers(2), "auto", [1, -1]),
        (DataNumbers(2), "none", "nothing"),
        (DataNumbers(2, optional=False), "auto", "none"),
        (DataNumbers(2), [0, 1], [1, "x"]),
        (DataNumbers(2, zero=False), [1, 2], [0, 1]),
    ],
)
def test_values(option, good, bad):
    assert option_problem(option, good) is None
    assert repr(bad) in option_problem(option, bad)


def test_a_near_miss_is_named():
    assert "did you mean 'decoder'" in option_problem(("encoder", "decoder"), "decodr")


def test_defaults_are_allowed_values():
    for entry in REGISTRY.values():
        wrong = [key for key, value in entry.default_options.items() if option_problem(entry.options[key], value)]
        assert wrong == [], entry.name
