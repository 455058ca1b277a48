"""Limits how many defective parts a training may see: the few that a new line has."""

from __future__ import annotations

import numpy as np

from defectctl.dataset.truth import recorded_state
from defectctl.dataset.types import Dataset, Sample
from defectctl.errors import InputError


def limit_defective(dataset: Dataset, samples: list[Sample], most: int | None, seed: int) -> list[Sample]:
    """Keep the defective images of `most` groups, drawn by the seed; good parts and unknown ones all stay.

    A sample without a group is a group of its own.

    Raises:
        InputError: the dataset's records do not tell which parts are defective.
    """
    if most is None:
        return samples
    states = {sample.id: recorded_state(dataset, sample) for sample in samples}
    if None in states.values():
        raise InputError(
            f"train.limit_defective: '{dataset.root}' was prepared by an older defectctl and does not record which "
            "parts are defective; run `defectctl prepare` again"
        )
    groups = sorted({_group(s) for s in samples if states[s.id] == 1})
    order = np.random.default_rng([seed, len(groups)]).permutation(len(groups))
    kept = {groups[i] for i in order[:most]}
    return [s for s in samples if states[s.id] != 1 or _group(s) in kept]


def _group(sample: Sample) -> str:
    return f"group {sample.group}" if sample.group is not None else f"image {sample.id}"
