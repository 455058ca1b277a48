"""The option `--mask-values`: which stored number or colour of a mask is which class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from defectctl.errors import InputError
from defectctl.formats.masks.colour_tables import parse_colour
from defectctl.formats.masks.mask_stored import COLOUR_FLAG


def parse_mask_values(text: str) -> dict[int, str]:
    """Read `--mask-values`: "0=background,1=scratch,255=unknown", or the name of a YAML or JSON file with such pairs.

    Colours are `#ff0000` or `0xff0000` (in YAML in quotes) and become `COLOUR_FLAG | 0xRRGGBB`.

    Raises:
        InputError: it is neither.
    """
    if text.lower().endswith((".yaml", ".yml", ".json")):
        pairs = _mapping_file(Path(text)).items()
    else:
        pairs = [pair.split("=", 1) for pair in text.split(",") if pair.strip()]
    values: dict[int, str] = {}
    for pair in pairs:
        try:
            shown, name = str(pair[0]).strip(), str(pair[1]).strip()
            colour = parse_colour(shown)
            number = int(shown) if colour is None else colour
        except (ValueError, IndexError) as error:
            form = '"0=background,1=scratch,255=unknown" or "#000000=background,#ff0000=scratch"'
            raise InputError(f'--mask-values "{text}" is not like {form}') from error
        if (colour is None and not 0 <= number <= 65535) or not name:
            raise InputError(
                f"--mask-values: {shown}={name} is no mask value (0..65535, or a colour like #ff0000) with a name"
            )
        if values.setdefault(number, name) != name:
            raise InputError(f"--mask-values names {shown} twice, '{values[number]}' and '{name}'; name it once")
    if not values:
        raise InputError('--mask-values is empty; write for example "0=background,1=scratch,255=unknown"')
    return _one_kind(values)


def _one_kind(values: dict[int, str]) -> dict[int, str]:
    """Numbers or colours, not both; a plain 0 among colours is black."""
    if any(value & COLOUR_FLAG for value in values):
        values = {value or COLOUR_FLAG: name for value, name in values.items()}
        plain = [value for value in values if not value & COLOUR_FLAG]
        if plain:
            raise InputError(f"--mask-values mixes colours with the number {plain[0]}; write each value as a colour")
    return values


def _mapping_file(path: Path) -> dict[Any, Any]:
    import yaml  # JSON is YAML too

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"the mapping file '{path}' cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the mapping file '{path}' is neither YAML nor JSON: {reason}") from error
    if not isinstance(values, dict):
        raise InputError(f"the mapping file '{path}' must hold pairs like `255: unknown` or `'#ff0000': scratch`")
    return values
