"""Every network of the catalogue, in its smallest form, learns four made images by heart."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from small_models import SMALL, classes_of
from torch.nn import functional

from defectctl.imaging.boxes import box_iou
from defectctl.models.catalogue import REGISTRY
from defectctl.models.registry import build_model

SIDE, MOST_STEPS, LOOK_EVERY = 64, 240, 20
RATES = {"unet": 1e-2, "unet-cbam": 1e-2, "segnet": 1e-2, "segformer": 1e-3, "upernet": 1e-3, "faster-rcnn": 1e-3}
QUICK = ("unet", "unet-cbam", "segnet", "segformer", "hrnet", "yolov5s", "resnet18")
"""Learn within about three seconds; the others take up to a minute and are left to `-m slow`."""
FORMS = {**SMALL, "segdecnet": {"width": 0.25}}


def made_images(classes: int):
    """Four noisy images; three show a bright square of one class, on a grid of 16 pixels so that no stride blurs it."""
    generator = torch.Generator().manual_seed(0)
    images = 0.3 * torch.rand(4, 3, SIDE, SIDE, generator=generator)
    masks = torch.zeros(4, SIDE, SIDE, dtype=torch.int64)
    boxes, labels = [], []
    for row, (top, left) in enumerate([(0, 16), (16, 32), (32, 0)]):
        label = row % classes + 1
        masks[row, top : top + 32, left : left + 32] = label
        images[row, row, top : top + 32, left : left + 32] += 0.6
        boxes.append(torch.tensor([[left, top, left + 32.0, top + 32.0]]))
        labels.append(torch.tensor([label]))
    boxes.append(torch.zeros(0, 4))
    labels.append(torch.zeros(0, dtype=torch.int64))
    known = torch.ones(4, 1 + classes, dtype=torch.bool)
    return SimpleNamespace(images=images, masks=masks, boxes=boxes, box_labels=labels, known_boxes=known)


def loss_of(model, truth) -> torch.Tensor:
    output = model(truth.images)
    total = torch.zeros(())
    if output.mask_logits is not None:
        logits = functional.interpolate(output.mask_logits, size=(SIDE, SIDE), mode="bilinear")
        total = total + functional.cross_entropy(logits, truth.masks)
    if output.image_logit is not None:
        defective = truth.masks.amax((1, 2)).clamp_max(1).float()
        total = total + functional.binary_cross_entropy_with_logits(output.image_logit, defective)
    if output.detections is not None:
        own = model.losses(output, truth)
        total = total + sum(own.values()) * (4 if "objectness" in own else 1)
    return total


def knows(model, truth) -> bool:
    """Whether every head tells what is in the images, with the batch's own statistics.

    Batch norm's running statistics of so few and small images are far from them.
    """
    with torch.no_grad():
        output = model(truth.images)
        boxes = model.decode(output) if output.detections is not None else []
    right = []
    if output.mask_logits is not None:
        found = output.mask_logits.argmax(1)
        step = SIDE // found.shape[1]
        true = truth.masks[:, step // 2 :: step, step // 2 :: step]
        union = ((found > 0) | (true > 0)).sum()
        right.append(((found == true) & (true > 0)).sum() / union > 0.95)
    if output.image_logit is not None:
        right.append((output.image_logit[:3] > 0).all() and output.image_logit[3] < 0)
    for found, box, label in zip(boxes[:3], truth.boxes, truth.box_labels, strict=False):
        if not len(found.scores):
            return False
        best = int(found.scores.argmax())
        near = box_iou(found.boxes[best : best + 1].numpy(), box.numpy())[0, 0] > 0.7
        right.append(near and found.labels[best] == label[0])
    return all(right)


def cases():
    """Every network but Faster R-CNN, whose own test shows it learning."""
    for name in REGISTRY:
        marks = [] if name in QUICK else [pytest.mark.slow]
        if name == "segdecnet":
            marks.append(pytest.mark.xfail(reason="IoU 0.92 after 160 steps; learns eight real images"))
        if name != "faster-rcnn":
            yield pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", list(cases()))
def test_four_images_by_heart(name):
    torch.manual_seed(0)
    model = build_model(SimpleNamespace(name=name, weights="none", options=FORMS.get(name, {})), classes_of(name), 3)
    truth = made_images(classes_of(name))
    optimiser = torch.optim.Adam(model.parameters(), lr=RATES.get(name, 3e-3))
    model.train()
    for step in range(MOST_STEPS):
        if step % LOOK_EVERY == 0 and knows(model, truth):
            return
        optimiser.zero_grad()
        loss_of(model, truth).backward()
        optimiser.step()
    assert knows(model, truth)
