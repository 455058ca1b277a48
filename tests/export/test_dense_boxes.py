"""The decoding that goes into a graph against the network's own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from small_models import SMALL

from defectctl.errors import InputError
from defectctl.export.dense_boxes import box_decoder
from defectctl.models.catalogue import REGISTRY
from defectctl.models.output import Output
from defectctl.models.registry import build_model


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("name", ["yolov5s", "multitask"])
def test_candidates_are_those_of_the_network(name: str, classes: int) -> None:
    model = build_model(SimpleNamespace(name=name, weights="none", options=SMALL[name]), classes).eval()
    random = torch.Generator().manual_seed(0)
    sides = ((8, 12), (4, 6), (2, 3))
    output = Output(detections=[torch.randn(2, 3 * (5 + classes), *side, generator=random) * 2 for side in sides])
    boxes, scores, labels = box_decoder(name)(model, output)
    for number, found in enumerate(model.decode(output)):
        count = len(found.scores)
        assert count > 100
        assert torch.equal(scores[number, :count], found.scores) and (scores[number, count:] <= 0.001).all()
        assert torch.equal(boxes[number, :count], found.boxes)
        assert torch.equal(labels[number, :count], found.labels)


def test_every_detector_has_a_decoder() -> None:
    for name, entry in REGISTRY.items():
        if "detection" in entry.tasks:
            assert box_decoder(name)
    with pytest.raises(InputError, match="cannot be exported"):
        box_decoder("unet")
