"""The multi-task network and YOLOv5: published sizes, strides, heads, and whether it learns to find boxes."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from defectctl.errors import InputError
from defectctl.imaging.boxes import box_iou, nms
from defectctl.models.blocks.edge_padding import pad_to_multiple
from defectctl.models.multitask.encoder import scaled_depths, scaled_widths
from defectctl.models.multitask.network import ANCHORS_640, Multitask, YoloV5
from defectctl.training.anchors import ANCHORS_640 as ANCHOR_ROWS


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("classes", "expected"), [(80, 7_235_389), (6, 7_035_811), (3, 7_027_720)])
def test_yolov5s_has_the_official_number_of_parameters(classes, expected):
    with torch.device("meta"):
        assert count(YoloV5(classes)) == expected


@pytest.mark.parametrize(("classes", "expected"), [(80, 16.6), (6, 16.0)])
def test_yolov5s_has_the_official_operations(classes, expected, giga_macs):
    assert 2 * giga_macs(lambda: YoloV5(classes), 1, 3, 640, 640) == pytest.approx(expected, abs=0.05)


def test_official_widths_and_depths():
    """YOLOv5's table of sizes: n, s, m, l, x."""
    assert scaled_widths(0.5) == (32, 64, 128, 256, 512) and scaled_depths(0.33) == (1, 2, 3, 1)
    assert scaled_widths(0.25) == (16, 32, 64, 128, 256)
    assert scaled_widths(0.75) == (48, 96, 192, 384, 768) and scaled_depths(0.67) == (2, 4, 6, 2)
    assert scaled_widths(1.25) == (80, 160, 320, 640, 1280) and scaled_depths(1.33) == (4, 8, 12, 4)


def test_multitask_size():
    """8.86 M with six classes; the heads of the deep supervision, which exist in training only, come on top."""
    with torch.device("meta"):
        model = Multitask(6)
        plain = Multitask(6, deep_supervision=False)
    heads = count(model.segmentation["auxiliary"])
    assert heads == 7 * (128 + 256 + 512 + 3)
    assert count(model) - heads == count(plain)
    assert count(plain) / 1e6 == pytest.approx(8.86, abs=0.005)
    assert count(plain.encoder) + count(plain.detection) == 7_035_811


def test_anchors_are_those_that_a_training_scales():
    assert tuple(number for row in ANCHOR_ROWS for number in row) == ANCHORS_640


@pytest.mark.parametrize("anchors", [[1.0] * 17, [0.0] * 18, "none"])
def test_wrong_anchors_are_refused(anchors):
    with pytest.raises(InputError, match=r"model\.anchors"):
        YoloV5(1, width=0.125, anchors=anchors)


def tiny(**options) -> Multitask:
    torch.manual_seed(0)
    return Multitask(2, width=0.125, depth=0.1, **options)


def test_shapes_at_an_odd_size():
    """70 x 101 is padded to 96 x 128."""
    model = tiny()
    output = model(torch.rand(2, 3, 70, 101))
    assert [level.shape for level in output.detections] == [(2, 21, 12, 16), (2, 21, 6, 8), (2, 21, 3, 4)]
    assert output.mask_logits.shape == (2, 3, 18, 26)
    shapes = {name: tuple(logits.shape) for name, logits in output.auxiliary.items()}
    assert shapes == {"f3": (2, 3, 9, 13), "n4": (2, 3, 5, 7), "n5": (2, 3, 3, 4)}
    assert model.eval()(torch.rand(1, 3, 70, 101)).auxiliary == {}
    assert tiny(deep_supervision=False)(torch.rand(2, 3, 64, 64)).auxiliary == {}


def test_padding_is_the_edge_repeated():
    model = tiny().eval()
    images = torch.rand(1, 3, 60, 50)
    with torch.no_grad():
        odd, even = model(images), model(pad_to_multiple(images, 32))
    assert torch.equal(odd.mask_logits, even.mask_logits[:, :, :15, :13])
    assert all(torch.equal(a, b) for a, b in zip(odd.detections, even.detections, strict=True))


@pytest.mark.parametrize("context", ["ddwaspp", "dwaspp", "denseaspp", "aspp", "none"])
@pytest.mark.parametrize(("decoder", "stride"), [("resdwab", 4), ("v3plus", 4), ("ushape", 4), ("none", 8)])
def test_alternatives_of_the_decoder(context, decoder, stride):
    model = tiny(context=context, decoder=decoder, blocks=1)
    output = model(torch.rand(2, 3, 64, 75))
    assert output.mask_logits.shape == (2, 3, 64 // stride, math.ceil(75 / stride))
    output.mask_logits.sum().backward()
    decoder_parameters = model.segmentation["decoder"].parameters()
    assert all(parameter.grad is not None for parameter in decoder_parameters)


def test_decoders_cost_what_they_say():
    """One resDWAB of 64 channels is 79,488 weights; DeepLabV3+'s decoder is the paper's with none."""
    with torch.device("meta"):
        sizes = {blocks: count(Multitask(6, blocks=blocks)) for blocks in range(6)}
        assert count(Multitask(6, decoder="v3plus")) == sizes[0]
    assert {sizes[n + 1] - sizes[n] for n in range(5)} == {79_488}


def test_heads_start_with_few_objects_and_even_classes():
    """8 objects in 640 x 640: sigmoid is about 8 / 6400, 8 / 1600 and 8 / 400 at the three strides; classes .6 / 5."""
    model = YoloV5(6, width=0.125)
    for head, cells in zip(model.detection.heads, (6400, 1600, 400), strict=True):
        bias = head.bias.detach().view(3, 11)
        torch.testing.assert_close(bias[:, 4].exp(), torch.full((3,), 8 / cells))
        torch.testing.assert_close(bias[:, 5:].exp(), torch.full((3, 6), 0.12))


def test_bf16_training_pass_is_finite_with_float32_losses():
    model = tiny()
    target = SimpleNamespace(
        images=torch.rand(2, 3, 64, 64),
        boxes=[torch.tensor([[8.0, 8, 40, 40]]), torch.zeros(0, 4)],
        box_labels=[torch.tensor([2]), torch.zeros(0, dtype=torch.int64)],
        known_boxes=torch.ones(2, 3, dtype=torch.bool),
    )
    with torch.autocast("cpu", torch.bfloat16):
        output = model(target.images)
        losses = model.losses(output, target)
    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())
    (sum(losses.values()) + output.mask_logits.float().mean()).backward()
    grads = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert all(grad.isfinite().all() for grad in grads)


def test_anchors_survive_a_cast_to_half_precision():
    model = YoloV5(1, width=0.125, anchors=[373.7] * 18).bfloat16()
    assert model._anchors_on(torch.device("cpu")).unique().item() == pytest.approx(373.7)


def scene(size: int = 64) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """Three images with bright (class 1) and dark (class 2) rectangles on grey."""
    boxes = [[[6, 6, 26, 20], [36, 30, 58, 56]], [[10, 34, 40, 58]], [[30, 4, 44, 30], [4, 40, 24, 60]]]
    labels = [[1, 2], [2], [1, 1]]
    images = torch.full((3, 3, size, size), 0.5)
    for image, found, kinds in zip(images, boxes, labels, strict=True):
        for (x1, y1, x2, y2), kind in zip(found, kinds, strict=True):
            image[:, y1:y2, x1:x2] = 1.0 if kind == 1 else 0.0
    return images, [torch.tensor(found).float() for found in boxes], [torch.tensor(kinds) for kinds in labels]


def test_it_learns_boxes_and_classes_by_heart():
    """Read with the statistics of the batch, as it was trained: on twelve values a channel, those that batch norm keeps
    (the unbiased variance) are 9 % larger at every deep layer, which has nothing to do with the detector."""
    torch.manual_seed(0)
    images, boxes, labels = scene()
    anchors = [number / 10 for number in ANCHORS_640]  # for a tenth of 640 px
    model = YoloV5(2, anchors=anchors, width=0.125, depth=0.1)
    target = SimpleNamespace(
        images=images, boxes=boxes, box_labels=labels, known_boxes=torch.ones(3, 3, dtype=torch.bool)
    )
    weights = {"box": 32, "objectness": 300, "class": 32}  # the gain of objectness is small at a tenth of 640 px
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        losses = model.losses(model(images), target)
        optimiser.zero_grad()
        sum(weights[name] * value for name, value in losses.items()).backward()
        optimiser.step()
    with torch.no_grad():
        found = model.decode(model(images))
    for true, kinds, guess in zip(boxes, labels, found, strict=True):
        keep = nms(guess.boxes.numpy(), guess.scores.numpy(), 0.5, guess.labels.numpy(), most=len(true))
        overlap = box_iou(true.numpy(), guess.boxes[keep].numpy())
        assert (overlap.max(axis=1) > 0.7).all()
        assert torch.equal(guess.labels[keep][overlap.argmax(axis=1)], kinds)
