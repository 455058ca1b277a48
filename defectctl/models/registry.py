"""Finds a network of the catalogue, checks what a preset tells it, and builds it with its weights."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defectctl.errors import InputError, nearest
from defectctl.models.catalogue import REGISTRY, ModelEntry
from defectctl.models.options import option_problem

if TYPE_CHECKING:
    from torch import nn

    from defectctl.config.schema import ModelConfig

WEIGHT_WORDS = ("none", "imagenet")
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt")


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


def complete_options(config: ModelConfig) -> ModelConfig:
    """The same model with every option written out that it leaves to its default."""
    return type(config).model_validate({**find_entry(config.name).default_options, **config.model_dump()})


def _option_problem(entry: ModelEntry, key: str, value: Any) -> str | None:
    if key not in entry.options:
        names = list(entry.options)
        there = f"options: {', '.join(names)}" if names else "it has none"
        return f"model.{key}: '{entry.name}' has no such option{nearest(key, names)} ({there})"
    problem = option_problem(entry.options[key], value)
    return f"model.{key}: {problem}" if problem else None


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
    network = network_class(classes, channels, **{**entry.default_options, **entry.fixed_options, **config.options})
    from defectctl.models.blocks.dilated_depthwise import guard_dilated_depthwise
    from defectctl.models.weights import load_weights

    load_weights(network, config.weights)
    return guard_dilated_depthwise(network)
