"""The one training loop: stages, epochs, updates, validations, and everything that must outlive an interruption."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from defectctl.checkpoints.runs import MODEL_FILE
from defectctl.config.schema import Preset, StageConfig
from defectctl.errors import InputError, Interrupted
from defectctl.loading.batch import Batch
from defectctl.training.ema import Ema
from defectctl.training.interrupt import Stop, StopSignal
from defectctl.training.live import Live, duration
from defectctl.training.losses import Criterion
from defectctl.training.optimisers import build_optimiser, restore_optimiser, set_learning_rate
from defectctl.training.records import CURVE_SECONDS, Log, write_curves, write_history
from defectctl.training.schedules import Plateau, learning_rate, weight_at
from defectctl.training.stages import (
    mix,
    progress_at,
    set_trained_parts,
    stage_epochs,
    stage_updates,
    task_at,
    trainable_parameters,
)
from defectctl.training.state import Memory, Sums, load_state, save_state, writing
from defectctl.training.step import Stepper, StepResult
from defectctl.training.validation import Validation

SILENT_VALIDATIONS = 3
"""Validations in a row without a single pixel of a class after which the user is warned."""


class Batches(Protocol):
    """What the loop needs of `loading.TrainBatches`."""

    steps: int

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on, a pure function of epoch and step."""


Validate = Callable[[nn.Module, str, Callable[[int], None]], Validation]
"""`(model, precision, progress) -> Validation`."""
SaveModel = Callable[[dict[str, Tensor], dict[str, Any]], None]
"""`(state_dict, {epoch, metric, value, seed, updates})`: writes the best checkpoint, atomically."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a training works with, made by `launch` (or by a test).

    Attributes:
        batches: per sampler that the stages name.
        run: the run folder.
        classes: number of defect classes.
        images: validation images.
    """

    batches: Mapping[str, Batches]
    validate: Validate
    save_model: SaveModel
    run: Path
    device: torch.device
    precision: str
    classes: int
    images: int = 0
    quiet: bool = False


class Trainer:
    """Trains a model by its preset's stages.

    Args:
        model: on its device; its weights are the start.
        preset: resolved.
        around: everything else.
        stop: asks for the end of the training.
    """

    def __init__(self, model: nn.Module, preset: Preset, around: Surroundings, stop: StopSignal | None = None) -> None:
        self.model, self.preset, self.around, self.train = model, preset, around, preset.train
        self.stop = stop or StopSignal()
        self.memory = Memory()
        self.plateau = Plateau()
        self.ema = Ema(model, self.train.ema) if self.train.ema is not None else None
        self.log = Log(around.run / "log.txt")
        criterion = Criterion(self.train.loss_options, self.train.class_weights, around.classes)
        self.stepper = Stepper(
            model,
            criterion,
            around.device,
            around.precision,
            self.train.micro_batch,
            self.train.clip_norm,
            mix(self.train.seed, 1),
            self._warn,
        )
        self.optimiser: torch.optim.Optimizer | None = None
        self._live = Live(1, 0, True)
        self._saved = self._drawn = time.monotonic()

    def resume(self) -> None:
        """Take up the state of the run folder.

        Raises:
            InputError: there is no usable state, or the preset now asks for what does not fit it.
        """
        state = load_state(self.around.run)
        self.model.load_state_dict(state["model"])
        self.memory = Memory.from_dict(state["memory"])
        self.plateau = Plateau(**state["plateau"])
        self.stepper.load(state["stepper"])
        if self.ema is not None and state["ema"] is not None:
            self.ema.load(state["ema"])
        elif self.ema is not None:  # asked for only now: the average starts from these weights, not from random ones
            self.ema = Ema(self.model, self.ema.decay)
        position, patience = self.memory.position, self.train.patience
        if position.stage >= len(self.train.stages):
            raise InputError(f"'{self.around.run}' is past the last stage that its preset names now; give all stages")
        position.ended = position.ended and patience is not None and position.waited >= patience
        if state["optimiser"] is not None:
            stage = self.train.stages[position.stage]
            self.optimiser = build_optimiser(stage.optimiser, trainable_parameters(self.model, stage))
            restore_optimiser(self.optimiser, state["optimiser"])

    def run(self) -> Memory:
        """Train from where the state stands to the end; return what the training remembers.

        Raises:
            Interrupted: stopped by the user; the state is saved.
            RunError: memory, disk, or numbers gave out.
        """
        position = self.memory.position
        self._live = Live(self._total_updates(), position.number, self.around.quiet)
        try:
            if position.number == 0 and position.update == 0:
                self._save()  # from here on the run can be resumed, whatever happens
            while position.stage < len(self.train.stages):
                self._run_stage(self.train.stages[position.stage])
                if position.stage == len(self.train.stages) - 1:
                    break
                self._next_stage()
            self._finish()
        except Stop:
            self._save()
            raise Interrupted(
                f"stopped after {position.number} updates, everything is kept; go on with: "
                f'defectctl train --resume "{self.around.run}"'
            ) from None
        finally:
            self._live.close()
        return self.memory

    def _total_updates(self) -> int:
        position = self.memory.position
        ahead = self.train.stages[position.stage :]
        return position.number - position.update + sum(stage_updates(s, self._steps(s)) for s in ahead)

    def _steps(self, stage: StageConfig) -> int:
        return self.around.batches[stage.sampler].steps

    def _run_stage(self, stage: StageConfig) -> None:
        position, steps = self.memory.position, self._steps(stage)
        total = stage_updates(stage, steps)
        if position.update == 0 and position.stage > 0 and stage.start_from == "best":
            self._load_best()
        if self.optimiser is None:
            self.optimiser = build_optimiser(stage.optimiser, trainable_parameters(self.model, stage))
        if position.epoch_end_due:
            self._end_epoch(stage, total)
        while position.update < total and not position.ended:
            self._run_epoch(stage, total, steps)
            self._end_epoch(stage, total)

    def _run_epoch(self, stage: StageConfig, total: int, steps: int) -> None:
        """Make the updates that are left of the epoch under way."""
        position, optimiser = self.memory.position, self.optimiser
        assert optimiser is not None
        number, start = divmod(position.update, steps)
        epoch = position.epochs_before + number
        task: Any = object()
        batches = self.around.batches[stage.sampler].epoch(epoch, start)
        with closing(batches):  # type: ignore[type-var]
            tick = time.monotonic()
            for batch in batches:
                progress = progress_at(stage, position.update, steps)
                parts, losses = task_at(stage, position.update, steps)
                if parts != task:
                    set_trained_parts(self.model, parts)
                    task = parts
                set_learning_rate(optimiser, learning_rate(stage.schedule, stage.optimiser.lr, progress, self.plateau))
                weights = {name: weight_at(weight, progress) for name, weight in losses.items()}
                result = self.stepper.update(batch, weights, optimiser, position.number)
                if self.ema is not None and not result.skipped:
                    self.ema.update(self.model)
                now = time.monotonic()
                self._count(result, len(batch), now - tick)
                tick = now
                position.epoch_end_due = position.update == total or position.update % steps == 0
                self._show(epoch)
                self.stop.check()
                if position.epoch_end_due:
                    break
                self._save_if_time()

    def _count(self, result: StepResult, images: int, seconds: float) -> None:
        position, sums = self.memory.position, self.memory.sums
        position.update += 1
        position.number += 1
        sums.images += images
        sums.seconds += seconds
        if result.skipped:
            sums.skipped += 1
            return
        sums.updates += 1
        sums.loss += result.loss
        for name, value in result.terms.items():
            entry = sums.terms.setdefault(name, [0.0, 0.0])
            entry[0] += value
            entry[1] += 1

    def _end_epoch(self, stage: StageConfig, total: int) -> None:
        """Validate where it is due, write the records, choose the best checkpoint, save the state."""
        position, sums, steps = self.memory.position, self.memory.sums, self._steps(stage)
        done = -(-position.update // steps)
        epoch = position.epochs_before + done
        row: dict[str, Any] = {"epoch": epoch, "stage": stage.name, "updates": position.number}
        row["lr"] = self.optimiser.param_groups[0]["lr"] if self.optimiser else None
        row["loss"] = sums.loss / sums.updates if sums.updates else None
        row |= {f"loss/{name}": value for name, value in sums.mean_terms().items()}
        row["skipped"] = sums.skipped
        due = done % self.train.validate_every == 0 or position.update >= total
        better = False
        if due:
            validation = self._validate()
            row |= validation.metrics
            better = self._judge(stage, validation, epoch)
        row["images_per_s"] = round(sums.images / sums.seconds, 2) if sums.seconds else None
        row["seconds"] = round(sums.seconds, 2)
        self.memory.history.append(row)
        self.memory.sums = Sums()
        position.epoch_end_due = False
        position.waited = 0 if better else position.waited + 1
        patience = self.train.patience
        if due and patience is not None and position.waited >= patience and position.update < total:
            position.ended = True
            self._live.jump(total - position.update)
            self._say(f"no improvement for {position.waited} epochs: stage '{stage.name}' ends")
        self._say(self._line(row, better))
        self._records()
        self._save()
        self.stop.check()

    def _validate(self) -> Validation:
        seen = 0

        def progress(images: int) -> None:
            nonlocal seen
            seen += images
            self._live.validating(seen, self.around.images)
            self.stop.check()

        averaged = self.ema.applied(self.model) if self.ema is not None else nullcontext()
        with averaged:
            try:
                return self.around.validate(self.model, self.stepper.precision, progress)
            finally:
                self.model.train()

    def _judge(self, stage: StageConfig, validation: Validation, epoch: int) -> bool:
        """Keep the checkpoint if it is the best so far; let the plateau schedule and the warnings take note."""
        position = self.memory.position
        value = validation.metrics.get(self.train.select)
        better = value is not None and (position.best is None or value > position.best)
        if better:
            position.best, position.best_epoch = value, epoch
            self._save_best(epoch, value)
        if stage.schedule.name == "plateau" and self.plateau.observe(
            value, stage.schedule.factor, stage.schedule.patience
        ):
            self._say(f"{self.train.select} stands still: learning rate times {stage.schedule.factor:g}")
        self.memory.silent = {name: self.memory.silent.get(name, 0) + 1 for name in validation.silent}
        newly = [name for name, count in self.memory.silent.items() if count == SILENT_VALIDATIONS]
        if newly:
            self._warn(f"never predicted in the last {SILENT_VALIDATIONS} validations: {', '.join(newly)}")
        return better

    def _save_best(self, epoch: int, value: float | None) -> None:
        weights = self.ema.shadow if self.ema is not None else self.model.state_dict()
        about = {
            "epoch": epoch,
            "metric": self.train.select,
            "value": value,
            "seed": self.train.seed,
            "updates": self.memory.position.number,
            "precision": self.stepper.precision,
        }
        with writing(self.around.run):
            self.around.save_model(weights, about)

    def _load_best(self) -> None:
        """Go on from the best checkpoint, where there is one; the weights' average starts anew from it."""
        path = self.around.run / MODEL_FILE
        if self.memory.position.best is None or not path.is_file():
            return
        from safetensors.torch import load_file

        self.model.load_state_dict(load_file(str(path)))
        if self.ema is not None:
            self.ema = Ema(self.model, self.ema.decay)

    def _next_stage(self) -> None:
        position = self.memory.position
        stage = self.train.stages[position.stage]
        steps = self._steps(stage)
        position.epochs_before += min(-(-position.update // steps), stage_epochs(stage, steps))
        position.stage, position.update, position.ended, position.waited = position.stage + 1, 0, False, 0
        self.plateau, self.optimiser = Plateau(), None
        self._save()

    def _finish(self) -> None:
        position = self.memory.position
        if position.best is None:
            self._warn(
                f"no validation could tell {self.train.select} (is there a defect in the validation part?): "
                "the last weights are kept as the model"
            )
            self._save_best(self.memory.history[-1]["epoch"] if self.memory.history else 0, None)
        silent = [name for name, count in self.memory.silent.items() if count]
        if silent:
            self._warn(
                f"in the validation part but never predicted in the end: {', '.join(silent)}; train longer, "
                "or try the sampler 'balanced' or train.class_weights"
            )
        with writing(self.around.run):
            write_curves(self.around.run / "curves.png", self.memory.history, self.train.select)

    def _records(self) -> None:
        run, now = self.around.run, time.monotonic()
        with writing(run):
            write_history(run / "history.csv", self.memory.history)
            if len(self.memory.history) == 1 or now - self._drawn > CURVE_SECONDS:
                write_curves(run / "curves.png", self.memory.history, self.train.select)
                self._drawn = now

    def _save_if_time(self) -> None:
        if time.monotonic() - self._saved >= self.train.save_minutes * 60:
            self._save()

    def _save(self) -> None:
        save_state(
            self.around.run,
            {
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict() if self.optimiser is not None else None,
                "ema": self.ema.state() if self.ema is not None else None,
                "plateau": self.plateau.to_dict(),
                "stepper": self.stepper.state(),
                "memory": self.memory.to_dict(),
            },
        )
        self._saved = time.monotonic()

    def _show(self, epoch: int) -> None:
        sums, position = self.memory.sums, self.memory.position
        loss = sums.loss / sums.updates if sums.updates else float("nan")
        metric = f"best {self.train.select} {position.best:.4f}, " if position.best is not None else ""
        self._live.update(f"epoch {epoch + 1}", loss, sums.images / max(sums.seconds, 1e-9), metric)

    def _line(self, row: dict[str, Any], better: bool) -> str:
        """The line of an epoch: loss, selecting metric, defect IoU, images/s, time left."""
        names = list(dict.fromkeys([self.train.select, "val/defect_iou", "val/miou"]))
        shown = [f"loss {row['loss']:.4f}" if row["loss"] is not None else "loss unknown"]
        shown += [f"{name} {row[name]:.4f}" for name in names if row.get(name) is not None]
        shown += [f"{row['images_per_s'] or 0:.1f} images/s", f"{duration(self._live.left())} left"]
        if row["skipped"]:
            shown.append(f"{row['skipped']} updates skipped")
        return f"epoch {row['epoch']} ({row['stage']}): " + ", ".join(shown) + (" *" if better else "")

    def _say(self, text: str) -> None:
        if not self.around.quiet:
            self._live.say(text)
        with writing(self.around.run):
            self.log.line(text)

    def _warn(self, text: str) -> None:
        self._live.warn(text)
        with writing(self.around.run):
            self.log.line(f"warning: {text}")
