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

    Any labelled defect makes it 1. It is 0 only where it is labelled good, or where a mask or boxes that speak of
    every class show nothing and leave no pixel unknown.
    """
    if sample.label is not None:
        return int(sample.label != "good")
    if sample.objects or (mask is not None and bool(((mask != 0) & (mask != UNKNOWN)).any())):
        return 1
    known, classes = dataset.known(sample), len(dataset.classes)
    if mask is not None:
        return 0 if len(set(known.mask)) == classes and not (mask == UNKNOWN).any() else -1
    return 0 if len(set(known.boxes)) == classes else -1
