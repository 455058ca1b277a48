"""Learning rates and loss weights as pure functions of the place in a stage; only the plateau schedule has a memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from defectctl.config.schema import ScheduleConfig

ONE_CYCLE_RISE = 0.3
"""Share of a one-cycle stage in which the learning rate rises."""
ONE_CYCLE_START = 25.0
"""The peak divided by the first learning rate of one-cycle."""
ONE_CYCLE_END = 1e4
"""The first learning rate divided by the last of one-cycle."""


LARGEST_END = 1 / 3
"""Largest share of a stage that its warm-up, and its flat end, may take: a short trial of a long preset still falls."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where in a stage an update stands.

    Attributes:
        update: updates done in this stage.
        total: updates of the whole stage.
        steps: updates an epoch.
        whole_epochs: whether the stage is measured in epochs; its schedules then change from epoch to epoch only.
    """

    update: int
    total: int
    steps: int
    whole_epochs: bool = True

    @property
    def epoch(self) -> float:
        """Epochs done: a whole number, or a fraction in a stage measured in updates."""
        return float(self.update // self.steps) if self.whole_epochs else self.update / self.steps

    @property
    def epochs(self) -> float:
        """Epochs of the whole stage."""
        return self.total / self.steps


@dataclass(slots=True)
class Plateau:
    """The memory of the plateau schedule: the factor so far, the best metric, and validations since."""

    scale: float = 1.0
    best: float = -math.inf
    waited: int = 0

    def observe(self, value: float | None, factor: float, patience: int) -> bool:
        """Take in a validation's metric (higher is better); say whether the learning rate was lowered."""
        if value is not None and value > self.best:
            self.best, self.waited = value, 0
            return False
        self.waited += 1
        if self.waited <= patience:
            return False
        self.scale, self.waited = self.scale * factor, 0
        return True

    def to_dict(self) -> dict[str, Any]:
        """As kept in `state.pt`."""
        return asdict(self)


def learning_rate(schedule: ScheduleConfig, peak: float, progress: Progress, plateau: Plateau) -> float:
    """Learning rate of the next update.

    Warm-up rises quadratically from `warmup_start * peak` over the first `warmup_epochs`, whatever follows
    (one-cycle has a rise of its own and takes no further one).
    """
    if schedule.name == "one-cycle":
        return _one_cycle(peak, progress)
    epoch, warm = progress.epoch, min(float(schedule.warmup_epochs), progress.epochs * LARGEST_END)
    if warm > 0 and epoch < warm:
        start = schedule.warmup_start * peak
        return start + (peak - start) * (epoch / warm) ** 2
    if schedule.name == "cosine":
        return _cosine(peak, schedule.floor * peak, epoch, progress.epochs, warm, float(schedule.flat_epochs))
    if schedule.name == "step":
        return peak * schedule.factor ** sum(epoch >= m for m in schedule.milestones)
    if schedule.name == "plateau":
        return max(peak * plateau.scale, min(schedule.min_lr, peak))
    return peak


def _cosine(peak: float, floor: float, epoch: float, epochs: float, warm: float, flat: float) -> float:
    """Half a cosine from `peak` after the warm-up to `floor`, which the last `flat` epochs keep."""
    flat = min(flat, epochs * LARGEST_END)
    if flat > 0 and epoch >= epochs - flat:
        return floor
    return floor + 0.5 * (peak - floor) * (1 + math.cos(math.pi * (epoch - warm) / (epochs - warm - flat)))


def _one_cycle(peak: float, progress: Progress) -> float:
    """One cycle per update: half cosines from peak/25 up over 30 % and down to peak/25e4 (Smith & Topin, 2018)."""
    last = max(progress.total - 1, 1)
    rise = max(ONE_CYCLE_RISE * progress.total - 1, 1e-9)
    first = peak / ONE_CYCLE_START
    if progress.update <= rise:
        return _half_cosine(first, peak, progress.update / rise)
    return _half_cosine(peak, first / ONE_CYCLE_END, (progress.update - rise) / max(last - rise, 1e-9))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * min(share, 1.0)))


def weight_at(weight: Any, progress: Progress) -> float:
    """Value of a loss weight that may be scheduled.

    `{cosine: {high, low, every}}` is `low + (high - low) (cos(2 pi i / every) + 1) / 2` with i the epoch of the
    stage; with `updates` in the place of `every`, i is the update, rounded down to a multiple of `hold`. `{linear:
    [a, b]}` goes from a to b over the stage, reached after its last epoch. Accepts plain mappings and the preset
    schema's objects.
    """
    if isinstance(weight, int | float):
        return float(weight)
    plain: Mapping[str, Any] = weight if isinstance(weight, Mapping) else weight.model_dump(exclude_none=True)
    if "cosine" in plain:
        wave = plain["cosine"]
        if wave.get("updates"):
            hold = wave.get("hold") or 1
            turns = progress.update // hold * hold / wave["updates"]
        else:
            turns = progress.epoch / wave["every"]
        swing = (math.cos(2 * math.pi * turns) + 1) / 2
        return wave["low"] + (wave["high"] - wave["low"]) * swing
    start, end = plain["linear"]
    return start + (end - start) * min(progress.epoch / progress.epochs, 1.0)
