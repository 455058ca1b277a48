"""What each training sample holds, told from the dataset's record; a mask is opened only where that cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from defectctl.dataset.truth import defective_state, recorded_classes, recorded_state
from defectctl.dataset.types import UNKNOWN, Dataset, Sample
from defectctl.loading.pictures import PictureStore
from defectctl.loading.prefetch import prefetch

UNNAMED = -1
"""Stands beside the class indices for "defective" without a class, as image labels say it."""


@dataclass(frozen=True, slots=True)
class SampleLabels:
    """What one sample holds.

    Attributes:
        state: 1 defective, 0 good, -1 unknown.
        classes: defect classes present in its mask, objects or image label.
        mask_classes: defect classes of which its mask holds pixels.
    """

    state: int
    classes: frozenset[int]
    mask_classes: frozenset[int]

    @property
    def kinds(self) -> frozenset[int]:
        """The classes, {0} for a good part, {UNNAMED} for a defective one without a class, nothing if unknown."""
        return self.classes or {0: frozenset({0}), 1: frozenset({UNNAMED})}.get(self.state, frozenset())


def sample_labels(
    dataset: Dataset, samples: Sequence[Sample], pictures: PictureStore, threads: int = 2
) -> list[SampleLabels]:
    """Look at every sample, in order."""

    def look(sample: Sample) -> SampleLabels:
        return recorded_labels(dataset, sample) or _decoded_labels(dataset, sample, pictures.mask(sample))

    if all(recorded_labels(dataset, sample) for sample in samples):
        threads = 0
    return list(prefetch(samples, look, threads))


def sample_state(dataset: Dataset, sample: Sample, pictures: PictureStore) -> int:
    """Whether one part is defective: 1, 0, or -1 where nobody knows."""
    state = recorded_state(dataset, sample)
    return state if state is not None else defective_state(dataset, sample, pictures.mask(sample))


def recorded_labels(dataset: Dataset, sample: Sample) -> SampleLabels | None:
    """What the record alone tells; None where it cannot."""
    state, classes = recorded_state(dataset, sample), recorded_classes(dataset, sample)
    if state is None or classes is None:
        return None
    return SampleLabels(state, classes, frozenset(sample.present or ()))


def _decoded_labels(dataset: Dataset, sample: Sample, mask: np.ndarray | None) -> SampleLabels:
    in_mask = set() if mask is None else set(np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist())
    in_mask -= {0, UNKNOWN}
    present = in_mask | {thing.label for thing in sample.objects}
    if sample.label in dataset.class_names:
        present.add(dataset.class_names.index(sample.label) + 1)
    return SampleLabels(defective_state(dataset, sample, mask), frozenset(present), frozenset(in_mask))
