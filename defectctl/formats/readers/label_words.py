"""Words that people give to good and defective parts, and the classes that follow from a source's image labels."""

from __future__ import annotations

import re
from functools import lru_cache

from defectctl.formats.base import RawSample, ReadOptions
from defectctl.formats.readers.names import order_classes

GOOD = "good"
DEFECTIVE = "defective"
DEFECT = "defect"
"""The class of a source that tells good from defective and nothing more."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


GOOD_WORDS = _words(
    "good ok okay io pass passed normal negative intact gut accept accepted"
    " nodefect nodefects defectfree nondefective nondefect notdefective noanomaly"
)
DEFECT_WORDS = _words(
    "bad ng nok nio ko notok nogood notgood schlecht def defect defects defective fail failed failure"
    " anomaly anomalies anomalous abnormal positive reject rejected faulty"
)
_PLAIN = _words("front back top bottom part parts image images img imgs sample samples piece pieces product")
_LEADING_NUMBER = re.compile(r"^\d+[\W_]+")


@lru_cache(4096)
def meaning(name: str) -> str | None:
    """What a folder or label says: "good", "defective", or None where it is the name of a class.

    Case, separators, a number in front and words like "parts" do not count: `i.O.`, `0_good`, `ok_front`, `no defect`.
    """
    words = re.split(r"[\W_]+", _LEADING_NUMBER.sub("", name.strip()).casefold())
    joined = "".join(word for word in words if word not in _PLAIN)
    if joined in GOOD_WORDS:
        return GOOD
    return DEFECTIVE if joined in DEFECT_WORDS else None


class Spelling:
    """One spelling for names that differ in case only: the user's, else the first that was seen."""

    def __init__(self, options: ReadOptions) -> None:
        self._names = {name.casefold(): name for name in options.classes}

    def __call__(self, name: str) -> str:
        """The spelling to use for `name`."""
        return self._names.setdefault(name.casefold(), name)


def settle_classes(samples: list[RawSample], options: ReadOptions) -> list[str]:
    """The classes of samples that have image labels only, in order of their index.

    Where no sample has the name of a class, the defective ones get one: the user's only one, or `defect`.

    Raises:
        InputError: `--classes` leaves out a class that is used.
    """
    found = {s.label: s.id for s in reversed(samples) if s.label not in (None, GOOD, DEFECTIVE)}
    if not found and len(options.classes) <= 1:
        name = options.classes[0] if options.classes else DEFECT
        for sample in samples:
            if sample.label == DEFECTIVE:
                sample.label = name
                found[name] = sample.id
    return order_classes(found, options)


def told_labels(samples: list[RawSample]) -> str:
    """How many images have which label, good first: `good 3, dent 1`."""
    labels = [sample.label for sample in samples if sample.label is not None]
    names = sorted(set(labels), key=lambda name: (name != GOOD, name))
    return ", ".join(f"{name} {labels.count(name)}" for name in names)
