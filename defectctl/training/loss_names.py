"""Names and options of the losses and the truth each needs, checked before torch is imported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from defectctl.errors import InputError, nearest

if TYPE_CHECKING:
    from defectctl.config.schema import TrainConfig

AUXILIARY = "auxiliary."
"""Prefix of a pixel loss on a model's auxiliary logits, e.g. `auxiliary.ce`: the mean over all of them."""

LOSS_OPTIONS: dict[str, dict[str, type]] = {
    "ce": {},
    "focal": {"alpha": float, "gamma": float},
    "bce": {},
    "dice": {"eps": float, "background": bool},
    "tversky": {"alpha": float, "beta": float, "gamma": float, "eps": float, "background": bool},
    "lovasz": {},
    "image_bce": {"pos_weight": float},
    "weak_good": {},
    "weak_defective": {},
}
"""The losses of `pixel_losses` and `image_losses` and what `train.loss_options` may say to each."""

LOSS_NEEDS: dict[str, str] = {
    name: "labels" if name.startswith(("image_", "weak_")) else "masks" for name in LOSS_OPTIONS
}
"""The truth a loss learns from: `masks` (so it is a pixel loss) or `labels`. A model's own losses need boxes."""

PIXEL_WEIGHTED = ("ce", "focal", "bce")
"""Losses that weigh single pixels, and so the ones that the dynamic threshold acts on."""

ABOVE_ZERO = frozenset({"eps", "pos_weight"})
"""Options that may not be 0; `gamma` of the Tversky loss, a root, neither."""


LARGEST = 1e6
"""Largest value of a loss's option; beyond it is a slip of the keyboard."""


def check_losses(train: TrainConfig, model_losses: Sequence[str] = ()) -> None:
    """Refuse losses and loss options that do not exist.

    Args:
        train: the preset's part.
        model_losses: names of the losses that the model computes itself.

    Raises:
        InputError: with the key's path and the nearest name.
    """
    for path, losses in _blocks(train):
        for name in losses:
            _check_name(name, path, model_losses)
    for name, options in train.loss_options.items():
        if name not in LOSS_OPTIONS:
            raise _no_such_loss(name, "train.loss_options", list(LOSS_OPTIONS))
        for key, value in options.items():
            _check_option(name, key, value)
    used = {name.removeprefix(AUXILIARY) for name in _used(train)}
    if train.dynamic_threshold is not None and not used.intersection(PIXEL_WEIGHTED):
        there = ", ".join(PIXEL_WEIGHTED)
        raise InputError(f"train.dynamic_threshold weighs pixels in the losses {there}, and no stage uses one")


def needs_of(train: TrainConfig, model_losses: Sequence[str] = ()) -> frozenset[str]:
    """The truth that a training learns from, of `masks`, `labels` and `boxes`; a loss of weight 0 needs none."""
    own = dict.fromkeys(model_losses, "boxes")
    return frozenset({**LOSS_NEEDS, **own}[name.removeprefix(AUXILIARY)] for name in _used(train))


def check_outputs(train: TrainConfig, tasks: Sequence[str]) -> None:
    """Refuse losses on what a model does not deliver.

    Args:
        tasks: of the model's catalogue entry.

    Raises:
        InputError: names the loss and what the model delivers.
    """
    for path, losses in _blocks(train):
        for name in losses:
            kind = name.removeprefix(AUXILIARY)
            wanted = "decision" if kind == "image_bce" else "segmentation"
            if kind in LOSS_OPTIONS and wanted not in tasks:
                what = "a verdict" if wanted == "decision" else "masks"
                raise InputError(f"{path}: '{name}' needs a model that gives {what}; this one gives {', '.join(tasks)}")


def _blocks(train: TrainConfig) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every block of losses with its path."""
    for number, stage in enumerate(train.stages):
        yield f"train.stages.{number}.losses", stage.losses
        for turn_number, turn in enumerate(stage.turns or []):
            yield f"train.stages.{number}.turns.{turn_number}.losses", turn.losses


def _used(train: TrainConfig) -> Iterator[str]:
    return (name for _, losses in _blocks(train) for name, weight in losses.items() if weight != 0)


def _check_name(name: str, path: str, model_losses: Iterable[str]) -> None:
    if name in LOSS_OPTIONS or name in model_losses:
        return
    kind = name.removeprefix(AUXILIARY)
    if kind != name and kind in LOSS_OPTIONS and LOSS_NEEDS[kind] != "masks":
        raise InputError(f"{path}: '{kind}' judges whole images, so it has no form on auxiliary mask logits")
    if kind == name or kind not in LOSS_OPTIONS:
        raise _no_such_loss(name, path, [*LOSS_OPTIONS, *model_losses])


def _no_such_loss(name: str, path: str, choices: list[str]) -> InputError:
    known = ", ".join(choices)
    return InputError(f"{path}: there is no loss '{name}' (there are {known}){nearest(name, choices)}")


def _check_option(name: str, key: str, value: Any) -> None:
    path, options = f"train.loss_options.{name}.{key}", LOSS_OPTIONS[name]
    if key not in options:
        there = f"it has {', '.join(options)}" if options else "it has none"
        raise InputError(f"{path}: the loss '{name}' has no such option ({there}){nearest(key, list(options))}")
    above = key in ABOVE_ZERO or (name, key) == ("tversky", "gamma")
    if options[key] is bool:
        fits = isinstance(value, bool)
    else:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST
        fits = fits and (value > 0 or not above)
    if not fits:
        number = f"a number {'above 0' if above else 'from 0'} to {LARGEST:g}"
        raise InputError(f"{path}: must be {'true or false' if options[key] is bool else number}, not {value!r}")
