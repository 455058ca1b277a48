"""The pictures that an exported network is tried on: those of a dataset, or generated steel surfaces."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from defectctl.checkpoints.contract import Contract
from defectctl.dataset.store import find_dataset, load_dataset, load_split
from defectctl.dataset.types import Dataset, Sample
from defectctl.errors import InputError
from defectctl.imaging.synthetic import SyntheticSurface
from defectctl.loading.pictures import PictureStore

PARTS = ("val", "test", "train")
"""Part of a split that is taken, the first that has images."""

GENERATED = 12
"""Generated pictures, in three sizes."""


def real_pictures(contract: Contract, data: Path, most: int) -> tuple[list[np.ndarray], str]:
    """Pictures of the validation part, evenly spread over it, as the model reads them, and where they come from.

    The split is the one that the model was trained on where the dataset has it, else the dataset's default; where it
    has no validation part, the test part is taken.

    Raises:
        InputError: no such dataset, or it holds no image.
    """
    dataset = load_dataset(find_dataset(data))
    name, split, samples = _samples(dataset, contract)
    places = np.linspace(0, len(samples) - 1, min(most, len(samples))).round().astype(int)
    store = PictureStore(dataset, contract.preset_config().input.colour, cache_bytes=0)
    return [store.picture(samples[place]) for place in places], f"{dataset.name}, split '{split}', part '{name}'"


def _samples(dataset: Dataset, contract: Contract) -> tuple[str, str, list[Sample]]:
    trained = contract.dataset.get("split")
    split = load_split(dataset, trained if trained in dataset.splits else None)
    by_id = {sample.id: sample for sample in dataset.samples}
    for name in PARTS:
        samples = [by_id[one] for one in sorted(split.parts.get(name, [])) if one in by_id]
        if samples:
            return name, split.name, samples
    raise InputError(f"split '{split.name}' of '{dataset.root}' holds no image to try the exported model on")


def generated_pictures(contract: Contract) -> list[np.ndarray]:
    """Steel surfaces with defects, smaller, as large and larger than the network's input."""
    config = contract.preset_config().input
    height, width = config.size
    pictures = []
    for number in range(GENERATED):
        scale = (0.75, 1.0, 1.5)[number % 3]
        size = (max(16, round(height * scale)), max(16, round(width * scale * 1.25)))
        picture, _ = SyntheticSurface(seed=1, size=size).sample(number)
        pictures.append(picture if config.colour == "grey" else np.repeat(picture[:, :, None], 3, axis=2))
    return pictures
