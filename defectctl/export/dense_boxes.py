"""Box decoding whose sizes do not depend on what is seen, as a graph needs it; the scores then say what counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from defectctl.errors import InputError
from defectctl.models.multitask.decoding import MOST_CANDIDATES, split_anchors, to_corners
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
    corners, scores = [], []
    for level, sizes, stride in zip(output.detections, anchors, STRIDES, strict=True):
        raw = split_anchors(level)
        rows, columns = (torch.arange(side) for side in raw.shape[2:4])
        cells = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
        corners.append(to_corners(raw[..., :4], cells, sizes[:, None, None], stride).flatten(1, 3))
        score = raw[..., 4:5].sigmoid()
        scores.append((score * raw[..., 5:].sigmoid() if raw.shape[-1] > 6 else score).flatten(1, 3))
    by_class = torch.cat(scores, dim=1)
    classes = by_class.shape[2]
    best, index = by_class.flatten(1).topk(min(MOST_CANDIDATES, by_class[0].numel()))
    places = torch.cat(corners, dim=1).gather(1, (index // classes).unsqueeze(2).expand(-1, -1, 4))
    return [places, best, index % classes + 1]


def _of_one_image(model: nn.Module, output: Output) -> list[Tensor]:
    """The model's own decoding, with the image as first dimension."""
    found = model.decode(output)[0]
    return [found.boxes[None], found.scores[None], found.labels[None]]


_DECODERS = {
    "multitask": BoxDecoder(_by_anchors),
    "yolov5s": BoxDecoder(_by_anchors),
    "faster-rcnn": BoxDecoder(_of_one_image, one_image=True),
}
