"""Scores the model on the validation part, at the images' own size, by the same code as `evaluate` and `predict`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from defectctl.errors import InputError, nearest
from defectctl.metrics.segmentation import segmentation_metrics
from defectctl.metrics.table import ImageTable

if TYPE_CHECKING:
    import torch
    from torch import nn

    from defectctl.config.schema import Preset
    from defectctl.dataset.types import Dataset, Sample
    from defectctl.loading.pictures import PictureStore

PREFIX = "val/"

NOT_A_GOAL = ("_std", "/unknown_share")
"""Endings of numbers that describe a validation but of which more is not better."""


@dataclass(frozen=True, slots=True)
class Validation:
    """One validation.

    Attributes:
        metrics: `val/…` keys; None where the truth cannot tell.
        silent: classes that are in the truth and were never predicted.
    """

    metrics: dict[str, float | None]
    silent: list[str] = field(default_factory=list)


def metric_keys(classes: Sequence[str] = ("defect",)) -> list[str]:
    """The metrics that `train.select` may name."""
    side = 1 + len(classes)
    empty = ImageTable(
        ids=[],
        classes=list(classes),
        confusion=np.zeros((0, side, side)),
        unknown=np.zeros(0),
        score=np.zeros(0),
        defective=np.zeros(0),
        known=np.zeros((0, side)),
        positives=np.zeros((0, 256)),
        negatives=np.zeros((0, 256)),
    )
    return list(numbers_of(empty))


def check_select(select: str) -> None:
    """Refuse a `train.select` that no validation computes.

    Raises:
        InputError: with the names there are.
    """
    keys = [key for key in metric_keys() if not key.endswith(NOT_A_GOAL)]
    if select not in keys:
        known = ", ".join(keys)
        raise InputError(f"train.select: there is no metric '{select}'{nearest(select, keys)} (there are {known})")


def numbers_of(table: ImageTable) -> dict[str, float | None]:
    """The table's single-number metrics with the prefix `val/`."""
    metrics = segmentation_metrics(table)
    return {PREFIX + k: v for k, v in metrics.items() if v is None or isinstance(v, int | float)}


def summarise(table: ImageTable) -> Validation:
    """Metrics of a table, the IoU of each class among them, and the classes never predicted."""
    metrics = numbers_of(table)
    for name, values in segmentation_metrics(table)["per_class"].items():
        metrics[f"{PREFIX}iou/{name}"] = values["iou"]
    total = table.confusion.sum(axis=0)
    silent = [name for i, name in enumerate(table.classes, 1) if total[i].sum() > 0 and total[:, i].sum() == 0]
    return Validation(metrics, silent)


class Validator:
    """Scores a model on a fixed list of samples.

    Args:
        dataset, samples, pictures: the validation part.
        preset: resolved; its input and smallest area are used.
        device: where the model lies.
    """

    def __init__(
        self, dataset: Dataset, samples: Sequence[Sample], pictures: PictureStore, preset: Preset, device: torch.device
    ) -> None:
        self.dataset, self.samples, self.pictures = dataset, samples, pictures
        self.preset, self.device = preset, device

    def __call__(self, model: nn.Module, precision: str, progress: Callable[[int], None]) -> Validation:
        """Score the model; it is left in evaluation mode. `progress` is called with the images done."""
        from defectctl.inference.runner import TorchRunner
        from defectctl.inference.scoring import score_samples

        runner = TorchRunner(model, self.preset.input, self.device, precision)
        min_area = self.preset.predict.min_area
        table = score_samples(
            runner,
            self.dataset,
            self.samples,
            self.pictures,
            min_area=0 if min_area == "auto" else min_area,
            batch_size=self.preset.predict.batch_size or self.preset.train.batch_size,
            progress=progress,
        )
        return summarise(table)
