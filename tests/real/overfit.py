"""Teaches a preset's network eight images by heart: the proof that network, loss and decoding fit together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from defectctl.config.presets import load_preset, preset_to_dict
from defectctl.config.schema import Preset
from defectctl.dataset.types import Dataset, Sample
from defectctl.inference.runner import maps_from_logits
from defectctl.loading.network_input import masks_to_network, to_network
from defectctl.loading.pictures import PictureStore
from defectctl.loading.train_batches import TrainBatches
from defectctl.models.registry import build_model, complete_options, find_entry
from defectctl.training.box_survey import box_sizes
from defectctl.training.data_numbers import resolve_preset
from defectctl.training.loss_names import needs_of
from defectctl.training.losses import Criterion
from defectctl.training.optimisers import build_optimiser, set_learning_rate
from defectctl.training.schedules import Plateau, Progress, learning_rate
from defectctl.training.step import Stepper
from defectctl.training.validation import Validator

IMAGES = 8
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Overfit:
    """How a network is taught its images by heart; losses are the preset's last stage's unless given.

    Mask components below `min_area` image pixels are no boxes: slips of the mouse of a few pixels.
    """

    updates: int = 150
    lr: float = 1e-3
    size: tuple[int, int] | None = (128, 128)
    losses: dict[str, float] | None = None
    options: dict[str, object] | None = None
    min_area: int = 0


def plain_preset(name: str, how: Overfit) -> Preset:
    """The preset without augmentation and with one stage of Adam for everything."""
    values = preset_to_dict(load_preset(name))
    values["augment"] = []
    values["model"] |= how.options or {}
    if how.size is not None:
        values["input"]["size"] = list(how.size)
    last = values["train"]["stages"][-1]
    stage = {
        "name": "all",
        "updates": how.updates,
        "losses": how.losses or last.get("losses") or last["turns"][-1]["losses"],
        "optimiser": {"name": "adam", "lr": how.lr},
        "schedule": {"name": "one-cycle"},
    }
    values["train"] |= {"stages": [stage], "batch_size": IMAGES}
    values["train"].pop("micro_batch", None)
    values["predict"] = values.get("predict", {}) | {"min_area": how.min_area}
    values.pop("name")
    preset = Preset.model_validate({**values, "name": name})
    return preset.model_copy(update={"model": complete_options(preset.model)})


def overfit(name: str, dataset: Dataset, samples: list[Sample], how: Overfit, precision: str = "bf16") -> dict:
    """Train on the samples alone; return the validation's metrics on the same samples."""
    preset = plain_preset(name, how)
    entry = find_entry(preset.model.name)
    needs = needs_of(preset.train, entry.losses)
    pictures = PictureStore(dataset, preset.input.colour)
    sizes = box_sizes(dataset, samples, pictures, preset.input, how.min_area) if "boxes" in needs else None
    preset = resolve_preset(preset, None, sizes)
    torch.manual_seed(1)
    channels = 1 if preset.input.colour == "grey" else 3
    model = build_model(preset.model, len(dataset.classes), channels).to(memory_format=torch.channels_last)
    stage = preset.train.stages[0]
    own = getattr(model, "losses", None)
    criterion = Criterion(
        preset.train.loss_options, None, len(dataset.classes), own=own, own_names=entry.losses, threshold=None
    )
    stepper = Stepper(model, criterion, CPU, precision)
    optimiser = build_optimiser(stage.optimiser, list(model.parameters()))
    batch = next(iter(TrainBatches(dataset, samples, pictures, preset, CPU, needs=needs).epoch(0)))
    model.train()
    for number in range(how.updates):
        progress = Progress(number, how.updates, 1, False)
        set_learning_rate(optimiser, learning_rate(stage.schedule, stage.optimiser.lr, progress, Plateau()))
        stepper.update(batch, {k: float(v) for k, v in stage.losses.items()}, optimiser, number)
    validator = Validator(dataset, samples, pictures, preset, CPU, needs=needs)
    return validator(model, precision, lambda done: None).metrics


def kept_by_stride(dataset: Dataset, samples: list[Sample], size: tuple[int, int], stride: int) -> float:
    """mIoU of the truth itself after it went to the network's input and through its output stride and back."""
    pictures = PictureStore(dataset, "rgb")
    config = load_preset("quick").input.model_copy(update={"size": size})
    _, geometries = to_network([pictures.picture(s) for s in samples], config, CPU)
    masks = [pictures.mask(s) for s in samples]
    planes = 1 + len(dataset.classes)
    truth = masks_to_network(masks, geometries, CPU).long().clamp(0, planes - 1)
    shares = functional.one_hot(truth, planes).movedim(3, 1).float()
    small = functional.avg_pool2d(shares, stride, ceil_mode=True)
    found = maps_from_logits(torch.log(small.clamp_min(1e-6)), geometries)
    predicted = torch.cat([m.class_map.flatten() for m in found])
    true = torch.cat([torch.from_numpy(m).flatten() for m in masks if m is not None])
    ious = []
    for index in range(planes):
        union = ((predicted == index) | (true == index)).sum().item()
        if union:
            ious.append(((predicted == index) & (true == index)).sum().item() / union)
    return sum(ious) / len(ious)


def prepared(raw: Path, out: Path, read: dict[str, object] | None = None) -> Dataset:
    """A raw folder as a dataset, images linked."""
    from defectctl.formats.base import ReadOptions
    from defectctl.formats.prepare import PrepareOptions, prepare

    return prepare(raw, out, PrepareOptions(link=True, read=ReadOptions(**(read or {})))).dataset
