"""Image-level losses: values by hand, signs, unknown labels, and where the two weak losses balance."""

from __future__ import annotations

import math

import pytest
import torch

from defectctl.errors import InputError
from defectctl.models.output import Output, two_class
from defectctl.training.image_losses import IMAGE_LOSSES, image_bce, weak_defective, weak_good


def output_of(*shares: list[float], grad: bool = False) -> tuple[Output, torch.Tensor]:
    """One image of 1 x len cells a list, with these defect probabilities; the logits beside."""
    logit = torch.tensor(shares).logit()[:, None, None].requires_grad_(grad)
    return Output(two_class(logit), image_logit=logit.mean(dim=(1, 2, 3))), logit


def test_image_bce_by_hand():
    three = math.log(3)  # sigmoid is 3/4
    output = Output(image_logit=torch.tensor([three, three, -three, 50.0]))
    labels = torch.tensor([1, 0, 1, -1])
    terms = -math.log(0.75), -math.log(0.25), -math.log(0.25)
    assert image_bce(output, labels).item() == pytest.approx(sum(terms) / 3, rel=1e-6)
    weighed = (2 * terms[0] + terms[1] + 2 * terms[2]) / 3
    assert image_bce(output, labels, pos_weight=2.0).item() == pytest.approx(weighed, rel=1e-6)


def test_weak_losses_by_hand():
    output, _ = output_of([0.2, 0.8], [0.1, 0.3], [0.9, 0.9], [0.1, 0.1])  # Q = .5 .2 .9 .1
    assert weak_defective(output, torch.tensor([1, 0, 0, -1])).item() == pytest.approx(-math.log(2), rel=1e-6)
    entropy = 0.2 * math.log(0.2) + 0.8 * math.log(0.8)
    found = weak_defective(output, torch.tensor([1, 1, 0, -1])).item()
    assert found == pytest.approx((entropy - math.log(2)) / 2, rel=1e-6)
    good = weak_good(output, torch.tensor([1, 0, 0, -1])).item()
    assert good == pytest.approx(-(math.log(0.8) + math.log(0.1)) / 2, rel=1e-5)


def test_weak_losses_of_several_classes_take_any_defect():
    logits = torch.tensor([0.5, 0.3, 0.2]).log().view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert weak_good(Output(logits), torch.tensor([0])).item() == pytest.approx(math.log(2), rel=1e-6)


def test_signs_of_the_gradients():
    for share, label, loss, rises in (
        (0.2, 0, weak_good, False),
        (0.2, 1, weak_defective, True),  # below a half, a defective image is to light up
        (0.8, 1, weak_defective, False),
    ):
        output, logit = output_of([share, share], grad=True)
        loss(output, torch.tensor([label])).backward()
        assert ((logit.grad < 0) if rises else (logit.grad > 0)).all()


@pytest.mark.parametrize("alpha", [4.0, 8.0])
def test_shared_features_settle_near_sigmoid_of_minus_alpha(alpha):
    def push(z: float) -> float:
        logit = torch.full((2, 1, 2, 2), z, dtype=torch.float32, requires_grad=True)
        output, labels = Output(two_class(logit)), torch.tensor([0, 1])
        (alpha * weak_good(output, labels) + weak_defective(output, labels)).backward()
        return logit.grad.sum().item()

    low, high = -12.0, 0.0
    assert push(low) < 0 < push(high)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if push(middle) < 0 else (low, middle)
    assert 1 / (1 + math.exp(-low)) == pytest.approx({4.0: 1.8e-2, 8.0: 3.4e-4}[alpha], rel=0.1)


@pytest.mark.parametrize("name", IMAGE_LOSSES)
def test_unknown_labels_teach_nothing_and_extremes_stay_finite(name):
    for value in (-80.0, 0.3, 80.0):
        logit = torch.full((2, 1, 2, 2), value, requires_grad=True)
        output = Output(two_class(logit), image_logit=logit.mean(dim=(1, 2, 3)))
        loss = IMAGE_LOSSES[name](output, torch.tensor([-1, -1]))
        loss.backward()
        assert loss.item() == 0 and not logit.grad.any()
        known = IMAGE_LOSSES[name](output, torch.tensor([0, 1]))
        assert known.isfinite() and torch.autograd.grad(known, logit)[0].isfinite().all()


def test_half_precision_outputs_are_judged_in_float32():
    output = Output(torch.zeros(1, 2, 300, 300, dtype=torch.float16), image_logit=torch.zeros(1, dtype=torch.float16))
    values = [IMAGE_LOSSES[name](output, torch.tensor([1])) for name in ("image_bce", "weak_defective")]
    assert [v.dtype for v in values] == [torch.float32] * 2
    assert [v.item() for v in values] == pytest.approx([math.log(2), -math.log(2)], rel=1e-5)


@pytest.mark.parametrize("name", IMAGE_LOSSES)
def test_a_model_without_the_output_is_named(name):
    with pytest.raises(InputError, match=f"'{name}' cannot be used: this model"):
        IMAGE_LOSSES[name](Output(), torch.tensor([1]))


def test_a_silent_network_still_gets_a_gradient():
    """At Q = 1e-12, far below the clamp, the defective image's loss still pulls upwards."""
    logits = torch.full((1, 1, 4, 4), -27.6, requires_grad=True)
    weak_defective(Output(mask_logits=two_class(logits)), torch.tensor([1])).backward()
    assert (logits.grad < 0).all()
