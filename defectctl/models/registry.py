"""The table of networks: what there is, what each may be told, how one is built; listing it imports nothing heavy."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defectctl.errors import InputError, nearest

if TYPE_CHECKING:
    from torch import nn

    from defectctl.config.schema import ModelConfig

WEIGHT_WORDS = ("none", "imagenet")
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt")


@dataclass(frozen=True)
class Number:
    """An option that takes a number in `[low, high]`."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class ModelEntry:
    """One network of the registry.

    Attributes:
        name: what a preset calls it.
        target: `module:Class`, imported only when the network is built. The class is called with
            `(classes, channels, **options)`, returns `Output` from `forward(images)` and names its `parts`;
            `initialise()` (a start without weights) and `pretrained_encoder()` (ImageNet weights) are optional.
        tasks: what it delivers, e.g. `segmentation`.
        paper: where the network was published.
        preset: the packaged preset that trains it.
        options: per option its allowed values, or the range of a number.
        default_options: the value of each option that a preset leaves out.
    """

    name: str
    target: str
    tasks: tuple[str, ...]
    paper: str
    preset: str
    options: dict[str, tuple[Any, ...] | Number] = field(default_factory=dict)
    default_options: dict[str, Any] = field(default_factory=dict)


_STARNETS = tuple(f"starnet_{size}" for size in ("s1", "s2", "s3", "s4", "s050", "s100", "s150"))
_SMP_ENCODERS = (
    "mobilenet_v2",
    *(f"resnet{depth}" for depth in (18, 34, 50, 101)),
    *(f"efficientnet-b{size}" for size in range(5)),
    "tu-xception41",
    "tu-xception65",
)

REGISTRY: dict[str, ModelEntry] = {
    entry.name: entry
    for entry in (
        ModelEntry(
            name="sme-deeplab",
            target="defectctl.models.sme_deeplab:SmeDeepLab",
            tasks=("segmentation",),
            paper="SME-DeepLabV3+, PLoS ONE 20(8) e0329628, 2025",
            preset="sme-deeplab",
            options={
                "backbone": _STARNETS,
                "context": ("msaa", "aspp", "aspp+msaa"),
                "shallow_attention": ("ela", "none"),
                "ela": ("dual", "b", "t"),
                "drop_path": Number(0, 0.9),
            },
            default_options={
                "backbone": "starnet_s4",
                "context": "msaa",
                "shallow_attention": "ela",
                "ela": "dual",
                "drop_path": 0.0,
            },
        ),
        ModelEntry(
            name="deeplabv3plus",
            target="defectctl.models.deeplabv3plus:DeepLabV3Plus",
            tasks=("segmentation",),
            paper="DeepLabV3+, ECCV 2018, arXiv 1802.02611",
            preset="quick",
            options={"encoder": _SMP_ENCODERS, "output_stride": (16, 8)},
            default_options={"encoder": "mobilenet_v2", "output_stride": 16},
        ),
    )
}


def find_entry(name: str) -> ModelEntry:
    """Return the registry's entry of that name.

    Raises:
        InputError: there is none; names the nearest and all.
    """
    if name not in REGISTRY:
        names = list(REGISTRY)
        raise InputError(f"no model is called '{name}'{nearest(name, names)} (models: {', '.join(names)})")
    return REGISTRY[name]


def check_model(config: ModelConfig) -> None:
    """Check name, options and weights of a preset's model without importing torch.

    Raises:
        InputError: all that is wrong, joined, with the key and the nearest valid name.
    """
    entry = find_entry(config.name)
    problems = [problem for key, value in config.options.items() if (problem := _option_problem(entry, key, value))]
    if problem := _weights_problem(config.weights):
        problems.append(problem)
    if problems:
        raise InputError("; ".join(problems))


def _option_problem(entry: ModelEntry, key: str, value: Any) -> str | None:
    if key not in entry.options:
        names = list(entry.options)
        return f"model.{key}: '{entry.name}' has no such option{nearest(key, names)} (options: {', '.join(names)})"
    allowed = entry.options[key]
    if isinstance(allowed, Number):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and allowed.low <= value <= allowed.high:
            return None
        return f"model.{key}: {value!r} is not {allowed}"
    if any(value == choice and type(value) is type(choice) for choice in allowed):
        return None
    words = [str(choice) for choice in allowed]
    return f"model.{key}: {value!r} is not a choice{nearest(str(value), words)} (choices: {', '.join(words)})"


def _weights_problem(weights: str) -> str | None:
    if weights in WEIGHT_WORDS:
        return None
    path = Path(weights)
    if path.suffix.lower() not in WEIGHT_SUFFIXES:
        hint = nearest(weights, list(WEIGHT_WORDS))
        return (
            f"model.weights: '{weights}' is neither 'none' nor 'imagenet' nor a file that ends in "
            f"{', '.join(WEIGHT_SUFFIXES)}{hint}"
        )
    return None if path.is_file() else f"model.weights: file '{weights}' does not exist"


def build_model(config: ModelConfig, classes: int, channels: int = 3) -> nn.Module:
    """Build a network and load the weights that `config.weights` names.

    Args:
        config: the model part of a preset.
        classes: defect classes, background not counted.
        channels: channels of the image, 3 or 1.

    Raises:
        InputError: unknown name, option or value, or weights that cannot be had.
    """
    check_model(config)
    entry = REGISTRY[config.name]
    module, name = entry.target.split(":")
    network_class = getattr(importlib.import_module(module), name)
    network = network_class(classes, channels, **{**entry.default_options, **config.options})
    from defectctl.models.weights import load_weights

    load_weights(network, config.weights)
    return network
