"""Samples, sources and splits as plain JSON and YAML values and back, and the fingerprints over them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from defectctl.dataset.types import ClassInfo, Known, Object, Sample, Source
from defectctl.imaging.pixel_rule import PixelRule


def known_to_dict(known: Known) -> dict[str, Any]:
    """`Known` as JSON values."""
    return {"mask": list(known.mask), "boxes": list(known.boxes), "image": known.image}


def known_from_dict(values: dict[str, Any]) -> Known:
    """Inverse of `known_to_dict`."""
    return Known(tuple(values["mask"]), tuple(values["boxes"]), bool(values["image"]))


def object_to_dict(thing: Object) -> dict[str, Any]:
    """`Object` as JSON values: `{"label": 1, "box": [x1, y1, x2, y2]}`, and `"crowd": true` for a crowd region."""
    values: dict[str, Any] = {"label": thing.label, "box": [round(float(v), 3) for v in thing.box]}
    if thing.crowd:
        values["crowd"] = True
    return values


def _object_from_dict(values: dict[str, Any]) -> Object:
    return Object(values["label"], tuple(values["box"]), values.get("crowd", False))


def sample_to_line(sample: Sample) -> str:
    """One line of `samples.jsonl` (without its line end); what is absent or empty is left out."""
    values: dict[str, Any] = {
        "id": sample.id,
        "image": sample.image,
        "width": sample.width,
        "height": sample.height,
        "sha256": sample.sha256,
        "source": sample.source,
    }
    for name in ("mask", "mask_sha256", "label", "group", "twins", "overlaps"):
        if getattr(sample, name) is not None:
            values[name] = getattr(sample, name)
    if sample.pasted_from:
        values["pasted_from"] = list(sample.pasted_from)
    if sample.objects:
        values["objects"] = [object_to_dict(thing) for thing in sample.objects]
    if sample.known is not None:
        values["known"] = known_to_dict(sample.known)
    if sample.present is not None:
        values["present"] = list(sample.present)
    if sample.has_unknown:
        values["has_unknown"] = True
    return json.dumps(values, ensure_ascii=False, allow_nan=False)


def samples_from_text(text: str) -> list[Sample]:
    """Read the whole of `samples.jsonl`.

    Raises:
        ValueError, KeyError, TypeError: the text is not what `sample_to_line` writes.
    """
    # One call of the parser for all lines is twice as fast as one a line.
    return [_sample_from_dict(values) for values in json.loads("[" + ",".join(text.rstrip("\n").split("\n")) + "]")]


def _sample_from_dict(values: dict[str, Any]) -> Sample:
    objects, known = values.pop("objects", None), values.pop("known", None)
    sample = Sample(**values)
    if objects:
        sample.objects = [_object_from_dict(thing) for thing in objects]
    if known:
        sample.known = known_from_dict(known)
    if sample.present is not None:
        sample.present = tuple(sample.present)
    sample.pasted_from = tuple(sample.pasted_from)
    return sample


def source_to_dict(source: Source) -> dict[str, Any]:
    """`Source` as YAML values (its name is the key it stands under)."""
    return {"format": source.format, "known": known_to_dict(source.known), "pixels": source.pixels.to_dict()}


def source_from_dict(name: str, values: dict[str, Any]) -> Source:
    """Inverse of `source_to_dict`."""
    known, pixels = known_from_dict(values["known"]), PixelRule.from_dict(values["pixels"])
    return Source(name, values["format"], known, pixels)


def class_to_dict(info: ClassInfo) -> dict[str, Any]:
    """`ClassInfo` as YAML values."""
    return {"name": info.name, "colour": list(info.colour)}


def class_from_dict(values: dict[str, Any]) -> ClassInfo:
    """Inverse of `class_to_dict`."""
    red, green, blue = values["colour"]
    return ClassInfo(values["name"], (red, green, blue))


def dataset_fingerprint(classes: list[ClassInfo], samples: Iterable[Sample], sources: dict[str, Source]) -> str:
    """SHA-256 over class names and every sample's id, image hash, mask hash, objects, label and what is known.

    Colours, file locations, splits and what follows from the rest (`present`) do not count; the order of `samples`
    does not matter.
    """
    total = hashlib.sha256(json.dumps([c.name for c in classes]).encode())
    for sample in sorted(samples, key=lambda sample: sample.id):
        known = known_to_dict(sample.known or sources[sample.source].known)
        objects = [object_to_dict(thing) for thing in sample.objects]
        row = [sample.id, sample.sha256, sample.mask_sha256, objects, sample.label, known]
        total.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return total.hexdigest()
