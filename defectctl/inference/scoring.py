"""Compares predictions with the truth, image by image, and returns the table that every metric is computed from."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from defectctl.dataset.splits import group_names
from defectctl.dataset.truth import defective_state, known_columns, recorded_state
from defectctl.dataset.types import Dataset, Sample
from defectctl.inference.maps import Maps
from defectctl.inference.postprocess import Cleaned, clean, image_score
from defectctl.inference.runner import TorchRunner
from defectctl.loading.box_truth import box_truth, boxes_need_mask
from defectctl.loading.prefetch import prefetch
from defectctl.metrics.boxes import Detections, match_image
from defectctl.metrics.instance_matching import match_instances
from defectctl.metrics.instances import Instances
from defectctl.metrics.region_overlap import Regions, regions_of
from defectctl.metrics.saliency import structure_columns
from defectctl.metrics.table import ImageTable, count_image

if TYPE_CHECKING:
    from defectctl.loading.pictures import PictureStore

ALL_TRUTH = frozenset({"masks", "boxes", "labels"})
"""The kinds of truth that a prediction can be held against."""


@dataclass(slots=True)
class Row:
    """One image's line of the table; arrays as in `ImageTable`, without the first dimension.

    `instances`, `regions` and `structure` are None where they were not asked for.
    """

    confusion: np.ndarray
    unknown: int
    score: float
    defective: int
    known: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray
    detections: Detections | None = None
    instances: Instances | None = None
    regions: Regions | None = None
    structure: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Judge:
    """What an image's prediction is held against.

    Attributes:
        dataset: whose samples are scored.
        min_area: components with fewer pixels become background first, as in `predict`; of the truth they are kept
            as pixels and are no boxes.
        needs: kinds of truth that may be opened. Without `masks` no mask file is read, but for `boxes` where
            only the mask tells them: there are no pixel counts then.
        finer: whether single defects, regions and the saliency measures are told as well, which takes longer.
        box_score: from which a box is reported, and stops the part.
    """

    dataset: Dataset
    min_area: int = 0
    needs: frozenset[str] = ALL_TRUTH
    finer: bool = False
    box_score: float = 0.0

    def reads_mask(self, sample: Sample) -> bool:
        """Whether the sample's mask is to be opened."""
        if "masks" in self.needs:
            return True
        return "boxes" in self.needs and boxes_need_mask(self.dataset, sample)

    def row(self, sample: Sample, maps: Maps, mask: np.ndarray | None) -> Row:
        """Score one image; `mask` is its truth `(H, W)` uint8, or None where there is none or it was not opened."""
        class_map, level = maps.arrays()
        cleaned = clean(class_map, level, self.min_area)
        boxes = None if maps.boxes is None else self._boxes(sample, maps, mask)
        score, state = image_score(maps, cleaned.instances, self.box_score), self._state(sample, mask)
        known = known_columns(self.dataset, sample)
        if mask is None or not known[0] or not maps.has_mask or "masks" not in self.needs:
            nothing, empty = np.zeros((len(known), len(known)), np.int64), np.zeros(256, np.int64)
            pixels = nothing, maps.class_map.numel(), score, state, np.zeros(len(known), bool), empty, empty
            return Row(*pixels, boxes, *self._nothing_finer(maps))
        confusion, positives, negatives = self._counts(maps, cleaned, mask, known)
        unknown = mask.size - int(confusion.sum())
        row = Row(confusion, unknown, score, state, known, positives, negatives, boxes)
        if self.finer:
            row.instances = match_instances(mask, cleaned.class_map, known, cleaned.components)
            row.regions = regions_of(mask, level, known)
            row.structure = structure_columns(mask, level, unknown)
        return row

    def _counts(
        self, maps: Maps, cleaned: Cleaned, mask: np.ndarray, known: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `count_pixels`, where the maps lie; on the CPU numpy counts several times faster than torch."""
        if maps.defect.device.type == "cpu":
            counts = count_image(mask, cleaned.class_map, known, maps.defect.numpy())
            return counts.confusion, counts.positives, counts.negatives
        predicted = maps.class_map
        if cleaned.removed:
            predicted = torch.from_numpy(cleaned.class_map).to(predicted.device)
        truth = torch.from_numpy(np.ascontiguousarray(mask)).to(predicted.device)
        return count_pixels(truth, predicted, maps.defect, known)

    def _nothing_finer(self, maps: Maps) -> tuple[Instances | None, Regions | None, tuple[float, float] | None]:
        """What is finer than the image where there is no mask to tell it by; None of a model without masks."""
        if not self.finer or not maps.has_mask or "masks" not in self.needs:
            return None, None, None
        return Instances.none(judged=False), Regions.none(), (np.nan, np.nan)

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
    finer: bool = False,
    box_score: float = 0.0,
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
        threads: reading threads, and as many that hold what was found against the truth while the network runs on.
        needs: as in `Judge`; without `masks` a dataset can be scored whose mask files are gone.
        finer, box_score: as in `Judge`.
    """
    judge = Judge(dataset, min_area, needs, finer, box_score)

    def read(sample: Sample) -> tuple[Sample, np.ndarray, np.ndarray | None]:
        return sample, pictures.picture(sample), pictures.mask(sample) if judge.reads_mask(sample) else None

    rows: list[Row] = []
    judged: deque[Future[Row]] = deque()
    batch: list[tuple[Sample, np.ndarray, np.ndarray | None]] = []
    given = 0
    with ThreadPoolExecutor(threads, thread_name_prefix="judge") as pool:
        for item in prefetch(samples, read, threads=threads, depth=2 * batch_size):
            batch.append(item)
            if len(batch) < batch_size and given + len(batch) < len(samples):
                continue
            found = runner.maps([picture for _, picture, _ in batch])
            judged.extend(
                pool.submit(judge.row, sample, maps, mask) for (sample, _, mask), maps in zip(batch, found, strict=True)
            )
            given += len(batch)
            if progress is not None:
                progress(len(batch))
            batch = []
            while len(judged) > 2 * batch_size:
                rows.append(judged.popleft().result())
        rows += [future.result() for future in judged]
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

    def gathered(name: str) -> list:
        """What each row tells under this name; nothing where any is silent."""
        values = [getattr(row, name) for row in rows]
        return [] if any(value is None for value in values) else values

    boxes, instances, regions = gathered("detections"), gathered("instances"), gathered("regions")
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
        instances=Instances.joined(instances) if instances else None,
        regions=Regions.joined(regions, [1] * len(rows)) if regions else None,
        structure=stack("structure", (2,), np.float64) if gathered("structure") else None,
        groups=group_names(samples),
    )
