"""Turns pydantic's findings into plain sentences with the key's path and the nearest valid name."""

from __future__ import annotations

import types
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from defectctl.config.fields import NestedError
from defectctl.errors import nearest

KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
}
BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def describe(error: ValidationError, schema: type[BaseModel]) -> list[str]:
    """Return one sentence for every finding of `error`, in the order of the file.

    Args:
        schema: the model that was validated; unknown keys are compared with its keys at the same place.
    """
    return _gather(error, schema, ())


def _gather(error: ValidationError, schema: type[BaseModel], prefix: tuple[Any, ...]) -> list[str]:
    found = []
    for item in error.errors(include_url=False):
        inner = item.get("ctx", {}).get("error")
        path = (*prefix, *item["loc"])
        if isinstance(inner, NestedError):
            found += _gather(inner.error, inner.schema, (*path, *inner.path))
        else:
            where = ".".join(str(step) for step in path) or "the preset"
            found.append(f"{where} {_reason(item, schema)}")
    return found


def _reason(item: Any, schema: type[BaseModel]) -> str:
    kind, ctx, value = item["type"], item.get("ctx", {}), item.get("input")
    if kind == "plain":
        return item["msg"]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return _unknown(str(item["loc"][-1]), _keys_at(schema, item["loc"][:-1]))
    if kind == "literal_error":
        choices = [c.strip("'") for c in ctx["expected"].replace(" or ", ", ").split(", ")]
        return f"must be one of {', '.join(choices)}, not {_show(value)}{nearest(str(value), choices)}"
    if kind in KINDS:
        return f"must be {KINDS[kind]}, not {_show(value)}"
    if kind in BOUNDS:
        key, words = BOUNDS[kind]
        return f"must be {words} {ctx[key]:g}, not {_show(value)}"
    if kind == "too_short":
        return f"must hold at least {ctx['min_length']} value{'s' if ctx['min_length'] > 1 else ''}, not {_show(value)}"
    if kind == "too_long":
        return f"must hold at most {ctx['max_length']} values, not {_show(value)}"
    if kind == "string_pattern_mismatch":
        return f"must look like val/defect_iou, not {_show(value)}"
    return f"is not valid: {item['msg']}"


def _show(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, BaseModel):
        return "a mapping"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _unknown(key: str, known: list[str]) -> str:
    hint = nearest(key, known)
    return f"is not a known key{hint}" if hint or not known else f"is not a known key (known: {', '.join(known)})"


def _keys_at(schema: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """Keys that the schema has at `path`, or an empty list where that cannot be told."""
    place: Any = schema
    for step in path:
        options = _options(place)
        models = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        if isinstance(step, int):
            place = next((get_args(o)[0] for o in options if get_origin(o) in (list, tuple)), None)
        else:
            place = next((m.model_fields[step].annotation for m in models if step in m.model_fields), None)
    models = [o for o in _options(place) if isinstance(o, type) and issubclass(o, BaseModel)]
    return [key for model in models for key in model.model_fields]


def _options(annotation: Any) -> list[Any]:
    """The alternatives of an annotation, with `Annotated` and unions taken apart."""
    if get_origin(annotation) is Annotated:
        return _options(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [option for alternative in get_args(annotation) for option in _options(alternative)]
    return [annotation]
