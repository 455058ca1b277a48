"""Scores the model on the validation part, at the images' own size, by the same code as `evaluate` and `predict`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from defectctl.errors import InputError, nearest
from defectctl.metrics.summary import IMAGE_RANKING, TASK_METRICS, core_metrics
from defectctl.metrics.table import ImageTable

if TYPE_CHECKING:
    import torch
    from torch import nn

    from defectctl.config.schema import Preset
    from defectctl.dataset.types import Dataset, Sample
    from defectctl.loading.pictures import PictureStore

PREFIX = "val/"

OTHER_THAN_MASKS = frozenset({"map50", "map", "image_ap", "image_auroc", "fp_at_full_recall"})
"""Metrics that do not come from pixels."""

ALL_TRUTH = frozenset({"masks", "boxes", "labels"})
"""The kinds of truth that a training may learn from (as `loss_names.needs_of` names them)."""


@dataclass(frozen=True, slots=True)
class Validation:
    """One validation.

    Attributes:
        metrics: `val/…` keys; None where the truth cannot tell.
        silent: classes that are in the truth and were never predicted.
    """

    metrics: dict[str, float | None]
    silent: list[str] = field(default_factory=list)


def metric_keys(tasks: Iterable[str] = tuple(TASK_METRICS)) -> list[str]:
    """The metrics that `train.select` may name for a model that delivers `tasks`; more is better in all of them."""
    wanted = set(tasks)
    chosen = [key for task, keys in TASK_METRICS.items() if task in wanted for key in keys]
    return [PREFIX + key for key in (*chosen, *IMAGE_RANKING)]


def check_select(select: str, tasks: Iterable[str] = tuple(TASK_METRICS)) -> None:
    """Refuse a `train.select` that no validation of such a model computes.

    Args:
        tasks: what the model delivers, of `models.catalogue.TASKS`.

    Raises:
        InputError: with the names there are.
    """
    delivered = tuple(tasks)
    keys = metric_keys(delivered)
    if select in keys:
        return
    known = ", ".join(keys)
    if select in metric_keys():
        raise InputError(
            f"train.select: '{select}' cannot be told of a model that delivers {' and '.join(delivered)} only "
            f"(choose {known})"
        )
    raise InputError(f"train.select: there is no metric '{select}'{nearest(select, keys)} (there are {known})")


def check_validated(select: str, needs: frozenset[str]) -> None:
    """Refuse to select by masks where the losses need none: no mask is opened in such a training.

    Args:
        needs: the truths that the losses learn from.

    Raises:
        InputError: with what may select instead.
    """
    if "masks" not in needs and select.removeprefix(PREFIX) in TASK_METRICS["segmentation"]:
        raise InputError(
            f"train.select: '{select}' is told by masks, which a training without a loss on masks never opens; "
            "select val/image_ap or, for a model that detects, val/map50"
        )


def numbers_of(table: ImageTable) -> dict[str, float | None]:
    """The table's single-number metrics with the prefix `val/`, None where the truth cannot tell.

    Those of masks and of boxes are left out where none were scored.
    """
    metrics = core_metrics(table)
    left_out = {"best_f1"}
    if not table.known[:, 0].any():
        left_out |= {key for key in metrics if key not in OTHER_THAN_MASKS}
    if table.detections is None:
        left_out |= set(TASK_METRICS["detection"])
    single = {k: v for k, v in metrics.items() if v is None or isinstance(v, int | float)}
    return {PREFIX + k: v for k, v in single.items() if k not in left_out}


def summarise(table: ImageTable) -> Validation:
    """Metrics of a table, IoU (and, of a detecting model, AP at overlap 0.5) of each class, classes never predicted.

    Classes can only be called never predicted where masks were scored.
    """
    metrics = numbers_of(table)
    masks, boxes = bool(table.known[:, 0].any()), table.detections is not None
    for name, values in core_metrics(table)["per_class"].items():
        if masks:
            metrics[f"{PREFIX}iou/{name}"] = values["iou"]
        if boxes:
            metrics[f"{PREFIX}ap50/{name}"] = values["ap50"]
    total = table.confusion.sum(axis=0)
    silent = [name for i, name in enumerate(table.classes, 1) if total[i].sum() > 0 and total[:, i].sum() == 0]
    return Validation(metrics, silent)


class Validator:
    """Scores a model on a fixed list of samples.

    Args:
        dataset, samples, pictures: the validation part.
        preset: resolved; its input and post-processing are used.
        device: where the model lies.
        needs: the truth that the training learns from; without `masks` no mask file is opened (but for boxes that
            only masks tell), so that weak supervision goes on without them.
    """

    def __init__(
        self,
        dataset: Dataset,
        samples: Sequence[Sample],
        pictures: PictureStore,
        preset: Preset,
        device: torch.device,
        needs: frozenset[str] = ALL_TRUTH,
    ) -> None:
        self.dataset, self.samples, self.pictures = dataset, samples, pictures
        self.preset, self.device, self.needs = preset, device, needs

    def __call__(self, model: nn.Module, precision: str, progress: Callable[[int], None]) -> Validation:
        """Score the model; it is left in evaluation mode. `progress` is called with the images done."""
        from defectctl.inference.runner import TorchRunner
        from defectctl.inference.scoring import score_samples

        batch_size = self.preset.predict.batch_size or self.preset.train.batch_size
        predict = self.preset.predict.model_copy(update={"batch_size": batch_size})
        runner = TorchRunner(model, self.preset.input, self.device, precision, predict=predict)
        min_area = self.preset.predict.min_area
        table = score_samples(
            runner,
            self.dataset,
            self.samples,
            self.pictures,
            min_area=0 if min_area == "auto" else min_area,
            batch_size=batch_size,
            progress=progress,
            needs=self.needs,
            box_score=self.preset.predict.box_score,
        )
        return summarise(table)
