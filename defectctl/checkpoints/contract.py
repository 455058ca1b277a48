"""The contract: what predict must know of a model beside its weights, as JSON in the weights file's header."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any

from defectctl.config.presets import check_preset
from defectctl.config.schema import Preset
from defectctl.errors import InputError
from defectctl.imaging.pixel_rule import PixelRule

SCHEMA = 1
"""Version of the contract that this program writes, and the newest that it reads."""

_KINDS: dict[str, type] = {
    "schema": int,
    "preset": dict,
    "classes": list,
    "colours": list,
    "pixels": dict,
    "thresholds": dict,
    "min_area": int,
    "dataset": dict,
    "training": dict,
    "versions": dict,
    "calibration": dict,
}
_OPTIONAL = ("calibration",)
"""Entries that contracts written before they were introduced do not have; all of them are dictionaries."""


@dataclass(slots=True)
class Contract:
    """What a model was made for and how its output is to be read.

    Attributes:
        preset: the run's resolved preset in plain values.
        classes: names of the defect classes, index 1 first.
        colours: RGB (0..255) of each class, as palettes and overlays show it.
        pixels: how stored 16-bit grey levels become full-scale ones.
        thresholds: the only place where decision thresholds live, of `ng`, `ok` and `pixel`; without `ng` a part is NG
            if any instance or box is reported.
        min_area: smallest defect in image pixels that is reported.
        dataset: name, fingerprint, split and split_fingerprint of the data it was trained on.
        training: epoch, metric and value of the chosen checkpoint, seed, and what else the run says of itself.
        versions: of defectctl and the libraries that trained it.
        calibration: how the thresholds were chosen, by which data, and what they promise; empty: they were not.
        schema: version of this structure.
    """

    preset: dict[str, Any]
    classes: list[str]
    colours: list[tuple[int, int, int]]
    pixels: PixelRule = field(default_factory=PixelRule)
    thresholds: dict[str, Any] = field(default_factory=dict)
    min_area: int = 0
    dataset: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def to_json(self) -> str:
        """The contract as JSON with sorted keys: equal contracts give equal text."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["pixels"] = self.pixels.to_dict()
        return json.dumps(values, sort_keys=True, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, name: str = "the model") -> Contract:
        """Inverse of `to_json`.

        Args:
            name: the file, for the message.

        Raises:
            InputError: not a contract, one with missing or odd entries, or one of a newer schema.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"{name} holds a contract that is not valid JSON: {error}") from error
        if not isinstance(values, dict) or not isinstance(values.get("schema"), int):
            raise InputError(f"{name} holds no defectctl contract")
        if values["schema"] > SCHEMA:
            raise InputError(
                f"{name} was written by a newer defectctl (contract {values['schema']}, this one reads {SCHEMA}); "
                "update defectctl"
            )
        values = {**{key: {} for key in _OPTIONAL}, **values}
        wrong = sorted({key for key, kind in _KINDS.items() if not isinstance(values.get(key), kind)})
        if wrong or len(values["classes"]) != len(values["colours"]):
            raise InputError(f"{name} holds a damaged contract (see its {', '.join(wrong) or 'classes and colours'})")
        return cls._from_values(values, name)

    @classmethod
    def _from_values(cls, values: dict[str, Any], name: str) -> Contract:
        known = {key: values[key] for key in _KINDS}
        try:
            known["pixels"] = PixelRule.from_dict(values["pixels"])
            known["colours"] = [(int(r), int(g), int(b)) for r, g, b in values["colours"]]
        except (TypeError, ValueError) as error:
            raise InputError(f"{name} holds a damaged contract (its pixels or colours): {error}") from error
        return cls(**known)

    def found_by(self) -> str:
        """As JSON what decides, beside the weights, what is found in a picture: all but how parts are judged by it."""
        told = {"preset": self.preset, "classes": self.classes, "pixels": self.pixels.to_dict()}
        told |= {"min_area": self.min_area, "pixel": self.thresholds.get("pixel")}
        return json.dumps(told, sort_keys=True, ensure_ascii=False)

    def pixel_threshold(self, name: object = "the model") -> float | None:
        """The stored P(defect) from which a pixel is a defect; None where none is stored.

        Raises:
            InputError: it is no probability above 0.
        """
        pixel = self.thresholds.get("pixel")
        if pixel is None or (_is_number(pixel) and 0 < pixel <= 1):
            return pixel
        raise InputError(
            f"{name} holds a damaged contract: its pixel threshold is {pixel!r}, not a probability above 0; "
            "use an undamaged copy of the file"
        )

    def preset_config(self) -> Preset:
        """The preset, checked.

        Raises:
            InputError: the stored preset does not fit this version of defectctl.
        """
        return check_preset(self.preset, "the preset stored in the model")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
