"""Compares predictions with the truth, image by image, and returns the table that every metric is computed from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from defectctl.dataset.truth import defective_state, known_columns, recorded_state
from defectctl.dataset.types import Dataset, Sample
from defectctl.inference.maps import Maps
from defectctl.inference.postprocess import clean, image_score
from defectctl.inference.runner import TorchRunner
from defectctl.loading.box_truth import box_truth, boxes_need_mask
from defectctl.loading.prefetch import prefetch
from defectctl.metrics.boxes import Detections, match_image
from defectctl.metrics.table import ImageTable

if TYPE_CHECKING:
    from defectctl.loading.pictures import PictureStore

ALL_TRUTH = frozenset({"masks", "boxes", "labels"})
"""The kinds of truth that a prediction can be held against."""


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
    detections: Detections | None = None


@dataclass(frozen=True, slots=True)
class Judge:
    """What an image's prediction is held against.

    Attributes:
        dataset: whose samples are scored.
        min_area: components with fewer pixels become background first, as in `predict`; of the truth they are kept
            as pixels and are no boxes.
        needs: kinds of truth that may be opened. Without `masks` no mask file is read, but for `boxes` where
            only the mask tells them: there are no pixel counts then.
    """

    dataset: Dataset
    min_area: int = 0
    needs: frozenset[str] = ALL_TRUTH

    def reads_mask(self, sample: Sample) -> bool:
        """Whether the sample's mask is to be opened."""
        if "masks" in self.needs:
            return True
        return "boxes" in self.needs and boxes_need_mask(self.dataset, sample)

    def row(self, sample: Sample, maps: Maps, mask: np.ndarray | None) -> Row:
        """Score one image; `mask` is its truth `(H, W)` uint8, or None where there is none or it was not opened."""
        size = 1 + len(self.dataset.classes)
        predicted, instances = self._cleaned(maps)
        boxes = None if maps.boxes is None else self._boxes(sample, maps, mask)
        score, state = image_score(maps, instances), self._state(sample, mask)
        known = known_columns(self.dataset, sample)
        if mask is None or not known[0] or not maps.has_mask or "masks" not in self.needs:
            nothing, empty = np.zeros((size, size), np.int64), np.zeros(256, np.int64)
            return Row(nothing, predicted.numel(), score, state, np.zeros(size, bool), empty, empty, boxes)
        truth = torch.from_numpy(np.ascontiguousarray(mask)).to(predicted.device)
        confusion, positives, negatives = count_pixels(truth, predicted, maps.defect, known)
        unknown = predicted.numel() - int(confusion.sum())
        return Row(confusion, unknown, score, state, known, positives, negatives, boxes)

    def _cleaned(self, maps: Maps) -> tuple[Tensor, list]:
        if not maps.has_mask:
            return maps.class_map, []
        cleaned = clean(maps.class_map.cpu().numpy(), maps.defect.cpu().numpy(), self.min_area)
        if not cleaned.removed:
            return maps.class_map, cleaned.instances
        return torch.from_numpy(cleaned.class_map).to(maps.class_map.device), cleaned.instances

    def _state(self, sample: Sample, mask: np.ndarray | None) -> int:
        if mask is None and not self.reads_mask(sample):
            recorded = recorded_state(self.dataset, sample)
            if recorded is not None:
                return recorded
        return defective_state(self.dataset, sample, mask)

    def _boxes(self, sample: Sample, maps: Maps, mask: np.ndarray | None) -> Detections:
        truth = box_truth(self.dataset, sample, mask, self.min_area)
        known = np.zeros(1 + len(self.dataset.classes), bool)
        known[list(truth.known)] = True
        found = maps.boxes
        return match_image(found.boxes, found.scores, found.labels, truth.boxes, truth.labels, truth.crowd, known)


def score_samples(
    runner: TorchRunner,
    dataset: Dataset,
    samples: Sequence[Sample],
    pictures: PictureStore,
    min_area: int = 0,
    batch_size: int = 8,
    progress: Callable[[int], None] | None = None,
    threads: int = 2,
    needs: frozenset[str] = ALL_TRUTH,
) -> ImageTable:
    """Predict samples and count, at each image's own size, how prediction and truth agree.

    Pixels that cannot be judged are left out of all counts and counted in `unknown`: those whose truth is 255 or a
    class outside `known.mask`, and those whose truth is background where the prediction is a class outside it
    (background there means only "none of the known classes"). Where the truth is a known class the pixel is judged
    whatever was predicted, for a pixel has one class. An image without a known mask has all its pixels unknown, but
    still its score; so has every image where the model delivers no mask. Boxes are held against `box_truth`.

    Args:
        min_area: components with fewer pixels become background first, as in `predict`.
        progress: called after each batch with the number of images done in it.
        threads: reading threads.
        needs: as in `Judge`; without `masks` a dataset can be scored whose mask files are gone.
    """
    judge = Judge(dataset, min_area, needs)

    def read(sample: Sample) -> tuple[Sample, np.ndarray, np.ndarray | None]:
        return sample, pictures.picture(sample), pictures.mask(sample) if judge.reads_mask(sample) else None

    rows: list[Row] = []
    batch: list[tuple[Sample, np.ndarray, np.ndarray | None]] = []
    for item in prefetch(samples, read, threads=threads, depth=2 * batch_size):
        batch.append(item)
        if len(batch) == batch_size or len(rows) + len(batch) == len(samples):
            found = runner.maps([picture for _, picture, _ in batch])
            rows += [judge.row(sample, maps, mask) for (sample, _, mask), maps in zip(batch, found, strict=True)]
            if progress is not None:
                progress(len(batch))
            batch = []
    return _table(dataset, samples, rows)


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

    boxes = [row.detections for row in rows if row.detections is not None]
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
        detections=Detections.joined(boxes) if boxes else None,
    )
