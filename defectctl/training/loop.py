"""The one training loop: stages, epochs, updates, validations, and everything that must outlive an interruption."""

from __future__ import annotations

import time
from contextlib import closing, nullcontext
from typing import Any

import torch
from torch import nn

from defectctl.checkpoints.runs import MODEL_FILE
from defectctl.config.schema import Preset, StageConfig
from defectctl.errors import InputError, Interrupted
from defectctl.training.dynamic_threshold import DynamicThreshold
from defectctl.training.ema import Ema
from defectctl.training.interrupt import Stop, StopSignal
from defectctl.training.losses import Criterion
from defectctl.training.optimisers import build_optimiser, restore_optimiser, set_learning_rate
from defectctl.training.reporter import Reporter
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
from defectctl.training.surroundings import Surroundings
from defectctl.training.validation import Validation

SILENT_VALIDATIONS = 3
"""Validations in a row without a single pixel of a class after which the user is warned."""


class Trainer:
    """Trains a model by its preset's stages.

    Args:
        model: on its device; its weights are the start.
        preset: resolved, nothing in it is `auto`.
        around: everything else.
        stop: asks for the end of the training.
    """

    def __init__(self, model: nn.Module, preset: Preset, around: Surroundings, stop: StopSignal | None = None) -> None:
        self.model, self.preset, self.around, self.train = model, preset, around, preset.train
        self.stop = stop or StopSignal()
        self.memory = Memory()
        self.plateau = Plateau()
        self.ema = Ema(model, self.train.ema) if self.train.ema is not None else None
        self.report = Reporter(around.run, self.train.select, around.quiet)
        dynamic = self.train.dynamic_threshold
        self.threshold = DynamicThreshold(dynamic.reference) if dynamic is not None else None
        criterion = Criterion(
            self.train.loss_options,
            self.train.class_weights,
            around.classes,
            own=getattr(model, "losses", None),
            own_names=around.own_losses,
            threshold=self.threshold,
        )
        self.stepper = Stepper(
            model,
            criterion,
            around.device,
            around.precision,
            self.train.micro_batch,
            self.train.clip_norm,
            mix(self.train.seed, 1),
            self.report.warn,
        )
        self.optimiser: torch.optim.Optimizer | None = None
        self._saved = time.monotonic()

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
        if self.threshold is not None and state.get("threshold") is not None:
            self.threshold.load(state["threshold"])
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
        self.report.begin(self._total_updates(), position.number)
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
            self.report.close()
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
                if self.threshold is not None:
                    self.threshold.observe(batch.masks)
                weights = {name: weight_at(weight, progress) for name, weight in losses.items()}
                result = self.stepper.update(batch, weights, optimiser, position.number)
                if self.ema is not None and not result.skipped:
                    self.ema.update(self.model)
                now = time.monotonic()
                self._count(result, len(batch), now - tick)
                tick = now
                position.epoch_end_due = position.update == total or position.update % steps == 0
                self.report.step(epoch, self.memory)
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
        row |= self.threshold.numbers() if self.threshold is not None else {}
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
        position.waited = 0 if better or not stage.keep_best else position.waited + 1
        patience = self.train.patience
        if due and patience is not None and position.waited >= patience and position.update < total:
            position.ended = True
            self.report.live.jump(total - position.update)
            self.report.say(f"no improvement for {position.waited} epochs: stage '{stage.name}' ends")
        self.report.epoch(row, better, self.memory.history)
        self._save()
        self.stop.check()

    def _validate(self) -> Validation:
        seen = 0

        def progress(images: int) -> None:
            nonlocal seen
            seen += images
            self.report.live.validating(seen, self.around.images)
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
        better = stage.keep_best and value is not None and (position.best is None or value > position.best)
        if better:
            position.best, position.best_epoch = value, epoch
            self._save_best(epoch, value)
        if stage.schedule.name == "plateau" and self.plateau.observe(
            value, stage.schedule.factor, stage.schedule.patience
        ):
            self.report.say(f"{self.train.select} stands still: learning rate times {stage.schedule.factor:g}")
        self.memory.silent = {name: self.memory.silent.get(name, 0) + 1 for name in validation.silent}
        newly = [name for name, count in self.memory.silent.items() if count == SILENT_VALIDATIONS]
        if newly:
            self.report.warn(f"never predicted in the last {SILENT_VALIDATIONS} validations: {', '.join(newly)}")
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
            self.report.warn(
                f"no validation could tell {self.train.select} (is there a defect in the validation part?): "
                "the last weights are kept as the model"
            )
            self._save_best(self.memory.history[-1]["epoch"] if self.memory.history else 0, None)
        silent = [name for name, count in self.memory.silent.items() if count]
        if silent:
            self.report.warn(
                f"in the validation part but never predicted in the end: {', '.join(silent)}; train longer, "
                "or try the sampler 'balanced' or train.class_weights"
            )
        self.report.curves(self.memory.history)

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
                "threshold": self.threshold.state() if self.threshold is not None else None,
                "memory": self.memory.to_dict(),
            },
        )
        self._saved = time.monotonic()
