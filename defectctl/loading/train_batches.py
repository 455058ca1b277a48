"""Training batches as a pure function of (seed, epoch, step): a resumed run sees what an unbroken one sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from defectctl.config.schema import Preset
from defectctl.dataset.types import Dataset, Sample
from defectctl.loading.assemble import assemble
from defectctl.loading.augment import Augment
from defectctl.loading.batch import Batch
from defectctl.loading.pictures import PictureStore
from defectctl.loading.prefetch import prefetch
from defectctl.loading.rows import Row, RowLoader
from defectctl.loading.samplers import epoch_batches

AHEAD = 3
"""Batches loaded ahead; each holds all its decoded images, so these are few."""

MASKS = frozenset({"masks"})


class TrainBatches:
    """The training part as a sequence of batches.

    Args:
        dataset, samples: the training part.
        pictures: where decoded images come from.
        preset: its `input`, `augment`, `train.batch_size`, `train.crops` and `predict.min_area` are read.
        device: where batches are put together.
        sampler: see `loading.samplers`.
        seed: of order and augmentation.
        threads: that decode, crop and paste ahead.
        needs: the truths that the losses learn from, of `masks`, `boxes` and `labels`. Image labels are always told.
            Without `masks` a batch's masks are unknown throughout, without `boxes` it has none and knows none.

    Raises:
        InputError: the augmentation or the crops need a truth that is not among `needs`, or the sampler needs labels
            that the data lack.
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
        needs: frozenset[str] = MASKS,
    ) -> None:
        self.samples = list(samples)
        self.input, self.device, self.sampler, self.seed, self.threads = preset.input, device, sampler, seed, threads
        self.batch_size = preset.train.batch_size
        self._augment = Augment(preset.augment, reflect="boxes" not in needs)
        self._rows = RowLoader(dataset, self.samples, pictures, preset, needs, threads)
        self._states = [-1] * len(self.samples)
        self._kinds: list[frozenset[int]] = [frozenset()] * len(self.samples)
        if sampler != "shuffle":
            self._states = [found.state for found in self._rows.labels]
            self._kinds = [found.kinds for found in self._rows.labels]
        self.steps = len(self._order(0))
        """Updates in an epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from step `start` on; the same for the same (seed, epoch, step), always."""

        def load(item: tuple[int, list[int]]) -> tuple[int, list[Row]]:
            step, indices = item
            draws = [np.random.default_rng([self.seed, epoch, step, row, 1]) for row in range(len(indices))]
            return step, [self._rows.load(index, own) for index, own in zip(indices, draws, strict=True)]

        steps = list(enumerate(self._order(epoch)))[start:]
        for step, rows in prefetch(steps, load, self.threads, depth=AHEAD):
            state = np.random.SeedSequence([self.seed, epoch, step]).generate_state(1)
            generator = torch.Generator().manual_seed(int(state[0]))
            yield assemble(rows, self.input, self._augment, self.device, generator)

    def _order(self, epoch: int) -> list[list[int]]:
        return epoch_batches(self.sampler, self.batch_size, self.seed, epoch, self._kinds, self._states)
