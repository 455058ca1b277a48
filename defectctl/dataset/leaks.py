"""Images of which another part of a split holds a copy: equal bytes, turned, encoded again, or an overlapping crop."""

from __future__ import annotations

from collections.abc import Iterable

from defectctl.dataset.splits import PARTS
from defectctl.dataset.types import Sample, Split


def _marks(sample: Sample) -> list[str]:
    """What a sample shares with its copies."""
    marks = {"bytes": sample.sha256, "twins": sample.twins, "overlaps": sample.overlaps}
    return [f"{kind} {name}" for kind, name in marks.items() if name is not None]


def with_copies(samples: Iterable[Sample], others: Iterable[Sample]) -> list[Sample]:
    """Those of `samples` of which a copy is among `others`."""
    marks = {mark for sample in others for mark in _marks(sample)}
    return [sample for sample in samples if not marks.isdisjoint(_marks(sample))]


def copies_in_training(split: Split, samples: Iterable[Sample]) -> dict[str, int]:
    """For each part but the training part: how many of its images have a copy in the training part."""
    by_id = {sample.id: sample for sample in samples}
    training = [by_id[i] for i in split.parts.get(PARTS[0], [])]
    return {
        part: len(with_copies((by_id[i] for i in ids), training))
        for part, ids in split.parts.items()
        if part != PARTS[0]
    }


def leaks(split: Split, samples: Iterable[Sample]) -> int:
    """How many images of the split lie in another part than a copy of theirs."""
    by_id = {sample.id: sample for sample in samples}
    parts = {part: [by_id[i] for i in ids] for part, ids in split.parts.items()}
    torn: set[str] = set()
    for part, own in parts.items():
        rest = (sample for other, members in parts.items() if other != part for sample in members)
        torn.update(sample.id for sample in with_copies(own, rest))
    return len(torn)
