"""How stored grey levels become full-scale ones: chosen once at `prepare`, kept in dataset and contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PixelRule:
    """Range of the stored values that is stretched to the full range of their type.

    8-bit files are taken as they are (0..255). In 16-bit files `black16` becomes 0 and `white16` becomes 65535,
    values outside are clipped; 12-bit cameras that write 16-bit files have `white16 = 4095`. Alpha is dropped,
    palettes are looked up, EXIF orientation is applied once.
    """

    black16: int = 0
    white16: int = 65535

    def to_dict(self) -> dict[str, Any]:
        """As stored in `dataset.yaml` and in the contract."""
        return {"black16": self.black16, "white16": self.white16}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PixelRule:
        """Inverse of `to_dict`; unknown keys are refused by the dataclass."""
        return cls(**values)
