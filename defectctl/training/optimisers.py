"""Optimisers by the names that a preset uses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from defectctl.errors import InputError

if TYPE_CHECKING:
    from defectctl.config.schema import OptimiserConfig


def build_optimiser(config: OptimiserConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Build the optimiser of a stage over all the parameters that any of its turns trains.

    Weight decay falls on every parameter alike, as in the papers' code. A parameter without a gradient (outside the
    running turn) is neither moved nor decayed.
    """
    parameters = list(parameters)
    if config.name == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
        )
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.name]
    return kind(parameters, lr=config.lr, betas=tuple(config.betas), weight_decay=config.weight_decay)


def restore_optimiser(optimiser: torch.optim.Optimizer, stored: dict[str, Any]) -> None:
    """Take up the state that an earlier process stored; the settings stay those that the preset gives now.

    The learning rate is the stored one until the schedule sets it.

    Raises:
        InputError: the state is that of another kind of optimiser, or of other parameters.
    """
    settings = [{k: v for k, v in group.items() if k not in ("params", "lr")} for group in optimiser.param_groups]
    marks = {"momentum", "betas"}
    if any(marks & group.keys() != marks & settings[0].keys() for group in stored["param_groups"]):
        raise InputError("the optimiser of a stage under way cannot change its kind; name the one it began with")
    try:
        optimiser.load_state_dict(stored)
    except ValueError as error:
        raise InputError("the parts that a stage under way trains cannot change; name those it began with") from error
    for group, values in zip(optimiser.param_groups, settings, strict=True):
        group.update(values)


def set_learning_rate(optimiser: torch.optim.Optimizer, value: float) -> None:
    """Give every parameter group this learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = value
