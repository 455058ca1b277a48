"""Names and options of the losses, checked before torch is imported."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from defectctl.errors import InputError, nearest

if TYPE_CHECKING:
    from defectctl.config.schema import TrainConfig

AUXILIARY = "auxiliary."
"""Prefix of a loss on a model's auxiliary logits, e.g. `auxiliary.ce`: the mean over all of them."""

LOSS_OPTIONS: dict[str, dict[str, type]] = {
    "ce": {},
    "focal": {"alpha": float, "gamma": float},
    "dice": {"eps": float, "background": bool},
}
"""The losses of `training.losses` and what `train.loss_options` may say to each."""


def check_losses(train: TrainConfig) -> None:
    """Refuse losses and loss options that do not exist.

    Raises:
        InputError: with the key's path and the nearest name.
    """
    for number, stage in enumerate(train.stages):
        _check_names(stage.losses, f"train.stages.{number}.losses")
        for turn_number, turn in enumerate(stage.turns or []):
            _check_names(turn.losses, f"train.stages.{number}.turns.{turn_number}.losses")
    _check_names(train.loss_options, "train.loss_options", prefix="")
    for name, options in train.loss_options.items():
        for key, value in options.items():
            _check_option(name, key, value)


def _check_names(names: Iterable[str], path: str, prefix: str = AUXILIARY) -> None:
    for name in names:
        if name.removeprefix(prefix) not in LOSS_OPTIONS:
            choices = list(LOSS_OPTIONS)
            known = ", ".join(choices)
            raise InputError(f"{path}: there is no loss '{name}' (there are {known}){nearest(name, choices)}")


def _check_option(name: str, key: str, value: Any) -> None:
    path, options = f"train.loss_options.{name}.{key}", LOSS_OPTIONS[name]
    if key not in options:
        there = f"it has {', '.join(options)}" if options else "it has none"
        raise InputError(f"{path}: the loss '{name}' has no such option ({there}){nearest(key, list(options))}")
    if options[key] is bool:
        fits = isinstance(value, bool)
    else:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    if not fits:
        wanted = "true or false" if options[key] is bool else "a number of 0 or more"
        raise InputError(f"{path}: must be {wanted}, not {value!r}")
