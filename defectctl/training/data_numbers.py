"""Numbers that come from the training part's labels and go into the resolved preset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from defectctl.config.schema import Preset
from defectctl.dataset.types import UNKNOWN, Sample
from defectctl.imaging.components import find_components
from defectctl.loading.pictures import PictureStore
from defectctl.loading.prefetch import prefetch
from defectctl.messages import progress

MAX_MASKS = 2000
"""Masks that are looked at; of a larger training part, so many evenly spaced in order of id."""

SMALL_SHARE = 0.01
"""Share of the labelled defects, the smallest, that the smallest reported area is derived from."""


@dataclass(frozen=True, slots=True)
class LabelSurvey:
    """What the training masks show.

    Attributes:
        masks: masks looked at.
        pixels: `(1 + classes,)` int64 pixels per class, background first.
        areas: areas of all labelled defects (8-connected components), in pixels, sorted.
    """

    masks: int
    pixels: np.ndarray
    areas: np.ndarray


def survey_labels(samples: Sequence[Sample], pictures: PictureStore, classes: int) -> LabelSurvey:
    """Look at the training part's masks (at most `MAX_MASKS`); masks that are not known are left out."""
    ordered = sorted(samples, key=lambda s: s.id)
    step = max(1, -(-len(ordered) // MAX_MASKS))
    pixels = np.zeros(1 + classes, np.int64)
    areas: list[int] = []
    masks = 0
    chosen = ordered[::step]
    for mask in progress(prefetch(chosen, pictures.mask), total=len(chosen), what="labels", unit="masks"):
        if mask is None:
            continue
        masks += 1
        pixels += np.bincount(mask[mask != UNKNOWN], minlength=1 + classes)
        areas += [component.area for component in find_components(mask)[1]]
    return LabelSurvey(masks, pixels, np.sort(np.array(areas, np.int64)))


def smallest_area(areas: np.ndarray) -> int:
    """Smallest defect worth reporting: half the area below which the smallest 1 % of the labelled defects lie.

    So nothing that looks like a labelled defect is filtered away, and single stray pixels are. At least 1 pixel; 1
    where nothing is labelled.
    """
    if not len(areas):
        return 1
    return max(1, int(np.quantile(areas, SMALL_SHARE, method="lower")) // 2)


def resolve_preset(preset: Preset, survey: LabelSurvey) -> Preset:
    """The preset with `auto` numbers replaced by those of the training part."""
    if preset.predict.min_area != "auto":
        return preset
    predict = preset.predict.model_copy(update={"min_area": smallest_area(survey.areas)})
    return preset.model_copy(update={"predict": predict})
