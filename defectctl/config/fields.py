"""The two preset values that have a grammar of their own: loss weights with a schedule, and augmentation steps."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from defectctl.errors import nearest


class Strict(BaseModel):
    """Base of everything in a preset: unknown keys are refused, nothing is converted silently ("300" is not 300)."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def problem(text: str) -> PydanticCustomError:
    """Return a validation error whose text is already written for the user."""
    return PydanticCustomError("plain", "{text}", {"text": text})


class NestedError(ValueError):
    """Findings in a block that a validator checked by itself.

    Attributes:
        error: pydantic's findings.
        schema: the model they come from.
        path: keys between the validated value and the block.
    """

    def __init__(self, error: ValidationError, schema: type[Strict], path: tuple[str, ...]) -> None:
        super().__init__(str(error))
        self.error, self.schema, self.path = error, schema, path


Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class CosineWeight(Strict):
    """A weight that swings from `high` to `low` and back to `high`, along a cosine.

    Attributes:
        every: epochs of a whole swing.
        updates: updates of a whole swing, in the place of `every`.
        hold: updates for which each value stands; only beside `updates`.
    """

    high: NotNegative
    low: NotNegative
    every: Count | None = None
    updates: Count | None = None
    hold: Count | None = None

    @model_validator(mode="after")
    def _one_period(self) -> CosineWeight:
        if (self.every is None) == (self.updates is None):
            raise problem("needs exactly one of every (epochs) and updates")
        if self.hold is not None and (self.updates is None or self.updates % self.hold):
            raise problem("has a hold, so it needs updates, a multiple of it")
        return self


class _Cosine(Strict):
    cosine: CosineWeight


class _Linear(Strict):
    linear: Annotated[list[NotNegative], Field(min_length=2, max_length=2)]


WEIGHT_SCHEDULES: dict[str, type[Strict]] = {"cosine": _Cosine, "linear": _Linear}


def check_weight(value: Any) -> float | dict[str, Any]:
    """Check a weight and return it as a float, or as its schedule in plain dicts and lists."""
    if isinstance(value, dict):
        kind = _single_key(value, WEIGHT_SCHEDULES, "weight schedule")
        return _check_block(WEIGHT_SCHEDULES[kind], value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise problem(f"must be a number, {{cosine: …}} or {{linear: [from, to]}}, not {value!r}")
    if not 0 <= value < float("inf"):
        raise problem(f"must be 0 or more and finite, not {value!r}")
    return float(value)


Weight = Annotated[float | dict[str, Any], BeforeValidator(check_weight)]
"""A loss weight: a number, `{cosine: {high, low, every}}` (or `updates`), or `{linear: [from, to]}` over the stage."""


class _Chance(Strict):
    p: Probability = 0.5


class _Rotate(_Chance):
    degrees: Annotated[float, Field(gt=0, le=180)]


class _Scale(_Chance):
    low: Positive
    high: Positive

    @model_validator(mode="after")
    def _ordered(self) -> _Scale:
        if self.low > self.high:
            raise problem(f"has low ({self.low}) above high ({self.high})")
        return self


class _Amount(_Chance):
    amount: Annotated[float, Field(gt=0, le=1)]


class _CopyPaste(_Chance):
    most: Count = 3


AUGMENTATIONS: dict[str, type[Strict] | None] = {
    "hflip": None,
    "vflip": None,
    "rot90": None,
    "rotate": _Rotate,
    "scale": _Scale,
    "brightness": _Amount,
    "contrast": _Amount,
    "blur": _Chance,
    "noise": _Amount,
    "copy_paste": _CopyPaste,
}
"""Name of every augmentation step and the settings it takes; None: just its probability."""


def check_augmentation(value: Any) -> dict[str, Any]:
    """Check one step, e.g. `{hflip: 0.5}` or `{rotate: {degrees: 10, p: 0.25}}`; return it with its defaults."""
    if not isinstance(value, dict):
        raise problem(f"must be a step such as {{hflip: 0.5}}, not {value!r}")
    name = _single_key(value, AUGMENTATIONS, "augmentation")
    settings = AUGMENTATIONS[name]
    if settings is not None:
        return {name: _check_block(settings, value[name], name)}
    if isinstance(value[name], bool) or not isinstance(value[name], int | float) or not 0 <= value[name] <= 1:
        raise problem(f"{name} takes a probability from 0 to 1, not {value[name]!r}")
    return {name: float(value[name])}


Augmentation = Annotated[dict[str, Any], BeforeValidator(check_augmentation)]
"""One augmentation step: a mapping with a single key."""


def _check_block(schema: type[Strict], value: Any, *path: str) -> dict[str, Any]:
    try:
        return schema.model_validate(value).model_dump(exclude_none=True)
    except ValidationError as error:
        raise NestedError(error, schema, path) from error


def _single_key(value: dict[Any, Any], choices: dict[str, Any], what: str) -> str:
    names = ", ".join(choices)
    if len(value) != 1:
        raise problem(f"must have exactly one key, the {what}'s name ({names}), not {len(value)}")
    (name,) = value
    if name not in choices:
        raise problem(f"'{name}' is not a known {what}{nearest(str(name), list(choices))} (known: {names})")
    return name
