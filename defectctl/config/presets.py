"""Finds presets, reads them, applies `--set` overrides, and tells everything that is wrong at once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from defectctl.config.overrides import apply_overrides
from defectctl.config.plain_yaml import parse_yaml
from defectctl.config.problems import describe
from defectctl.config.schema import Preset
from defectctl.errors import InputError, nearest

ENDINGS = (".yaml", ".yml")


def preset_folder() -> Path:
    """The folder of the shipped presets: inside the installed package, else beside it in a source checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "presets"
    return inside if inside.is_dir() else package.parent / "presets"


def preset_names() -> list[str]:
    """Names of the shipped presets, sorted."""
    return sorted(path.stem for path in preset_folder().glob("*.yaml"))


def load_preset(name_or_file: str, overrides: Iterable[str] = ()) -> Preset:
    """Read a preset, apply overrides, and check the result.

    Args:
        name_or_file: a shipped preset's name, or the path of a YAML file.
        overrides: `a.b.0.c=value` each, the value in YAML.

    Raises:
        InputError: no such preset, not YAML, or keys and values that are wrong; all of them in one message.
    """
    path = find_preset(name_or_file)
    values = _read(path)
    values.setdefault("name", path.stem)
    wrong = apply_overrides(values, overrides)
    return check_preset(values, f"preset '{name_or_file}'", wrong)


def check_preset(values: dict[str, Any], where: str, wrong: Iterable[str] = ()) -> Preset:
    """Turn plain values into a `Preset`.

    Args:
        where: what the values are, for the message.
        wrong: problems found before, told together with those found here.

    Raises:
        InputError: anything is wrong.
    """
    found = list(wrong)
    try:
        preset = Preset.model_validate(values)
    except ValidationError as error:
        found += describe(error, Preset)
    if not found:
        return preset
    if len(found) == 1:
        raise InputError(f"{where}: {found[0]}")
    raise InputError(f"{where} has {len(found)} problems:\n" + "\n".join(f"  {line}" for line in found))


def preset_to_dict(preset: Preset) -> dict[str, Any]:
    """The whole preset, defaults included, in plain values that `check_preset` takes back."""
    return preset.model_dump(mode="json", exclude_none=True)


def preset_to_yaml(preset: Preset) -> str:
    """The whole preset as YAML, as it is written into a run."""
    import yaml

    return yaml.safe_dump(preset_to_dict(preset), sort_keys=False, allow_unicode=True, width=110)


def find_preset(name_or_file: str) -> Path:
    """The file of a preset given by name or by path.

    Raises:
        InputError: neither a shipped preset nor a file.
    """
    names = preset_names()
    if name_or_file in names:
        return preset_folder() / f"{name_or_file}.yaml"
    path = Path(name_or_file)
    if path.is_file():
        return path
    if path.is_dir():
        raise InputError(f"preset '{name_or_file}' is a folder; give a preset's name or a YAML file")
    if path.suffix.lower() in ENDINGS or len(path.parts) > 1:
        raise InputError(f"preset file '{name_or_file}' does not exist{nearest(path.stem, names)}")
    raise InputError(f"no preset is named '{name_or_file}'{nearest(name_or_file, names)} (known: {', '.join(names)})")


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"preset file '{path}' cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"preset file '{path}' is not a text file in UTF-8") from error
    values = parse_yaml(text, f"preset file '{path}'")
    if not isinstance(values, dict):
        raise InputError(f"preset file '{path}' must hold keys and values at its top level")
    return values
