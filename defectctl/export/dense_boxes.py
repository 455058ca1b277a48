"""Box decoding whose sizes do not depend on what is seen, as a graph needs it; the scores then say what counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from defectctl.errors import InputError
from defectctl.models.multitask.decoding import best_candidates
from defectctl.models.multitask.detection import ANCHORS_PER_LEVEL, STRIDES
from defectctl.models.output import Output


@dataclass(frozen=True, slots=True)
class BoxDecoder:
    """How a detector's boxes are decoded in a graph.

    Attributes:
        decode: of a model and its output: boxes `(N, M, 4)` float32 `xyxy` in network pixels, scores `(N, M)` and
            labels `(N, M)` int64.
        one_image: whether the graph takes one image at a time, since how much it computes depends on what it sees.
    """

    decode: Callable[[nn.Module, Output], list[Tensor]]
    one_image: bool = False

    def __call__(self, model: nn.Module, output: Output) -> list[Tensor]:
        return self.decode(model, output)


def box_decoder(name: str) -> BoxDecoder:
    """The decoder of the registry's model `name`.

    Raises:
        InputError: its boxes cannot be exported.
    """
    if name not in _DECODERS:
        raise InputError(f"the boxes of model '{name}' cannot be exported; models that can: {', '.join(_DECODERS)}")
    return _DECODERS[name]


def _by_anchors(model: nn.Module, output: Output) -> list[Tensor]:
    """The best candidates of every image, `models.multitask.decoding.decode` without its least score."""
    assert output.detections is not None
    anchors = torch.tensor(model.anchors).view(len(STRIDES), ANCHORS_PER_LEVEL, 2)
    places, best, index, classes = best_candidates(list(output.detections), anchors)
    chosen = places.gather(1, (index // classes).unsqueeze(2).expand(-1, -1, 4))
    return [chosen, best, index % classes + 1]


def _of_one_image(model: nn.Module, output: Output) -> list[Tensor]:
    """The model's own decoding, with the image as first dimension."""
    found = model.decode(output)[0]
    return [found.boxes[None], found.scores[None], found.labels[None]]


_DECODERS = {
    "multitask": BoxDecoder(_by_anchors),
    "yolov5s": BoxDecoder(_by_anchors),
    "faster-rcnn": BoxDecoder(_of_one_image, one_image=True),
}
