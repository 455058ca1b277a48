"""A dataset on disk out of arrays, for the tests of loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from defectctl.config.schema import Preset
from defectctl.dataset.types import UNKNOWN, ClassInfo, Dataset, Known, Object, Sample, Source
from defectctl.fileio import sha256_bytes
from defectctl.imaging.masks import encode_mask

COLOURS = [(255, 0, 0), (0, 255, 0)]
STAGE = {"name": "all", "epochs": 1, "losses": {"ce": 1}, "optimiser": {"name": "sgd", "lr": 0.1}}


def toy_dataset(
    root: Path,
    items: list[tuple[np.ndarray, np.ndarray | None]],
    known: Known | None = None,
    recorded: bool = True,
    objects: dict[int, list[Object]] | None = None,
) -> Dataset:
    """Two classes, a picture and a mask (or none) an item; by default masks speak of both classes, boxes of none."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    samples = []
    for index, (picture, mask) in enumerate(items):
        stored = picture if picture.ndim == 2 else picture[:, :, ::-1]
        data = cv2.imencode(".png", stored)[1].tobytes()
        (root / "images" / f"{index}.png").write_bytes(data)
        height, width = picture.shape[:2]
        sample = Sample(f"{index}.png", f"images/{index}.png", width, height, sha256_bytes(data), "s")
        if mask is not None:
            sample.mask = f"masks/{index}.png"
            (root / sample.mask).write_bytes(encode_mask(mask, COLOURS))
            sample.has_unknown = bool((mask == UNKNOWN).any())
        present = () if mask is None else tuple(int(v) for v in np.unique(mask) if v not in (0, UNKNOWN))
        sample.present = present if recorded else None
        sample.objects = (objects or {}).get(index, [])
        samples.append(sample)
    source = Source("s", "toy", known or Known(mask=(1, 2), image=True))
    classes = [ClassInfo(name, colour) for name, colour in zip("ab", COLOURS, strict=True)]
    return Dataset(root, "toy", classes, samples, {"s": source}, "", [], "random")


def toy_preset(batch_size: int = 4, share: float = 0.5, augment: tuple[dict[str, Any], ...] = (), **options) -> Preset:
    """A preset with the given `input`, `augment` and `train.crops.defect_share`."""
    return Preset.model_validate(
        {
            "name": "test",
            "model": {"name": "none"},
            "input": {"size": [32, 32], **options},
            "augment": list(augment),
            "train": {"batch_size": batch_size, "stages": [STAGE], "crops": {"defect_share": share}},
        }
    )
