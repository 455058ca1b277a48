"""What a training loop works with and does not make itself: batches, validation, the saver, the run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from defectctl.loading.batch import Batch
from defectctl.training.validation import Validation


class Batches(Protocol):
    """What the loop needs of `loading.TrainBatches`."""

    steps: int

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on, a pure function of epoch and step."""


Validate = Callable[[nn.Module, str, Callable[[int], None]], Validation]
"""`(model, precision, progress) -> Validation`."""
SaveModel = Callable[[dict[str, Tensor], dict[str, Any]], None]
"""`(state_dict, {epoch, metric, value, seed, updates})`: writes the best checkpoint, atomically."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a training works with, made by `launch` (or by a test).

    Attributes:
        batches: per sampler that the stages name.
        run: the run folder.
        classes: number of defect classes.
        images: validation images.
        own_losses: names of the losses that the model computes itself.
    """

    batches: Mapping[str, Batches]
    validate: Validate
    save_model: SaveModel
    run: Path
    device: torch.device
    precision: str
    classes: int
    images: int = 0
    quiet: bool = False
    own_losses: tuple[str, ...] = ()
