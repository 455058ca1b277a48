"""What every runner offers the pipeline: pictures in, maps out, in batches that the memory holds. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from defectctl.config.schema import InputConfig, PredictConfig
from defectctl.errors import RunError
from defectctl.imaging.geometry import Geometry
from defectctl.inference.detections import FoundBoxes, candidates, choose
from defectctl.inference.device import Place, default_batch_size
from defectctl.inference.maps import Maps
from defectctl.messages import warn

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from defectctl.models.output import Boxes


@dataclass(slots=True)
class RawOutput:
    """What a network says of a batch of its inputs, float32; tensors or arrays, as the runner has them.

    Attributes:
        logits: `(N, 1 + classes, h, w)`, or None.
        probabilities: `(N,)` of "this part is defective", or None.
        boxes: per input, in network pixels, before non-maximum suppression, or None.
    """

    logits: Tensor | np.ndarray | None
    probabilities: Tensor | np.ndarray | None
    boxes: Sequence[Boxes | FoundBoxes] | None


class Runner(ABC):
    """A network with the input geometry it was trained for.

    Args:
        input: size, mode, colour and normalisation of the network's input.
        device: where it computes.
        predict: activation, overlap of boxes, and, with `input.mode: tile`, how many tiles go at once; None: the
            defaults.
        pixel_threshold: P(defect), 0..1, from which a pixel is a defect, as in `maps.decide`; None: the most probable
            class. The attribute of this name may be set between calls.

    Attributes:
        precision: `float32`, `bf16` or `fp16`, in which it computes.
    """

    precision: str

    def __init__(
        self,
        input: InputConfig,
        device: torch.device | Place,
        predict: PredictConfig | None = None,
        pixel_threshold: float | None = None,
    ) -> None:
        self.input = input
        self.device = device
        self.predict = predict or PredictConfig()
        self.pixel_threshold = pixel_threshold
        self._largest_batch: int | None = None

    def maps(self, pictures: list[np.ndarray]) -> list[Maps]:
        """Predict pictures, `(H, W)` or `(H, W, 3)`, uint8 or uint16, sizes may differ.

        Where the device's memory does not hold the batch (of pictures, or of tiles) it is halved, with a warning, and
        stays so.

        Raises:
            RunError: not even a single picture fits.
        """
        tiled = self.input.mode == "tile"
        at_once = (self.predict.batch_size or default_batch_size(self.device)) if tiled else len(pictures)
        results: list[Maps] = []
        while len(results) < len(pictures):
            size = min(at_once, self._largest_batch or at_once)
            left = pictures[len(results) :]
            try:
                results += self._tiles(left, size) if tiled else self._batch(left[:size])
            except Exception as error:
                if not self._memory_is_full(error):
                    raise
                self._halve(size if tiled else min(size, len(left)), error, "tiles" if tiled else "pictures")
        return results

    def _halve(self, size: int, error: Exception, what: str) -> None:
        if size <= 1:
            raise RunError(
                f"the memory of {self.device} does not hold a single picture; use a smaller picture or another --device"
            ) from error
        self._largest_batch = size // 2
        warn(f"out of memory on {self.device} with {size} {what} at once; going on with {self._largest_batch}")
        self._free_memory()

    @abstractmethod
    def _batch(self, pictures: list[np.ndarray]) -> list[Maps]:
        """Predict pictures in one pass."""

    @abstractmethod
    def _tiles(self, pictures: list[np.ndarray], at_once: int) -> list[Maps]:
        """Predict pictures by tiles."""

    @abstractmethod
    def _memory_is_full(self, error: Exception) -> bool:
        """Whether the error says that the memory was full."""

    @abstractmethod
    def _free_memory(self) -> None:
        """Let go of what a failed pass has left behind."""


def chosen_boxes(
    found: Sequence[Boxes | FoundBoxes], geometries: Sequence[Geometry], overlap: float
) -> list[FoundBoxes]:
    """The boxes of each picture in its own pixels, after non-maximum suppression, from one network input each."""
    return [choose([candidates(raw, where)], overlap) for raw, where in zip(found, geometries, strict=True)]
