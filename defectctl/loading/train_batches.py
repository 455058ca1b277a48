"""Training batches as a pure function of (seed, epoch, step): a resumed run sees what an unbroken one sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from defectctl.config.schema import Preset
from defectctl.dataset.truth import defective_state, known_columns
from defectctl.dataset.types import UNKNOWN, Dataset, Sample
from defectctl.loading.augment import Augment
from defectctl.loading.batch import Batch
from defectctl.loading.network_input import masks_to_network, normalise, to_unit
from defectctl.loading.pictures import PictureStore
from defectctl.loading.prefetch import prefetch
from defectctl.loading.samplers import epoch_batches


class TrainBatches:
    """The training part as a sequence of batches.

    Args:
        dataset, samples: the training part.
        pictures: where decoded images come from.
        preset: its `input`, `augment` and `train.batch_size` are read.
        device: where batches are put together.
        sampler: see `loading.samplers`.
        seed: of order and augmentation.
        threads: that decode ahead.
    """

    def __init__(
        self,
        dataset: Dataset,
        samples: Sequence[Sample],
        pictures: PictureStore,
        preset: Preset,
        device: torch.device,
        sampler: str = "shuffle",
        seed: int = 0,
        threads: int = 2,
    ) -> None:
        self.dataset, self.samples, self.pictures = dataset, list(samples), pictures
        self.input, self.device, self.sampler, self.seed, self.threads = preset.input, device, sampler, seed, threads
        self.batch_size = preset.train.batch_size
        self._augment = Augment(preset.augment)
        self._labels = [-1] * len(self.samples)
        self._class_sets: list[frozenset[int]] = [frozenset()] * len(self.samples)
        if sampler != "shuffle":
            self._look_at_labels()
        self.steps = len(self._order(0))
        """Updates in an epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from step `start` on; the same for the same (seed, epoch, step), always."""
        steps = list(enumerate(self._order(epoch)))[start:]
        # Each item is a whole batch of decoded images, so few are kept ahead.
        loaded = prefetch(
            steps, lambda step: (step[0], [self._load(self.samples[i]) for i in step[1]]), self.threads, depth=3
        )
        for step, rows in loaded:
            state = np.random.SeedSequence([self.seed, epoch, step]).generate_state(1)
            yield self._assemble(rows, torch.Generator().manual_seed(int(state[0])))

    def _order(self, epoch: int) -> list[list[int]]:
        return epoch_batches(self.sampler, self.batch_size, self.seed, epoch, self._class_sets, self._labels)

    def _look_at_labels(self) -> None:
        for index, mask in enumerate(prefetch(self.samples, self.pictures.mask, self.threads)):
            sample = self.samples[index]
            label = defective_state(self.dataset, sample, mask)
            present = {o.label for o in sample.objects}
            if mask is not None:
                present |= set(np.unique(mask).tolist()) - {0, UNKNOWN}
            self._labels[index] = label
            self._class_sets[index] = frozenset(present or ({0} if label == 0 else set()))

    def _load(self, sample: Sample) -> tuple[Sample, np.ndarray, np.ndarray | None]:
        return sample, self.pictures.picture(sample), self.pictures.mask(sample)

    def _assemble(self, rows: list[tuple[Sample, np.ndarray, np.ndarray | None]], generator: torch.Generator) -> Batch:
        samples = [row[0] for row in rows]
        images, geometries = to_unit([row[1] for row in rows], self.input, self.device)
        masks = masks_to_network([row[2] for row in rows], geometries, self.device)
        objects = [[o for o in sample.objects if not o.crowd] for sample in samples]
        boxes = [
            torch.tensor([where.to_network(o.box) for o in found], dtype=torch.float32).reshape(-1, 4).to(self.device)
            for found, where in zip(objects, geometries, strict=True)
        ]
        box_labels = [torch.tensor([o.label for o in found], dtype=torch.int64) for found in objects]
        images, masks, boxes = self._augment(images, masks, boxes, generator)
        labels = [defective_state(self.dataset, sample, mask) for sample, _, mask in rows]
        known = np.stack([known_columns(self.dataset, sample) for sample in samples])
        return Batch(
            images=normalise(images, self.input).contiguous(memory_format=torch.channels_last),
            masks=masks,
            known=torch.from_numpy(known).to(self.device),
            labels=torch.tensor(labels, device=self.device),
            boxes=boxes,
            box_labels=[found.to(self.device) for found in box_labels],
            known_boxes=self._known_boxes(samples).to(self.device),
            ids=[sample.id for sample in samples],
            geometries=geometries,
        )

    def _known_boxes(self, samples: Sequence[Sample]) -> torch.Tensor:
        flags = torch.zeros(len(samples), 1 + len(self.dataset.classes), dtype=torch.bool)
        for row, sample in enumerate(samples):
            flags[row, list(self.dataset.known(sample).boxes)] = True
        return flags
