"""What is known of one sample's truth, in the form that scoring needs: classes judged, and whether the part is good."""

from __future__ import annotations

import numpy as np

from defectctl.dataset.types import UNKNOWN, Dataset, Sample


def known_columns(dataset: Dataset, sample: Sample) -> np.ndarray:
    """`(1 + classes,)` bool: the classes for which the sample's mask speaks; column 0 where it speaks of any."""
    known = np.zeros(1 + len(dataset.classes), bool)
    classes = list(dataset.known(sample).mask)
    known[classes] = True
    known[0] = bool(classes)
    return known


def defective_state(dataset: Dataset, sample: Sample, mask: np.ndarray | None) -> int:
    """Whether the part is defective: 1, 0, or -1 where nobody knows.

    Any labelled defect makes it 1. It is 0 only where it is labelled good, or where a mask and boxes that together
    speak of every class show nothing and leave no pixel unknown.
    """
    if sample.label is not None:
        return int(sample.label != "good")
    if sample.objects or (mask is not None and bool(((mask != 0) & (mask != UNKNOWN)).any())):
        return 1
    return _good_or_unknown(dataset, sample, mask is not None, mask is not None and bool((mask == UNKNOWN).any()))


def recorded_state(dataset: Dataset, sample: Sample) -> int | None:
    """`defective_state` told from the record alone, without a mask file being opened.

    None where the record cannot tell: there is a mask, and the dataset is of a version that did not note what masks
    hold (`Sample.present`).
    """
    if sample.label is not None:
        return int(sample.label != "good")
    if sample.objects:
        return 1
    if sample.mask is not None:
        if sample.present is None:
            return None
        if sample.present:
            return 1
    known_empty = sample.mask is None and bool(dataset.known(sample).mask)
    return _good_or_unknown(dataset, sample, sample.mask is not None or known_empty, sample.has_unknown)


def recorded_classes(dataset: Dataset, sample: Sample) -> frozenset[int] | None:
    """Classes (1..K) known to be present in mask, objects or image label, told without a mask file being opened.

    None where the record cannot tell, see `recorded_state`.
    """
    if sample.mask is not None and sample.present is None:
        return None
    found = {thing.label for thing in sample.objects} | set(sample.present or ())
    if sample.label in dataset.class_names:
        found.add(dataset.class_names.index(sample.label) + 1)
    return frozenset(found)


def _good_or_unknown(dataset: Dataset, sample: Sample, has_mask: bool, has_unknown: bool) -> int:
    """0 or -1 for a part on which no defect is labelled."""
    known = dataset.known(sample)
    spoken_of = set(known.boxes) | (set(known.mask) if has_mask else set())
    return 0 if len(spoken_of) == len(dataset.classes) and not has_unknown else -1
