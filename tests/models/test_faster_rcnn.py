"""Faster R-CNN: torchvision's count, losses and boxes; images whose boxes are not known teach nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torchvision.models.detection import FasterRCNN as TheirFasterRCNN
from torchvision.models.detection.image_list import ImageList

from defectctl.models.faster_rcnn import FasterRCNN
from defectctl.models.output import Output

NAMES = ("rpn_objectness", "rpn_box", "roi_class", "roi_box")
SIZE = (64, 128)


@pytest.fixture
def model() -> FasterRCNN:
    torch.manual_seed(0)
    model = FasterRCNN(2, backbone="resnet18")
    model.detection["rpn"]._post_nms_top_n = {"training": 300, "testing": 50}  # quicker
    return model


class NoTransform(torch.nn.Module):
    """In the place of torchvision's own resizing and normalising, which the rest of this program does."""

    def forward(self, images, targets=None):
        return ImageList(torch.stack(images), [tuple(image.shape[1:]) for image in images]), targets

    def postprocess(self, result, sizes, originals):
        return result


def reference(model: FasterRCNN) -> TheirFasterRCNN:
    """torchvision's detector around the very same modules."""
    theirs = TheirFasterRCNN(model.encoder, num_classes=3)
    theirs.rpn, theirs.roi_heads, theirs.transform = model.detection["rpn"], model.detection["roi"], NoTransform()
    return theirs


def truth(count: int = 2) -> SimpleNamespace:
    torch.manual_seed(1)
    boxes = [torch.tensor([[8.0, 8.0, 40.0, 40.0], [60.0, 10.0, 110.0, 60.0]]), torch.zeros(0, 4)]
    labels = [torch.tensor([1, 2]), torch.zeros(0, dtype=torch.int64)]
    known = torch.ones(count, 3, dtype=torch.bool)
    images = torch.rand(count, 3, *SIZE)
    return SimpleNamespace(images=images, boxes=boxes[:count], box_labels=labels[:count], known_boxes=known)


def test_published_size():
    """torchvision documents 41,755,286 for 91 classes, batch norm frozen: 53,120 weights of it train here."""
    with torch.device("meta"):
        model = FasterRCNN(6)
    smaller = (5 * 91 - 5 * 7) * (1024 + 1)
    assert sum(p.numel() for p in model.parameters()) == 41_755_286 - smaller + 53_120
    assert all(p.requires_grad for p in model.parameters())


def test_losses_equal_torchvisions(model):
    targets = truth()
    model.train()
    listed = [{"boxes": b, "labels": i} for b, i in zip(targets.boxes, targets.box_labels, strict=True)]
    detector = reference(model).train()
    torch.manual_seed(3)
    theirs = detector(list(targets.images), listed)
    torch.manual_seed(3)
    ours = model.losses(model(targets.images), targets)
    assert tuple(ours) == NAMES
    order = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg")
    for mine, expected in zip(ours.values(), (theirs[key] for key in order), strict=True):
        torch.testing.assert_close(mine, expected)
    assert all(value.item() > 0 for value in ours.values())


def test_boxes_equal_torchvisions(model):
    images = truth().images
    model.eval()
    with torch.no_grad():
        theirs = reference(model).eval()(list(images))
        ours = model.decode(model(images))
    for mine, expected in zip(ours, theirs, strict=True):
        assert len(mine.scores) > 0
        torch.testing.assert_close(mine.boxes, expected["boxes"])
        torch.testing.assert_close(mine.scores, expected["scores"])
        assert torch.equal(mine.labels, expected["labels"])


def test_the_gradient_of_a_stage_reaches_pyramid_and_both_stages(model):
    targets = truth(1)
    sum(model.train().losses(model(targets.images), targets).values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_an_image_that_is_not_known_for_every_class_teaches_nothing(model):
    targets = truth()
    model.train()
    output = model(targets.images)
    leaves = [tensor.detach().requires_grad_() for tensor in output.detections]
    targets.known_boxes[1, 2] = False
    sum(model.losses(Output(detections=leaves), targets).values()).backward()
    assert all(not leaf.grad[1].any() for leaf in leaves)
    assert any(leaf.grad[0].any() for leaf in leaves)


def test_nothing_known_is_zero_and_still_in_the_graph(model):
    targets = truth()
    targets.known_boxes[:] = False
    losses = model.train().losses(model(targets.images), targets)
    assert all(value.item() == 0 and value.requires_grad and value.dtype == torch.float32 for value in losses.values())
    sum(losses.values()).backward()


def test_good_images_and_boxes_without_area_give_finite_losses(model):
    targets = truth()
    targets.boxes = [torch.tensor([[5.0, 5.0, 5.0, 30.0]]), torch.zeros(0, 4)]
    targets.box_labels[0] = torch.tensor([1])
    losses = model.train().losses(model(targets.images), targets)
    assert all(value.isfinite() for value in losses.values())
    assert losses["rpn_box"].item() == losses["roi_box"].item() == 0


def test_any_size_and_grey_images(model):
    grey = FasterRCNN(1, 1, backbone="resnet18").eval()
    with torch.no_grad():
        output = grey(torch.rand(1, 1, 75, 33))
        assert [tuple(tensor.shape[2:]) for tensor in output.detections[4:9]] == [
            (32, 16), (16, 8), (8, 4), (4, 2), (2, 1)
        ]  # fmt: skip
        found = grey.decode(output)[0]
    assert (found.boxes >= 0).all() and (found.boxes <= torch.tensor([64, 128, 64, 128])).all()


def test_decodes_with_weights_in_half_precision(model):
    images = truth().images
    with torch.no_grad():
        output = model.eval()(images)
        exact = model.decode(output)[0]
        for module in model.modules():
            if isinstance(module, torch.nn.Linear):
                module.to(torch.bfloat16)
        rough = model.decode(output)[0]
    assert rough.scores.dtype == rough.boxes.dtype == torch.float32
    torch.testing.assert_close(rough.scores[0], exact.scores[0], rtol=0.05, atol=0.01)


def test_imagenet_weights_fit_by_name(monkeypatch):
    from torchvision.models import ResNet18_Weights, resnet18

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", lambda self, **_: resnet18().state_dict())
    model = FasterRCNN(1, backbone="resnet18")
    state, own = model.pretrained_encoder(), model.encoder.state_dict()
    assert set(state) == {key for key in own if key.startswith("body.")}
    assert all(state[key].shape == own[key].shape for key in state)
