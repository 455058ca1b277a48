"""Compares predictions with the truth, image by image, and returns the table that every metric is computed from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from defectctl.dataset.truth import defective_state, known_columns
from defectctl.dataset.types import Dataset, Sample
from defectctl.inference.postprocess import clean, image_score
from defectctl.inference.runner import Maps, TorchRunner
from defectctl.loading.prefetch import prefetch
from defectctl.metrics.table import ImageTable

if TYPE_CHECKING:
    from defectctl.loading.pictures import PictureStore


@dataclass(slots=True)
class Row:
    """One image's line of the table; arrays as in `ImageTable`, without the first dimension."""

    confusion: np.ndarray
    unknown: int
    score: float
    defective: int
    known: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray


def score_samples(
    runner: TorchRunner,
    dataset: Dataset,
    samples: Sequence[Sample],
    pictures: PictureStore,
    min_area: int = 0,
    batch_size: int = 8,
    progress: Callable[[int], None] | None = None,
    threads: int = 2,
) -> ImageTable:
    """Predict samples and count, at each image's own size, how prediction and truth agree.

    Pixels that cannot be judged are left out of all counts and counted in `unknown`: those whose truth is 255 or a
    class outside `known.mask`, and those whose truth is background where the prediction is a class outside it
    (background there means only "none of the known classes"). Where the truth is a known class the pixel is judged
    whatever was predicted, for a pixel has one class. An image without a known mask has all its pixels unknown, but
    still its score.

    Args:
        min_area: components with fewer pixels become background first, as in `predict`.
        progress: called after each batch with the number of images done in it.
        threads: reading threads.
    """
    rows: list[Row] = []
    reading = prefetch(
        samples, lambda s: (s, pictures.picture(s), pictures.mask(s)), threads=threads, depth=2 * batch_size
    )
    batch: list[tuple[Sample, np.ndarray, np.ndarray | None]] = []
    for item in reading:
        batch.append(item)
        if len(batch) == batch_size or len(rows) + len(batch) == len(samples):
            maps = runner.maps([picture for _, picture, _ in batch])
            rows += [_row(dataset, s, m, mask, min_area) for (s, _, mask), m in zip(batch, maps, strict=True)]
            if progress is not None:
                progress(len(batch))
            batch = []
    return _table(dataset, samples, rows)


def _row(dataset: Dataset, sample: Sample, maps: Maps, mask: np.ndarray | None, min_area: int) -> Row:
    size = 1 + len(dataset.classes)
    cleaned = clean(maps.class_map.cpu().numpy(), maps.defect.cpu().numpy(), min_area)
    predicted = maps.class_map
    if cleaned.removed:
        predicted = torch.from_numpy(cleaned.class_map).to(predicted.device)
    score = image_score(cleaned.instances)
    known = known_columns(dataset, sample)
    state = defective_state(dataset, sample, mask)
    if mask is None or not known[0]:
        empty = np.zeros(256, np.int64)
        return Row(
            np.zeros((size, size), np.int64), predicted.numel(), score, state, np.zeros(size, bool), empty, empty
        )
    truth = torch.from_numpy(np.ascontiguousarray(mask)).to(predicted.device)
    confusion, positives, negatives = count_pixels(truth, predicted, maps.defect, known)
    return Row(confusion, predicted.numel() - int(confusion.sum()), score, state, known, positives, negatives)


def count_pixels(
    truth: Tensor, predicted: Tensor, defect: Tensor, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count one image's pixels on the device, with the numbers of `metrics.table.count_image`.

    Args:
        truth, predicted, defect: `(H, W)` uint8; truth 255 is unknown.
        known: `(1 + classes,)` bool, the classes for which the truth speaks; column 0 is background.

    Returns:
        confusion `(1 + classes, 1 + classes)` [truth, prediction], and the histograms `(256,)` of the defect byte
        over defect and over background pixels, all int64.
    """
    size = len(known)
    speaks = torch.zeros(256, dtype=torch.bool, device=truth.device)
    speaks[:size] = torch.from_numpy(known).to(truth.device)
    truth_index, predicted_index = truth.reshape(-1).long(), predicted.reshape(-1).long()
    counted = speaks[truth_index] & ((truth_index != 0) | speaks[predicted_index])
    truth_index, predicted_index = truth_index[counted], predicted_index[counted]
    confusion = torch.bincount(truth_index * size + predicted_index, minlength=size * size).reshape(size, size)
    level = defect.reshape(-1)[counted].long() + 256 * (truth_index != 0)
    levels = torch.bincount(level, minlength=512).reshape(2, 256).cpu().numpy()
    return confusion.cpu().numpy(), levels[1], levels[0]


def _table(dataset: Dataset, samples: Sequence[Sample], rows: list[Row]) -> ImageTable:
    size = 1 + len(dataset.classes)

    def stack(name: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        return np.array([getattr(row, name) for row in rows], dtype=dtype).reshape(len(rows), *shape)

    return ImageTable(
        ids=[sample.id for sample in samples],
        classes=dataset.class_names,
        confusion=stack("confusion", (size, size), np.int64),
        unknown=stack("unknown", (), np.int64),
        score=stack("score", (), np.float64),
        defective=stack("defective", (), np.int8),
        known=stack("known", (size,), bool),
        positives=stack("positives", (256,), np.int64),
        negatives=stack("negatives", (256,), np.int64),
    )
