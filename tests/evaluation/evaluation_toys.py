"""Hand-made tables with their origin, and model files whose networks answer as a test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from defectctl.checkpoints.contract import Contract
from defectctl.checkpoints.weights import save_model
from defectctl.config.presets import load_preset, preset_to_dict
from defectctl.dataset.store import load_split
from defectctl.evaluation.scored import Scored
from defectctl.fileio import write_bytes
from defectctl.imaging.reader import read_image
from defectctl.inference.maps import Maps, empty_maps
from defectctl.metrics.instance_matching import match_instances
from defectctl.metrics.instances import Instances
from defectctl.metrics.region_overlap import Regions, regions_of
from defectctl.metrics.saliency import structure_columns
from defectctl.metrics.table import ImageTable, count_image


def square(side: int, *boxes: tuple[int, int, int, int], label: int = 1) -> np.ndarray:
    """A mask with filled boxes `(left, top, right, bottom)` of one class."""
    mask = np.zeros((side, side), np.uint8)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = label
    return mask


def table_of(
    truths: Sequence[np.ndarray | None],
    predictions: Sequence[np.ndarray],
    scores: Sequence[float],
    states: Sequence[int],
    classes: Sequence[str] = ("dent",),
    ids: Sequence[str] | None = None,
    groups: Sequence[str] = (),
    maps: bool = True,
) -> ImageTable:
    """A table as `score_samples` makes it of these masks; a predicted defect has the byte 204, the rest 20."""
    known = [np.full(1 + len(classes), truth is not None) for truth in truths]
    levels = [np.where(mask > 0, 204, 20).astype(np.uint8) for mask in predictions]
    triples = list(zip(truths, predictions, known, strict=True))
    counts = [count_image(*triple, level) for triple, level in zip(triples, levels, strict=True)]
    regions, structure = None, None
    if maps:
        found = [
            Regions.none() if t is None else regions_of(t, v, k) for (t, _, k), v in zip(triples, levels, strict=True)
        ]
        regions = Regions.joined(found, [1] * len(triples))
        structure = np.array(
            [
                (np.nan, np.nan) if t is None else structure_columns(t, v, c.unknown)
                for (t, *_), v, c in zip(triples, levels, counts, strict=True)
            ]
        ).reshape(-1, 2)
    return ImageTable(
        list(ids or (f"{n:02d}.png" for n in range(len(triples)))),
        list(classes),
        np.stack([c.confusion for c in counts]),
        np.array([c.unknown for c in counts]),
        np.array(scores),
        np.array(states),
        np.stack(known),
        np.stack([c.positives for c in counts]),
        np.stack([c.negatives for c in counts]),
        None,
        Instances.joined([match_instances(*triple) for triple in triples]),
        regions,
        structure,
        list(groups),
    )


def decided(scores: Sequence[float], states: Sequence[int], **more: Any) -> ImageTable:
    """The table of a model that only decides about parts."""
    n, empty = len(scores), np.zeros((len(scores), 256))
    columns = np.zeros((n, 2, 2)), np.full(n, 100), scores, states, np.zeros((n, 2), bool), empty, empty
    return ImageTable([f"{i:02d}.png" for i in range(n)], ["dent"], *columns, **more)


def scored_of(table: ImageTable, tasks: Sequence[str] = ("segmentation",), folder: Path | None = None, **more: Any):
    """A table with an origin as a model (or, with `masks`, a folder of masks) gives it."""
    dataset = {
        "name": "steel",
        "fingerprint": "f" * 64,
        "split": "official",
        "split_fingerprint": "s" * 64,
        "part": "test",
        "images": len(table),
        "classes": [{"name": name, "colour": [230, 159, 0]} for name in table.classes],
    }
    model = {"file": "runs/a/model.safetensors", "sha256": "a" * 64, "network": "n", "training": {}, "dataset": {}}
    about = {
        "tasks": list(tasks),
        "dataset": dataset,
        "model": None if more.get("masks") else model,
        "masks": None,
        "leak": {"train_images": 0, "val_images": 0, "text": "", "serious": False},
        "device": None,
        "box_score": None,
        "min_area": 0,
        "own_thresholds": {},
        "calibration": {},
        "scored": {"command": "evaluate", "date": "2030-01-01", "environment": {}},
    }
    return Scored(table, about | more, folder)


def contract_of(steel: Any, split: str = "official", model: str = "unet", **changes: Any) -> Contract:
    """What a model of the registry's name `model`, trained on that split, says of itself."""
    preset = preset_to_dict(load_preset("quick"))
    preset["model"] = {**preset["model"], "name": model} if model == preset["model"]["name"] else {"name": model}
    dataset = {
        "name": "steel",
        "fingerprint": steel.dataset.fingerprint,
        "split": split,
        "split_fingerprint": load_split(steel.dataset, split).fingerprint,
    }
    values = {
        "preset": preset,
        "classes": steel.dataset.class_names,
        "colours": [c.colour for c in steel.dataset.classes],
        "dataset": dataset,
    }
    return Contract(**{**values, **changes})


class Networks:
    """Model files with known answers; counts how often each was loaded."""

    def __init__(self, steel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steel, self.loaded = steel, []
        self._ids = {read_image(steel.dataset.image_path(s), "rgb").tobytes(): s.id for s in steel.dataset.samples}
        self._answers: dict[Path, Callable[[str], Maps]] = {}
        monkeypatch.setattr("defectctl.inference.runner.load_runner", self._load)
        # Drawing with matplotlib takes seconds, and what it draws is tested elsewhere.
        monkeypatch.setattr("defectctl.reports.sheet.draw_sheet", lambda rows, *more: write_bytes(more[2], b"sheet"))
        monkeypatch.setattr("defectctl.reports.confusion.draw_confusion", lambda *more: write_bytes(more[2], b"matrix"))

    def write(self, path: Path, answer: Callable[[str], Maps], weight: float = 0.0, **changes: Any) -> Path:
        """A model file that answers `answer(id)` for every picture of the dataset."""
        save_model(path, {"w": torch.full((1,), weight)}, contract_of(self.steel, **changes))
        self._answers[path.resolve()] = answer
        return path

    def _load(self, path: Path, *_: Any) -> tuple[SimpleNamespace, None]:
        self.loaded.append(path)
        answer = self._answers[Path(path).resolve()]
        return SimpleNamespace(maps=lambda pictures: [answer(self._ids[p.tobytes()]) for p in pictures]), None


def outlined(mask: np.ndarray, probability: float | None = None) -> Maps:
    """What a network says that finds this mask, sure of it."""
    maps = Maps(torch.from_numpy(mask.copy()), torch.from_numpy(np.where(mask > 0, 204, 20).astype(np.uint8)))
    maps.probability = probability
    return maps


def nothing_but(probability: float, shape: tuple[int, int]) -> Maps:
    """What a network says that only decides."""
    maps = empty_maps(*shape, torch.device("cpu"))
    maps.probability = probability
    return maps
