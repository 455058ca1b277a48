"""The plan of a training: where in which stage and turn an update stands, and which parts of the model train there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from defectctl.errors import InputError
from defectctl.training.schedules import Progress

if TYPE_CHECKING:
    from defectctl.config.schema import StageConfig, TurnConfig


def mix(*numbers: int) -> int:
    """A well-spread 63-bit seed from whole numbers; the same on every system."""
    text = ",".join(str(n) for n in numbers).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def stage_updates(stage: StageConfig, steps: int) -> int:
    """Updates of a whole stage; `steps` is those of an epoch."""
    return stage.updates if stage.updates is not None else stage.epochs * steps  # type: ignore[operator]


def stage_epochs(stage: StageConfig, steps: int) -> int:
    """Epochs that a stage begins; the last one is cut short where the budget is in updates."""
    return -(-stage_updates(stage, steps) // steps)


def progress_at(stage: StageConfig, update: int, steps: int) -> Progress:
    """Where in the stage the update stands, for the schedules."""
    return Progress(update, stage_updates(stage, steps), steps, stage.updates is None)


def turn_at(turns: Sequence[TurnConfig], update: int, steps: int) -> int:
    """Number of the turn that the update of a stage belongs to; the turns repeat until the stage ends."""
    lengths = [turn.updates if turn.updates is not None else turn.epochs * steps for turn in turns]
    left = update % sum(lengths)
    for number, length in enumerate(lengths):
        if left < length:
            return number
        left -= length
    raise AssertionError("an update lies in one of the turns")


def task_at(stage: StageConfig, update: int, steps: int) -> tuple[tuple[str, ...] | None, dict[str, Any]]:
    """The parts that train at this update (None: all) and the losses' weights, schedules not yet evaluated."""
    if stage.turns is None:
        return (tuple(stage.train) if stage.train is not None else None), stage.losses
    turn = stage.turns[turn_at(stage.turns, update, steps)]
    return tuple(turn.train), turn.losses


def parts_of(model: nn.Module, names: Iterable[str] | None) -> list[nn.Module]:
    """The model's parts with these names, or the whole model for None.

    Raises:
        InputError: the model has no such part.
    """
    if names is None:
        return [model]
    parts: dict[str, nn.Module] = getattr(model, "parts", {})
    for name in names:
        if name not in parts:
            known = ", ".join(parts) or "none"
            raise InputError(f"the preset trains the part '{name}', but this model's parts are: {known}")
    return [parts[name] for name in names]


def check_parts(model: nn.Module, stages: Sequence[StageConfig]) -> None:
    """Refuse part names that the model does not have, before anything is trained.

    Raises:
        InputError: the model has no such part.
    """
    for stage in stages:
        parts_of(model, stage.train)
        for turn in stage.turns or []:
            parts_of(model, turn.train)


def trainable_parameters(model: nn.Module, stage: StageConfig) -> list[nn.Parameter]:
    """The parameters that the stage trains in any of its turns, in the model's order."""
    names = stage.train if stage.turns is None else [name for turn in stage.turns for name in turn.train]
    chosen = {id(p) for part in parts_of(model, names) for p in part.parameters()}
    return [p for p in model.parameters() if id(p) in chosen]


def set_trained_parts(model: nn.Module, names: Sequence[str] | None) -> None:
    """Let only these parts train (None: all).

    Everything else gets no gradient at all, and its batch norms stay in evaluation mode: their statistics neither
    move nor come from the batch.
    """
    model.train()
    model.requires_grad_(names is None)
    if names is None:
        return
    inside: set[int] = set()
    for part in parts_of(model, names):
        part.requires_grad_(True)
        inside |= {id(module) for module in part.modules()}
    for module in model.modules():
        if isinstance(module, _BatchNorm) and id(module) not in inside:
            module.eval()
