"""Numbers that come from the training part's labels and go into the resolved preset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from defectctl.config.schema import InputConfig, Preset
from defectctl.dataset.types import UNKNOWN, Sample
from defectctl.imaging.components import find_components
from defectctl.imaging.geometry import Geometry
from defectctl.loading.pictures import PictureStore
from defectctl.loading.prefetch import prefetch
from defectctl.messages import progress, say
from defectctl.models.options import AUTO
from defectctl.training.anchors import fit_anchors

MAX_MASKS = 2000
"""Masks that are looked at; of a larger training part, so many evenly spaced in order of id."""

SMALL_SHARE = 0.01
"""Share of the labelled defects, the smallest, that the smallest reported area is derived from."""

LEAST_WEIGHT, MOST_WEIGHT = 0.1, 10.0
"""Limits of a class weight that is derived from pixel counts."""

UNKNOWN_REFERENCE = 0.01
"""Share of the input taken as the usual defect's where the training masks show none."""

SHARES = {"branch_shares": ((3, 5, 7), 8), "ela_shares": ((3, 7), 4)}
"""Options of adaptive initialisation: the kernels, and the stride at which they work (SME-DeepLabV3+ on StarNet)."""


@dataclass(frozen=True, slots=True)
class LabelSurvey:
    """What the training masks show.

    Attributes:
        masks: masks looked at.
        pixels: `(1 + classes,)` int64 pixels per class, background first.
        pixels_beside: `(1 + classes,)` int64 known pixels of all masks in which the class is present.
        areas: `(M,)` int64 areas of all labelled defects (8-connected components), in pixels, sorted.
        image_sizes: `(M, 2)` int64 height and width of each of those defects' image, in the same order.
    """

    masks: int
    pixels: np.ndarray
    pixels_beside: np.ndarray
    areas: np.ndarray
    image_sizes: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """`(M,)` areas of the defects as shares of their image, 0..1."""
        return self.areas / self.image_sizes.prod(axis=1)

    def network_areas(self, config: InputConfig) -> np.ndarray:
        """`(M,)` float64 areas of the defects in pixels of the network's input."""
        if config.mode == "tile":  # crops keep the image's own resolution
            return self.areas.astype(np.float64)
        sizes, which = np.unique(self.image_sizes, axis=0, return_inverse=True)
        fits = [Geometry.fit(int(width), int(height), *config.size, config.mode) for height, width in sizes]
        factors = np.array([fit.scale_x * fit.scale_y for fit in fits])
        return self.areas * factors[which.reshape(-1)]


def survey_labels(samples: Sequence[Sample], pictures: PictureStore, classes: int) -> LabelSurvey:
    """Look at the training part's masks (at most `MAX_MASKS`); masks that are not known are left out."""
    ordered = sorted(samples, key=lambda s: s.id)
    step = max(1, -(-len(ordered) // MAX_MASKS))
    pixels, beside = np.zeros(1 + classes, np.int64), np.zeros(1 + classes, np.int64)
    areas: list[int] = []
    sizes: list[tuple[int, int]] = []
    masks = 0
    chosen = ordered[::step]
    for mask in progress(prefetch(chosen, pictures.mask), total=len(chosen), what="labels", unit="masks"):
        if mask is None:
            continue
        masks += 1
        counts = np.bincount(mask[mask != UNKNOWN], minlength=1 + classes)
        pixels += counts
        beside[counts > 0] += counts.sum()
        found = [component.area for component in find_components(mask)[1]]
        areas += found
        sizes += [(mask.shape[0], mask.shape[1])] * len(found)
    order = np.argsort(np.array(areas, np.int64), kind="stable")
    image_sizes = np.array(sizes, np.int64).reshape(-1, 2)
    return LabelSurvey(masks, pixels, beside, np.array(areas, np.int64)[order], image_sizes[order])


def smallest_area(areas: np.ndarray) -> int:
    """Smallest defect worth reporting: half the area below which the smallest 1 % of the labelled defects lie.

    So nothing that looks like a labelled defect is filtered away, and single stray pixels are. At least 1 pixel; 1
    where nothing is labelled.
    """
    if not len(areas):
        return 1
    return max(1, int(np.quantile(areas, SMALL_SHARE, method="lower")) // 2)


def balanced_weights(pixels: np.ndarray, pixels_beside: np.ndarray) -> list[float]:
    """Class weights by median-frequency balancing (Eigen & Fergus, 2015, section 6.3.2), within 0.1..10.

    A class's frequency is its share of the pixels of the images in which it is present; its weight is the median of
    all frequencies, background's among them, over its own. Classes without a pixel get 1.
    """
    weights = np.ones(len(pixels))
    there = pixels > 0
    if there.any():
        frequency = pixels[there] / pixels_beside[there]
        weights[there] = np.clip(np.median(frequency) / frequency, LEAST_WEIGHT, MOST_WEIGHT)
    return np.round(weights, 4).tolist()


def kernel_shares(areas: np.ndarray, kernels: Sequence[int], stride: int) -> list[float]:
    """Shares of the defects whose equivalent diameter lies nearest to each kernel's width.

    Args:
        areas: `(M,)` areas in pixels of the network's input; without any, all shares are alike.
        kernels: widths in cells, rising.
        stride: pixels of the network's input a cell.
    """
    if not len(areas):
        return [round(1 / len(kernels), 4)] * len(kernels)
    cells = np.sqrt(4 * areas / np.pi) / stride  # diameter of the circle of that area
    nearest = np.abs(cells[:, None] - np.array(kernels)).argmin(axis=1)
    return np.round(np.bincount(nearest, minlength=len(kernels)) / len(areas), 4).tolist()


def usual_share(areas: np.ndarray, size: tuple[int, int]) -> float:
    """Geometric mean of the defects' shares of the network's input, to 6 digits; 0.01 without any defect.

    Args:
        areas: `(M,)` areas in pixels of the network's input.
        size: its height and width.
    """
    if not len(areas):
        return UNKNOWN_REFERENCE
    mean = np.exp(np.log(areas / (size[0] * size[1])).mean())
    return float(f"{min(mean, 1.0):.6g}")


def needs_survey(preset: Preset) -> bool:
    """Whether anything in the preset is still `auto`; where nothing is, no label need be read for its numbers."""
    dynamic = preset.train.dynamic_threshold
    open_numbers = [preset.predict.min_area, preset.train.class_weights, dynamic.reference if dynamic else None]
    return AUTO in open_numbers or bool(_auto_options(preset))


def resolve_preset(preset: Preset, survey: LabelSurvey | None, box_sizes: np.ndarray | None = None) -> Preset:
    """The preset with `auto` replaced by numbers of the training part; numbers and `none` stay as they are.

    Args:
        preset: as asked for.
        survey: of the training masks; None where no loss learns from them. Class weights and adaptive initialisation
            are then switched off, and `predict.min_area` stays `auto`.
        box_sizes: `(M, 2)` width and height of the training boxes in network pixels; None leaves anchors `auto`.
    """
    options: dict[str, Any] = {}
    areas = survey.network_areas(preset.input) if survey is not None else None
    for key in _auto_options(preset):
        if key in SHARES:
            kernels, stride = SHARES[key]
            if key == "branch_shares" and not str(preset.model.options.get("backbone", "starnet")).startswith(
                "starnet"
            ):
                stride = preset.model.options.get("output_stride", 16)
            options[key] = kernel_shares(areas, kernels, stride) if areas is not None else "none"
        elif key == "anchors" and box_sizes is not None:
            options[key] = _anchors(box_sizes, preset.input.size)
    predict: dict[str, Any] = {}
    if survey is not None and preset.predict.min_area == AUTO:
        predict["min_area"] = smallest_area(survey.areas)
    return preset.model_copy(
        update={
            "model": preset.model.model_copy(update=options),
            "train": preset.train.model_copy(update=_training_numbers(preset, survey)),
            "predict": preset.predict.model_copy(update=predict),
        }
    )


def _auto_options(preset: Preset) -> dict[str, Any]:
    return {key: value for key, value in preset.model.options.items() if value == AUTO}


def _training_numbers(preset: Preset, survey: LabelSurvey | None) -> dict[str, Any]:
    """What changes in `preset.train`."""
    train: dict[str, Any] = {}
    if preset.train.class_weights == AUTO:
        train["class_weights"] = balanced_weights(survey.pixels, survey.pixels_beside) if survey is not None else None
    dynamic = preset.train.dynamic_threshold
    if survey is not None and dynamic is not None and dynamic.reference == AUTO:
        reference = usual_share(survey.network_areas(preset.input), preset.input.size)
        train["dynamic_threshold"] = dynamic.model_copy(update={"reference": reference})
    return train


def _anchors(sizes: np.ndarray, input_size: tuple[int, int]) -> list[float]:
    fit = fit_anchors(sizes, input_size)
    if fit.refitted:
        say(f"anchors fitted to the training boxes: {fit.recall:.1%} of them match one")
    return fit.anchors.flatten().tolist()
