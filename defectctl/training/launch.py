"""Starts or resumes a training: builds model, batches and run folder from a checked request, and runs the loop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from defectctl.checkpoints.contract import Contract
from defectctl.checkpoints.runs import MODEL_FILE, environment, mark_run, new_run, read_run, versions
from defectctl.checkpoints.weights import save_model
from defectctl.config.presets import preset_to_dict, preset_to_yaml
from defectctl.config.schema import Preset
from defectctl.fileio import folder_lock, write_json, write_text
from defectctl.imaging.pixel_rule import PixelRule
from defectctl.inference.device import choose_device, choose_precision, set_threads
from defectctl.loading.box_truth import boxes_need_mask
from defectctl.loading.pictures import PictureStore
from defectctl.loading.train_batches import TrainBatches
from defectctl.messages import say, warn
from defectctl.models.options import AUTO
from defectctl.models.registry import build_model, find_entry
from defectctl.training.box_survey import box_sizes
from defectctl.training.data_numbers import MAX_MASKS, LabelSurvey, needs_survey, resolve_preset, survey_labels
from defectctl.training.interrupt import StopSignal
from defectctl.training.loop import Trainer
from defectctl.training.request import PRESET_FILE, TrainJob
from defectctl.training.stages import check_parts, mix
from defectctl.training.state import Memory, writing
from defectctl.training.surroundings import Surroundings
from defectctl.training.validation import Validator


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """A finished training: its folder, the file to deploy, and how good the chosen checkpoint was."""

    run: Path
    model: Path
    metric: str
    best: float | None
    best_epoch: int | None
    epochs: int
    updates: int


def start_training(job: TrainJob) -> TrainOutcome:
    """Train to the end.

    Raises:
        Interrupted: stopped by the user, the state is kept.
        InputError: weights or parts of the model cannot be had, or a file of the dataset is not what was prepared.
        RunError: the device, the memory, the disk or the numbers gave out.
    """
    device = choose_device(job.options.device)
    set_threads(job.options.threads, device)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    precision = choose_precision(device, job.preset.train.precision)
    pictures = PictureStore(job.dataset, job.preset.input.colour)
    preset = _resolved(job, pictures)
    model = _model(job, preset, device)
    batches = _batches(job, preset, pictures, device)
    run = job.resume or _new_run(job, preset)
    say(f"{'resuming' if job.resume else 'training'} {run} on {device} in {precision}: {len(job.train)} images")
    with folder_lock(run, "the run"), StopSignal() as stop:
        around = Surroundings(
            batches=batches,
            validate=Validator(job.dataset, job.val, pictures, preset, device, needs=job.needs),
            save_model=_Saver(job, preset, run),
            run=run,
            device=device,
            precision=precision,
            classes=len(job.dataset.classes),
            images=len(job.val),
            quiet=job.options.quiet,
            own_losses=find_entry(preset.model.name).losses,
        )
        memory = _train(Trainer(model, preset, around, stop), run, preset, job)
    position = memory.position
    return TrainOutcome(
        run,
        run / MODEL_FILE,
        preset.train.select,
        position.best,
        position.best_epoch,
        len(memory.history),
        position.number,
    )


def _train(trainer: Trainer, run: Path, preset: Preset, job: TrainJob) -> Memory:
    with writing(run):
        if job.resume is not None:
            trainer.resume()
            write_text(run / PRESET_FILE, preset_to_yaml(preset))
        mark_run(run, "running")
    status = "stopped"
    try:
        memory = trainer.run()
        status = "finished"
    finally:
        with writing(run):
            mark_run(run, status)
    return memory


def _resolved(job: TrainJob, pictures: PictureStore) -> Preset:
    """The preset with every `auto` replaced by a number of the training part; a stored preset has them already."""
    preset = job.preset
    if not needs_survey(preset):
        return preset
    survey = None
    from_components = "boxes" in job.needs and any(boxes_need_mask(job.dataset, sample) for sample in job.train)
    if "masks" in job.needs or from_components:
        survey = survey_labels(job.train, pictures, len(job.dataset.classes))
        if job.resume is None:
            _tell_labels(job, survey)
        preset = resolve_preset(preset, survey)
    sizes = None
    if preset.model.options.get("anchors") == AUTO:
        min_area = preset.predict.min_area
        sizes = box_sizes(job.dataset, job.train, pictures, preset.input, 0 if min_area == AUTO else min_area)
    return resolve_preset(preset, survey, sizes)


def _model(job: TrainJob, preset: Preset, device: torch.device) -> nn.Module:
    """Build the network; its random start is fixed by the seed. A resumed run needs no start weights."""
    torch.manual_seed(mix(preset.train.seed, 0))
    config = preset.model if job.resume is None else preset.model.model_copy(update={"weights": "none"})
    channels = 1 if preset.input.colour == "grey" else 3
    model = build_model(config, len(job.dataset.classes), channels)
    check_parts(model, preset.train.stages)
    return model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _tell_labels(job: TrainJob, survey: LabelSurvey) -> None:
    """Warn of a training part from which nothing can be learned, or not every class."""
    names = job.dataset.class_names
    boxed = {thing.label for sample in job.train for thing in sample.objects} if "boxes" in job.needs else set()
    missing = [n for i, n in enumerate(names, 1) if survey.pixels[i] == 0 and i not in boxed]
    if missing and len(job.train) > MAX_MASKS:  # a sample of the masks proves nothing
        warn(f"none of the {survey.masks} training masks looked at shows {', '.join(missing)}")
    elif not len(survey.areas):
        warn("no training mask shows a defect: the model will learn to find none")
    elif missing:
        warn(f"no training mask shows {', '.join(missing)}: the model cannot learn it")


def _batches(job: TrainJob, preset: Preset, pictures: PictureStore, device: torch.device) -> dict[str, TrainBatches]:
    samplers = dict.fromkeys(stage.sampler for stage in preset.train.stages)
    return {
        sampler: TrainBatches(
            job.dataset, job.train, pictures, preset, device, sampler=sampler, seed=preset.train.seed, needs=job.needs
        )
        for sampler in samplers
    }


def _new_run(job: TrainJob, preset: Preset) -> Path:
    with writing(job.out):
        run = new_run(job.out, preset.name)
        about: dict[str, Any] = read_run(run)
        about |= {
            "data": str(job.dataset.root.absolute()),
            "fingerprint": job.dataset.fingerprint,
            "split": job.split.name,
            "split_fingerprint": job.split.fingerprint,
        }
        write_json(run / "run.json", about)
        write_text(run / PRESET_FILE, preset_to_yaml(preset))
        write_json(run / "environment.json", environment())
    return run


class _Saver:
    """Writes the best checkpoint with its contract."""

    def __init__(self, job: TrainJob, preset: Preset, run: Path) -> None:
        self.path = run / MODEL_FILE
        dataset, split = job.dataset, job.split
        min_area = preset.predict.min_area
        self.contract = Contract(
            preset=preset_to_dict(preset),
            classes=dataset.class_names,
            colours=[c.colour for c in dataset.classes],
            pixels=_pixel_rule(job),
            min_area=0 if min_area == "auto" else min_area,
            dataset={
                "name": dataset.name,
                "fingerprint": dataset.fingerprint,
                "split": split.name,
                "split_fingerprint": split.fingerprint,
            },
            versions=versions(),
        )

    def __call__(self, weights: dict[str, Tensor], about: dict[str, Any]) -> None:
        self.contract.training = about
        save_model(self.path, weights, self.contract)


def _pixel_rule(job: TrainJob) -> PixelRule:
    """The rule of the training images; where sources differ, that of most images, and it is said."""
    counts: dict[PixelRule, int] = {}
    for sample in job.train:
        rule = job.dataset.pixel_rule(sample)
        counts[rule] = counts.get(rule, 0) + 1
    rule = max(counts, key=lambda r: counts[r])
    if len(counts) > 1:
        warn(f"the sources' 16-bit images have different ranges; predict will take {rule.black16}..{rule.white16}")
    return rule
