"""Everything about a training that can be checked before torch is imported, so that a mistake costs no time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defectctl.checkpoints.runs import RUNS, STATE_FILE, find_run, read_run
from defectctl.config.presets import load_preset
from defectctl.config.schema import Preset
from defectctl.dataset.locate import find_dataset
from defectctl.dataset.store import load_dataset, load_split
from defectctl.dataset.truth import recorded_state
from defectctl.dataset.types import Dataset, Sample, Split
from defectctl.errors import InputError, nearest
from defectctl.fileio import check_writable
from defectctl.inference.device import check_device_name
from defectctl.loading.samplers import two_kinds
from defectctl.metrics.summary import IMAGE_RANKING
from defectctl.models.catalogue import ModelEntry
from defectctl.models.registry import check_model, complete_options, find_entry
from defectctl.training.limit import limit_defective
from defectctl.training.loss_names import check_losses, check_outputs, needs_of
from defectctl.training.validation import check_select, check_validated

PRESET_FILE = "preset.yaml"


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What the user said; None where nothing was said."""

    preset: str | None = None
    data: Path | None = None
    split: str | None = None
    overrides: tuple[str, ...] = ()
    out: Path | None = None
    resume: str | None = None
    device: str = "auto"
    threads: int | None = None
    seed: int | None = None
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class TrainJob:
    """A checked training.

    Attributes:
        preset: of a new run as asked for, of a resumed one as resolved then.
        train, val: the samples of the split's parts.
        needs: which truth the losses learn from: `masks`, `boxes`, `labels`.
        out: folder of the runs.
        resume: the run folder to go on with, or None.
    """

    preset: Preset
    dataset: Dataset
    split: Split
    train: list[Sample]
    val: list[Sample]
    needs: frozenset[str]
    out: Path
    resume: Path | None
    options: TrainOptions

    def summary(self) -> dict[str, Any]:
        """The plan in plain values, as `--dry-run` shows it."""
        return {
            "preset": self.preset.name,
            "model": self.preset.model.name,
            "data": str(self.dataset.root),
            "split": self.split.name,
            "classes": self.dataset.class_names,
            "images": {name: len(ids) for name, ids in self.split.parts.items()},
            "stages": [
                {"name": s.name, **({"epochs": s.epochs} if s.epochs is not None else {"updates": s.updates})}
                for s in self.preset.train.stages
            ],
            "batch_size": self.preset.train.batch_size,
            "select": self.preset.train.select,
            "out": str(self.resume or self.out),
        }


def check_request(options: TrainOptions) -> TrainJob:
    """Check options, preset, dataset and run folder; change nothing on disk.

    Raises:
        InputError: the first thing that is wrong.
    """
    check_device_name(options.device)
    if options.threads is not None and options.threads < 1:
        raise InputError(f"--threads must be 1 or more, not {options.threads}")
    out = options.out or RUNS
    run, stored = _resumed(options, out)
    preset = _preset(options, run)
    # A resumed run has its weights in its state: the file it started from may be gone.
    check_model(preset.model if run is None else preset.model.model_copy(update={"weights": "none"}))
    preset = preset.model_copy(update={"model": complete_options(preset.model)})
    entry = find_entry(preset.model.name)
    check_losses(preset.train, entry.losses)
    check_outputs(preset.train, entry.tasks)
    check_select(preset.train.select, entry.tasks)
    _check_parts(preset, entry)
    root = Path(stored["data"]) if options.data is None and "data" in stored else options.data
    dataset = load_dataset(find_dataset(root))
    split = load_split(dataset, options.split or stored.get("split"))
    if stored:
        _same_data(stored, dataset, split)
    if entry.most_classes is not None and len(dataset.classes) > entry.most_classes:
        raise InputError(
            f"model '{entry.name}' tells {entry.most_classes} class of defects, and '{dataset.root}' has "
            f"{len(dataset.classes)}; prepare it with one (--map OLD=NEW), or choose another preset"
        )
    check_writable(run or out, "the run folder")
    by_id = {sample.id: sample for sample in dataset.samples}
    parts = {name: [by_id[i] for i in split.parts.get(name, [])] for name in ("train", "val")}
    for name, samples in parts.items():
        if not samples:
            there = ", ".join(split.parts) or "none"
            where = f"split '{split.name}' of '{dataset.root}'"
            raise InputError(f"{where} has no images in a part '{name}' (it has {there}); choose another with --split")
    needs = needs_of(preset.train, entry.losses)
    _check_truth(dataset, split, parts["train"], preset, needs)
    check_validated(preset.train.select, needs)
    parts["train"] = limit_defective(dataset, parts["train"], preset.train.limit_defective, preset.train.seed)
    _check_kinds(dataset, parts, preset)
    weights = preset.train.class_weights
    if isinstance(weights, list) and len(weights) != 1 + len(dataset.classes):
        raise InputError(
            f"train.class_weights has {len(weights)} numbers, but background and the {len(dataset.classes)} classes "
            f"of '{dataset.root}' need {1 + len(dataset.classes)}"
        )
    if isinstance(weights, list) and not any(weights):
        raise InputError("train.class_weights are all 0, so that no pixel would count; give one class a weight above 0")
    return TrainJob(preset, dataset, split, parts["train"], parts["val"], needs, out, run, options)


def _check_parts(preset: Preset, entry: ModelEntry) -> None:
    """Refuse the name of a part that the model does not have."""
    for number, stage in enumerate(preset.train.stages):
        for name in [*(stage.train or []), *(part for turn in stage.turns or [] for part in turn.train)]:
            if name not in entry.parts:
                raise InputError(
                    f"train.stages.{number} trains the part '{name}', but the parts of model '{entry.name}' are "
                    f"{', '.join(entry.parts)}{nearest(name, entry.parts)}"
                )


def _check_kinds(dataset: Dataset, parts: dict[str, list[Sample]], preset: Preset) -> None:
    """Refuse data without defective or without good parts where the sampler or `select` needs both.

    Says nothing where the record cannot tell which a part is.
    """
    states = {name: [recorded_state(dataset, sample) for sample in samples] for name, samples in parts.items()}
    if None not in states["train"]:
        for stage in preset.train.stages:
            if stage.sampler in ("pairs", "alternate"):
                two_kinds(stage.sampler, preset.train.batch_size, [s for s in states["train"] if s is not None])
    defective, good = states["val"].count(1), states["val"].count(0)
    if (
        preset.train.select.removeprefix("val/") in IMAGE_RANKING
        and None not in states["val"]
        and not (defective and good)
    ):
        raise InputError(
            f"train.select '{preset.train.select}' compares defective with good parts, and the validation part of "
            f"'{dataset.root}' has {defective} defective and {good} good ones; choose another metric "
            "(--set train.select=val/…) or another split"
        )


def _check_truth(dataset: Dataset, split: Split, samples: list[Sample], preset: Preset, needs: frozenset[str]) -> None:
    """Refuse data that lack the truth which the losses learn from altogether."""
    known = [dataset.known(sample) for sample in samples]
    masks = any(k.mask for k in known)
    there = {"masks": masks, "boxes": masks or any(k.boxes for k in known)}
    for need in sorted(needs & there.keys()):
        if not there[need]:
            raise InputError(
                f"no image in the training part of split '{split.name}' of '{dataset.root}' has {need}, and preset "
                f"'{preset.name}' learns from {need}; choose another (see `defectctl train --list`) or add labels"
            )


def _resumed(options: TrainOptions, out: Path) -> tuple[Path | None, dict[str, Any]]:
    """The run to resume and what its `run.json` says of the training."""
    if options.resume is None:
        return None, {}
    if options.preset is not None:
        raise InputError("give --preset for a new run or --resume to go on with one, not both")
    run = find_run(options.resume, out)
    if not (run / STATE_FILE).is_file() or not (run / PRESET_FILE).is_file():
        raise InputError(f"run '{run}' was stopped before its first save and cannot be resumed; start it anew")
    stored = read_run(run)
    if stored["status"] == "finished" and not options.overrides:
        raise InputError(
            f"run '{run}' is finished; to train longer raise its budget, e.g. --set train.stages.0.epochs=N"
        )
    return run, stored


def _preset(options: TrainOptions, run: Path | None) -> Preset:
    overrides = list(options.overrides)
    if options.seed is not None:
        overrides.append(f"train.seed={options.seed}")
    if run is not None:
        if options.seed is not None:
            raise InputError("--seed cannot change when a run is resumed; start a new run")
        return load_preset(str(run / PRESET_FILE), overrides)
    if options.preset is None:
        raise InputError("name a preset with --preset (see `defectctl train --list`), or a run with --resume")
    return load_preset(options.preset, overrides)


def _same_data(stored: dict[str, Any], dataset: Dataset, split: Split) -> None:
    fingerprints = (stored.get("fingerprint"), stored.get("split_fingerprint"))
    if fingerprints != (dataset.fingerprint, split.fingerprint):
        raise InputError(
            f"'{dataset.root}' (split '{split.name}') is not the data this run was started with; resume with that "
            "data (--data, --split) or start a new run"
        )
