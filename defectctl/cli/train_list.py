"""`defectctl train --list`: the models and presets there are, and what can be changed in one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from defectctl.cli.tables import print_json, print_table

if TYPE_CHECKING:
    from defectctl.config.schema import Preset
    from defectctl.models.catalogue import ModelEntry

DELIVERS = {"segmentation": "masks", "detection": "boxes", "decision": "verdict"}
"""What a network's task gives the user."""


def list_all(as_json: bool) -> None:
    """Print every model and every shipped preset; the options only in JSON, where width is no matter."""
    from defectctl.config.presets import load_preset, preset_names
    from defectctl.models.catalogue import REGISTRY

    presets = [load_preset(name) for name in preset_names()]
    if as_json:
        found = [_preset_values(preset) for preset in presets]
        print_json({"models": [_model_values(entry) for entry in REGISTRY.values()], "presets": found})
        return
    models = [(entry.name, _delivered(entry), entry.paper) for entry in REGISTRY.values()]
    print_table(("model", "delivers", "paper"), models, title="models")
    print_table(("preset", "model", "description"), [(p.name, p.model.name, p.description) for p in presets], "presets")
    print("the options of one: defectctl train --list --preset NAME")


def list_preset(name: str, as_json: bool) -> None:
    """Print one preset: its model's options with what they take, for `--set`.

    Raises:
        InputError: there is no such preset or model.
    """
    from defectctl.config.presets import load_preset
    from defectctl.models.registry import check_model, find_entry

    preset = load_preset(name)
    check_model(preset.model)
    entry = find_entry(preset.model.name)
    if as_json:
        print_json({"model": _model_values(entry), "preset": _preset_values(preset)})
        return
    facts = [
        ("what", preset.description),
        ("model", f"{entry.name}: {entry.paper}"),
        ("delivers", _delivered(entry)),
        ("input.size", f"{preset.input.size[0]}x{preset.input.size[1]} (height x width), {preset.input.mode}"),
        ("stages", "; ".join(_stage(stage) for stage in preset.train.stages)),
    ]
    print_table(("preset", preset.name), facts)
    values = {**entry.default_options, **preset.model.options}
    rows = [(f"model.{key}", _word(values.get(key)), _takes(option)) for key, option in entry.options.items()]
    if rows:
        print_table(("--set", "value", "takes"), rows, title="options of the model")
    print("all else that a preset may say: docs/presets.md")


def _delivered(entry: ModelEntry) -> str:
    return ", ".join(DELIVERS[task] for task in entry.tasks)


def _takes(option: Any) -> str:
    return ", ".join(map(_word, option)) if isinstance(option, tuple) else str(option)


def _word(value: Any) -> str:
    """A value as `--set` takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _stage(stage: Any) -> str:
    length = f"{stage.epochs} epochs" if stage.epochs is not None else f"{stage.updates} updates"
    losses = stage.losses or {name: None for turn in stage.turns or () for name in turn.losses}
    return f"{stage.name} ({length}: {', '.join(losses)})"


def _model_values(entry: ModelEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "tasks": list(entry.tasks),
        "paper": entry.paper,
        "preset": entry.preset,
        "options": {key: list(o) if isinstance(o, tuple) else str(o) for key, o in entry.options.items()},
    }


def _preset_values(preset: Preset) -> dict[str, Any]:
    return {
        "name": preset.name,
        "model": preset.model.name,
        "input": list(preset.input.size),
        "description": preset.description,
    }
