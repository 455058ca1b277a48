"""Pixel losses against numbers worked by hand, torch and smp; unknown pixels and classes are left out."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from defectctl.errors import InputError
from defectctl.imaging.geometry import Geometry
from defectctl.loading.batch import Batch
from defectctl.models.output import Output
from defectctl.training.dynamic_threshold import DynamicThreshold
from defectctl.training.image_losses import IMAGE_LOSSES
from defectctl.training.loss_names import LOSS_NEEDS, LOSS_OPTIONS, check_losses, needs_of
from defectctl.training.losses import Criterion
from defectctl.training.pixel_losses import (
    PIXEL_LOSSES,
    PixelTruth,
    binary_cross_entropy,
    cross_entropy,
    dice,
    focal,
    lovasz,
    merge_unknown,
    tversky,
)


def make_batch(masks: torch.Tensor, classes: int, known: torch.Tensor | None = None) -> Batch:
    count, height, width = masks.shape
    known = torch.ones(count, 1 + classes, dtype=torch.bool) if known is None else known
    return Batch(
        torch.zeros(count, 1, height, width),
        masks.to(torch.uint8),
        known,
        torch.zeros(count, dtype=torch.int64),
        [torch.zeros(0, 4)] * count,
        [torch.zeros(0, dtype=torch.int64)] * count,
        known,
        [str(i) for i in range(count)],
        [Geometry.fit(width, height, height, width)] * count,
    )


def logits_of(*rows: list[float]) -> torch.Tensor:
    """One image of 1 x len(rows) pixels whose softmax is `rows`."""
    return torch.tensor(rows).log().T[None, :, None, :].contiguous()


def truth_of(mask: list[int], classes: int, known: list[bool] | None = None) -> PixelTruth:
    spoken = None if known is None else torch.tensor([known])
    return PixelTruth.of(make_batch(torch.tensor([[mask]]), classes, spoken))


def test_cross_entropy_is_the_mean_over_known_pixels():
    logits = logits_of([0.8, 0.2], [0.4, 0.6], [0.5, 0.5])
    value = cross_entropy(logits, truth_of([0, 1, 255], 1), None)
    assert value.item() == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2, rel=1e-6)


def test_cross_entropy_equals_torch_with_weights():
    logits, masks = torch.randn(2, 4, 5, 6), torch.randint(0, 4, (2, 5, 6))
    masks[0, 0, :3] = 255
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0])
    expected = F.cross_entropy(logits, masks, weight=weights, ignore_index=255)
    found = cross_entropy(logits, PixelTruth.of(make_batch(masks, 3)), weights)
    torch.testing.assert_close(found, expected)


def test_focal_by_hand():
    value = focal(logits_of([0.8, 0.2], [0.4, 0.6], [0.1, 0.9]), truth_of([0, 1, 255], 1), None)
    by_hand = (-0.5 * 0.2**2 * math.log(0.8) - 0.5 * 0.4**2 * math.log(0.6)) / 2
    assert value.item() == pytest.approx(by_hand, rel=1e-5)


def test_focal_with_gamma_zero_is_scaled_cross_entropy():
    logits, truth = torch.randn(1, 3, 4, 4), truth_of([0, 1, 2, 2], 2)
    logits = logits[:, :, :1]
    torch.testing.assert_close(focal(logits, truth, None, 0.25, 0.0), 0.25 * cross_entropy(logits, truth, None))


def test_dice_by_hand():
    # Pixels: truth 0 1 1; P(1) = .2 .6 .9; the fourth is unknown.
    logits = logits_of([0.8, 0.2], [0.4, 0.6], [0.1, 0.9], [0.5, 0.5])
    truth = truth_of([0, 1, 1, 255], 1)
    background = (2 * 0.8 + 1e-5) / (1.3 + 1 + 1e-5)
    defect = (2 * 1.5 + 1e-5) / (1.7 + 2 + 1e-5)
    assert dice(logits, truth, None).item() == pytest.approx(1 - (background + defect) / 2, rel=1e-5)
    assert dice(logits, truth, None, background=False).item() == pytest.approx(1 - defect, rel=1e-5)


def test_unknown_class_is_merged_with_background():
    # Class 2 is not known here: "background" is background or class 2, 0.5 + 0.3.
    logits = logits_of([0.5, 0.2, 0.3])
    truth = truth_of([0], 2, [True, True, False])
    assert cross_entropy(logits, truth, None).item() == pytest.approx(-math.log(0.8), rel=1e-5)
    score_background, score_one = (2 * 0.8 + 1e-5) / (1.8 + 1e-5), 1e-5 / (0.2 + 1e-5)
    assert dice(logits, truth, None).item() == pytest.approx(1 - (score_background + score_one) / 2, rel=1e-4)


def test_unknown_class_gets_the_same_gradient_as_background():
    logits = torch.zeros(1, 3, 1, 1, requires_grad=True)
    cross_entropy(logits, truth_of([0], 2, [True, True, False]), None).backward()
    gradient = logits.grad.flatten()
    assert gradient.isfinite().all()
    assert gradient[0] == gradient[2] and gradient[0] < 0 < gradient[1]


def test_a_mark_of_a_class_that_the_mask_does_not_speak_of_is_unknown():
    truth = truth_of([0, 2, 1], 2, [True, True, False])
    assert truth.valid.tolist() == [[[True, False, True]]]


@pytest.mark.parametrize("name", PIXEL_LOSSES)
def test_an_image_without_any_truth_teaches_nothing(name):
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    masks = torch.full((1, 2, 2), 255)
    truth = PixelTruth.of(make_batch(masks, 2, torch.zeros(1, 3, dtype=torch.bool)))
    value = PIXEL_LOSSES[name](logits, truth, None)
    value.backward()
    assert value.item() == 0 and logits.grad.abs().sum() == 0


@pytest.mark.parametrize("name", PIXEL_LOSSES)
def test_a_perfect_prediction_costs_nothing_and_gradients_are_finite(name):
    masks = torch.randint(0, 3, (2, 4, 4))
    logits = (F.one_hot(masks, 3).movedim(3, 1) * 120.0 - 60.0).requires_grad_()
    value = PIXEL_LOSSES[name](logits, PixelTruth.of(make_batch(masks, 2)), None)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-5) and logits.grad.isfinite().all()


def test_merging_changes_nothing_where_all_is_known():
    logits = torch.randn(2, 3, 2, 2)
    assert merge_unknown(logits, PixelTruth.of(make_batch(torch.zeros(2, 2, 2), 2))) is logits


def test_criterion_sums_weighted_terms_at_the_masks_size():
    masks, logits = torch.randint(0, 2, (2, 8, 8)), torch.randn(2, 2, 4, 4, dtype=torch.bfloat16)
    criterion = Criterion({"dice": {"background": False}}, None, 1)
    batch = make_batch(masks, 1)
    total, terms = criterion(Output(mask_logits=logits), batch, {"ce": 2.0, "dice": 0.5, "focal": 0.0})
    large = F.interpolate(logits.float(), size=(8, 8), mode="bilinear", align_corners=False)
    truth = PixelTruth.of(batch)
    expected = 2 * cross_entropy(large, truth, None) + 0.5 * dice(large, truth, None, background=False)
    torch.testing.assert_close(total, expected)
    assert total.dtype == torch.float32 and set(terms) == {"ce", "dice"}


def test_auxiliary_logits_have_their_own_term():
    masks = torch.randint(0, 2, (1, 4, 4))
    levels = {"a": torch.randn(1, 2, 2, 2), "b": torch.randn(1, 2, 4, 4)}
    criterion = Criterion({}, None, 1)
    total, _ = criterion(Output(torch.randn(1, 2, 4, 4), auxiliary=levels), make_batch(masks, 1), {"auxiliary.ce": 1})
    single = [criterion(Output(v), make_batch(masks, 1), {"ce": 1})[0] for v in levels.values()]
    torch.testing.assert_close(total, (single[0] + single[1]) / 2)
    with pytest.raises(InputError, match="returns no logits"):
        criterion(Output(torch.randn(1, 2, 4, 4)), make_batch(masks, 1), {"auxiliary.ce": 1})


def test_tversky_by_hand():
    # Pixels: truth 0 1 1; P(1) = .2 .6 .9. Defect: TP 1.5, FP .2, FN .5; background: TP .8, FP .5, FN .2.
    logits, truth = logits_of([0.8, 0.2], [0.4, 0.6], [0.1, 0.9], [0.5, 0.5]), truth_of([0, 1, 1, 255], 1)
    defect, background = 1 - 1.5 / (1.5 + 0.3 * 0.2 + 0.7 * 0.5), 1 - 0.8 / (0.8 + 0.3 * 0.5 + 0.7 * 0.2)
    assert tversky(logits, truth, None).item() == pytest.approx((defect + background) / 2, rel=1e-4)
    value = tversky(logits, truth, None, alpha=0.6, beta=0.1, gamma=4 / 3, background=False).item()
    assert value == pytest.approx((1 - 1.5 / (1.5 + 0.12 + 0.05)) ** 0.75, rel=1e-4)


def test_tversky_with_equal_weights_is_dice():
    logits, masks = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    truth = PixelTruth.of(make_batch(masks, 2))
    torch.testing.assert_close(tversky(logits, truth, None, 0.5, 0.5), dice(logits, truth, None))


def test_lovasz_by_hand():
    # Truth 1 0 1, P(1) = .8 .7 .4; errors .2 .7 .6 for both classes. In order of error the defect class loses a
    # false alarm (2/2 -> 2/3), a miss (-> 1/3), a miss (-> 0); background a miss (1/1 -> 0), and nothing then.
    logits, truth = logits_of([0.2, 0.8], [0.3, 0.7], [0.6, 0.4], [0.5, 0.5]), truth_of([1, 0, 1, 255], 1)
    defect, background = 0.7 / 3 + 0.6 / 3 + 0.2 / 3, 0.7
    assert lovasz(logits, truth, None).item() == pytest.approx((defect + background) / 2, rel=1e-5)


def test_lovasz_of_hard_predictions_is_the_jaccard_loss():
    # Wholly wrong or right pixels: 6 of class 1, of which 2 are found, and 1 false alarm: IoU 2 / 7; background 3 / 8.
    masks = torch.tensor([[[1, 1, 1, 1, 1, 1, 0, 0, 0, 0]]])
    found = torch.tensor([1, 1, 0, 0, 0, 0, 1, 0, 0, 0])
    logits = (F.one_hot(found, 2).T[None, :, None] * 120.0).float()
    value = lovasz(logits, PixelTruth.of(make_batch(masks, 1)), None).item()
    assert value == pytest.approx(1 - (2 / 7 + 3 / 8) / 2, rel=1e-5)


def test_lovasz_equals_smp_with_its_gradient():
    from segmentation_models_pytorch.losses import LovaszLoss

    torch.manual_seed(0)
    masks = torch.randint(0, 3, (2, 6, 7))  # class 3 is absent
    masks[0, :2] = 255
    logits = torch.randn(2, 4, 6, 7, requires_grad=True)
    ours = lovasz(logits, PixelTruth.of(make_batch(masks, 3)), None)
    theirs = LovaszLoss("multiclass", per_image=False, ignore_index=255)(logits, masks)
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_binary_cross_entropy_by_hand():
    # sigmoid(0) = 1/2; logit log 3 is 3/4. First pixel background, second class 1, third unknown.
    three = math.log(3)
    logits = torch.tensor([[three, 0.0, 5.0], [-three, three, 5.0]]).view(1, 2, 1, 3)
    value = binary_cross_entropy(logits, truth_of([0, 1, 255], 1), None).item()
    assert value == pytest.approx(-(math.log(0.75) * 3 + math.log(0.5)) / 4, rel=1e-6)
    weighed = binary_cross_entropy(logits, truth_of([0, 1, 255], 1), torch.tensor([1.0, 3.0])).item()
    first, second = -2 * math.log(0.75), -math.log(0.75) - math.log(0.5)
    assert weighed == pytest.approx((first + 3 * second) / (2 + 3 * 2), rel=1e-6)


def test_binary_cross_entropy_leaves_out_unknown_classes_and_their_background():
    logits = torch.randn(1, 3, 1, 2, requires_grad=True)
    value = binary_cross_entropy(logits, truth_of([0, 1], 2, [True, True, False]), None)
    value.backward()
    expected = F.binary_cross_entropy_with_logits(logits[0, 1, 0], torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(value, expected)
    assert not logits.grad[0, [0, 2]].any() and logits.grad[0, 1].all()


@pytest.mark.parametrize("name", PIXEL_LOSSES)
def test_unknown_pixels_have_no_gradient(name):
    torch.manual_seed(1)
    masks = torch.randint(0, 3, (2, 4, 4))
    masks[:, 1] = 255
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    PIXEL_LOSSES[name](logits, PixelTruth.of(make_batch(masks, 2)), None).backward()
    assert not logits.grad[:, :, 1].any() and logits.grad[:, :, 0].any()


@pytest.mark.parametrize("name", PIXEL_LOSSES)
def test_a_class_unknown_in_one_image_is_neither_there_nor_absent(name):
    """Moving probability between background and the unknown class, in the image that is silent on it, costs nothing."""
    torch.manual_seed(2)
    known = torch.tensor([[True, True, False], [True, True, True]])
    batch = make_batch(torch.tensor([[[0, 1, 0]], [[0, 1, 2]]]), 2, known)
    logits = torch.randn(2, 3, 1, 3, requires_grad=True)
    PIXEL_LOSSES[name](logits, PixelTruth.of(batch), None).backward()
    gradient = logits.grad
    assert gradient[1, 2].any()
    if name == "bce":
        assert not gradient[0, 2].any() and not gradient[0, 0].any()
    else:  # the gradient is shared in proportion to the probabilities, so it vanishes along a move between the two
        probability = logits.detach().softmax(1)
        torch.testing.assert_close(gradient[0, 0] / probability[0, 0], gradient[0, 2] / probability[0, 2])


def toy_train(losses: dict, **train):
    from training_toys import toy_preset

    return toy_preset([{"losses": losses}], **train).train


def test_names_checked_without_torch_are_those_of_the_registry():
    import inspect

    for losses, leading in ((PIXEL_LOSSES, 3), (IMAGE_LOSSES, 2)):
        for name, function in losses.items():
            assert set(list(inspect.signature(function).parameters)[leading:]) == set(LOSS_OPTIONS[name])
    assert list(LOSS_OPTIONS) == [*PIXEL_LOSSES, *IMAGE_LOSSES]
    assert {name for name, need in LOSS_NEEDS.items() if need == "labels"} == set(IMAGE_LOSSES)


def test_needs_are_those_of_the_losses_that_count():
    assert needs_of(toy_train({"weak_good": 1, "weak_defective": 1})) == {"labels"}
    assert needs_of(toy_train({"auxiliary.bce": 1, "box": 0.05, "dice": 0}), ("box",)) == {"masks", "boxes"}
    turns = [{"train": ["a"], "losses": {"box": 1}, "epochs": 1}, {"train": ["b"], "losses": {"ce": 1}, "epochs": 1}]
    from training_toys import toy_preset

    assert needs_of(toy_preset([{"losses": {}, "turns": turns}]).train, ("box",)) == {"masks", "boxes"}


@pytest.mark.parametrize(
    ("losses", "train", "message"),
    [
        ({"dise": 1}, {}, "there is no loss 'dise'.*dice"),
        ({"box": 1}, {}, "there is no loss 'box'"),
        ({"auxiliary.image_bce": 1}, {}, "judges whole images"),
        ({"auxiliary.objectness": 1}, {}, "there is no loss 'auxiliary.objectness'"),
        ({"ce": 1}, {"loss_options": {"objectness": {}}}, "train.loss_options: there is no loss 'objectness'"),
        ({"ce": 1}, {"loss_options": {"tversky": {"gamma": 0}}}, "tversky.gamma: must be a number above 0"),
        ({"ce": 1}, {"loss_options": {"image_bce": {"pos_weight": 0}}}, "pos_weight: must be a number above 0"),
        ({"ce": 1}, {"loss_options": {"tversky": {"betta": 1}}}, "no such option.*beta"),
        (
            {"dice": 1, "ce": 0},
            {"dynamic_threshold": {"reference": 0.01}},
            "weighs pixels in the losses ce, focal, bce",
        ),
    ],
)
def test_wrong_losses_are_refused(losses, train, message):
    with pytest.raises(InputError, match=message):
        check_losses(toy_train(losses, **train), ("objectness",))


def test_own_losses_of_the_model_are_accepted():
    options = {"focal": {"gamma": 0}, "tversky": {"gamma": 1.3, "alpha": 0}}
    check_losses(toy_train({"objectness": 1, "auxiliary.ce": 0.4}, loss_options=options), ("objectness",))


def test_own_losses_are_computed_once_and_weighed_beside_the_others():
    calls = []
    parameter = torch.ones((), requires_grad=True)

    def own(output, batch):
        calls.append(len(batch))
        return {"box": 2 * parameter, "class": 3 * parameter, "objectness": parameter * float("nan")}

    criterion = Criterion({}, None, 1, own=own, own_names=("box", "objectness", "class"))
    batch = make_batch(torch.zeros(2, 4, 4), 1)
    logits = torch.zeros(2, 2, 4, 4)
    total, terms = criterion(Output(logits), batch, {"ce": 1, "box": 0.5, "objectness": 0, "class": 2})
    assert total.item() == pytest.approx(math.log(2) + 1 + 6) and list(terms) == ["ce", "box", "class"]
    total.backward()
    assert parameter.grad.item() == 7 and calls == [2]
    criterion(Output(logits), batch, {"ce": 1, "box": 0})
    assert calls == [2]
    with pytest.raises(InputError, match="does not compute it"):
        Criterion({}, None, 1, own_names=("box",))(Output(logits), batch, {"box": 1})


def test_losses_are_computed_in_float32_under_autocast():
    torch.manual_seed(3)
    features, masks = torch.randn(1, 2, 4, 4), torch.randint(0, 2, (1, 4, 4))
    seen = []

    def own(output, batch):
        seen.append((output.mask_logits @ output.mask_logits).dtype)
        return {"box": output.mask_logits.sum()}

    criterion = Criterion({}, None, 1, own=own, own_names=("box",))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _ = criterion(Output(features), make_batch(masks, 1), {"ce": 1, "box": 1})
    assert seen == [torch.float32] and total.dtype == torch.float32


def test_pixel_losses_need_mask_logits():
    with pytest.raises(InputError, match="'dice' cannot be used: this model returns no logits"):
        Criterion({}, None, 1)(Output(image_logit=torch.zeros(1)), make_batch(torch.zeros(1, 4, 4), 1), {"dice": 1})


def test_the_dynamic_threshold_weighs_defect_pixels_once():
    threshold = DynamicThreshold(0.1)
    threshold.value = 0.25  # (1 - t) / t = 3
    criterion = Criterion({}, [1.0, 2.0], 1, threshold=threshold)
    plain = Criterion({}, [1.0, 6.0], 1)
    masks, logits = torch.tensor([[[0, 1, 1], [0, 0, 255]]]), torch.randn(1, 2, 2, 3)
    for name in ("ce", "focal", "bce", "auxiliary.ce"):
        outputs = Output(logits, auxiliary={"a": logits})
        found, expected = (c(outputs, make_batch(masks, 1), {name: 1})[0] for c in (criterion, plain))
        torch.testing.assert_close(found, expected)
    unweighed = Criterion({}, [1.0, 2.0], 1)
    for name in ("dice", "tversky", "lovasz"):
        found, expected = (c(Output(logits), make_batch(masks, 1), {name: 1})[0] for c in (criterion, unweighed))
        torch.testing.assert_close(found, expected)


def test_class_weights_of_the_wrong_length_are_refused():
    with pytest.raises(InputError, match="3 numbers"):
        Criterion({}, [1, 2, 3], 1)
