"""One update: micro-batches with the full batch's gradient, too little memory, and numbers that are not finite."""

from __future__ import annotations

import pytest
import torch
from training_toys import ToyNet, make_toy_batch

from defectctl.errors import RunError
from defectctl.training.losses import Criterion
from defectctl.training.step import Stepper

LOSSES = {"ce": 1.0, "dice": 2.0, "focal": 0.5}


def make_stepper(net, micro=None, precision="float32", **options) -> tuple[Stepper, list[str]]:
    notes: list[str] = []
    options = {"seed": 3, "notify": notes.append} | options
    return Stepper(net, Criterion({}, None, 1), torch.device("cpu"), precision, micro, **options), notes


def gradients(net, micro, losses=LOSSES):
    stepper, _ = make_stepper(net, micro)
    net.train().zero_grad()
    loss, _ = stepper.gradient(make_toy_batch(5, 1), losses, 11)
    return loss, [p.grad.clone() for p in net.parameters()]


@pytest.mark.parametrize("micro", [1, 2, 3, 4])
@pytest.mark.parametrize("losses", [{"ce": 1.0}, {"dice": 1.0}, LOSSES])
def test_micro_batches_have_the_full_batches_gradient(micro, losses):
    net = ToyNet().double()
    net.forward = lambda images, f=net.forward: f(images.double())
    full_loss, full = gradients(net, None, losses)
    cut_loss, cut = gradients(net, micro, losses)
    torch.testing.assert_close(cut_loss, full_loss, rtol=1e-6, atol=0)
    for a, b in zip(cut, full, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-9)


def test_dropout_agrees_between_the_two_passes():
    """With dropout the slices' gradients fit the loss only if both passes drop the same units."""
    net, seen = ToyNet(dropout=0.5), []
    net.encoder.register_forward_hook(lambda module, inputs, output: seen.append(output.detach().clone()))
    gradients(net, 2)
    assert len(seen) == 6
    for first, second in zip(seen[:3], seen[3:], strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(seen[0] == 0, seen[2] == 0)


def test_batch_norm_statistics_move_once_per_micro_batch():
    net, reference = ToyNet(norm=True), ToyNet(norm=True)
    reference.load_state_dict(net.state_dict())
    gradients(net, 2)
    reference.train()
    batch = make_toy_batch(5, 1)
    for a, b in ((0, 2), (2, 3), (3, 5)):
        reference(batch.images[a:b])
    assert net.encoder[1].num_batches_tracked == 3
    torch.testing.assert_close(net.encoder[1].running_var, reference.encoder[1].running_var)


class Greedy(ToyNet):
    """Runs out of memory above `room` images."""

    def __init__(self, room: int, error=torch.OutOfMemoryError, norm: bool = False) -> None:
        super().__init__(norm)
        self.room, self.error = room, error

    def forward(self, images):
        output = super().forward(images)
        if len(images) > self.room:
            raise self.error("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")
        return output


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_out_of_memory_halves_the_micro_batch_and_keeps_the_update(error):
    torch.manual_seed(0)
    net, plain = Greedy(2, error), ToyNet()
    plain.load_state_dict(net.state_dict())
    batch = make_toy_batch(8, 4)
    for each in (net, plain):
        stepper, notes = make_stepper(each)
        each.train()
        stepper.update(batch, LOSSES, torch.optim.SGD(each.parameters(), lr=0.5), 1)
        if each is net:
            assert stepper.micro_batch == 2
            assert len(notes) == 2 and "effective batch stays 8" in notes[0] and "going on with 2" in notes[1]
    for a, b in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_failed_attempt_leaves_no_trace_in_the_running_statistics():
    net, other = Greedy(4, norm=True), ToyNet(norm=True)
    other.load_state_dict(net.state_dict())
    for each, micro in ((net, None), (other, 4)):
        make_stepper(each.train(), micro)[0].update(
            make_toy_batch(8, 4), LOSSES, torch.optim.SGD(each.parameters(), lr=0.1), 1
        )
    for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_not_even_one_image_fits():
    net = Greedy(0)
    with pytest.raises(RunError, match=r"not even one image .* make input.size smaller"):
        make_stepper(net)[0].update(make_toy_batch(4, 4), LOSSES, torch.optim.SGD(net.parameters(), lr=0.1), 1)


def test_other_errors_are_not_taken_for_memory():
    net = Greedy(0, error=lambda text: RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes"):
        make_stepper(net)[0].update(make_toy_batch(4, 4), LOSSES, torch.optim.SGD(net.parameters(), lr=0.1), 1)


def test_batch_norm_with_a_single_value_is_explained():
    net = ToyNet(norm=True)
    net.head = torch.nn.BatchNorm2d(6)
    net.encoder.append(torch.nn.AdaptiveAvgPool2d(1))
    with pytest.raises(RunError, match="at least 2"):
        make_stepper(net)[0].update(make_toy_batch(1, 4), LOSSES, torch.optim.SGD(net.parameters(), lr=0.1), 1)


def test_numbers_that_are_not_finite_are_left_out_then_float32_then_given_up():
    net = ToyNet()
    batch = make_toy_batch(2, 4)
    batch.images[0, 0, 3, 3] = float("nan")
    before = [p.detach().clone() for p in net.parameters()]
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    stepper, notes = make_stepper(net, precision="bf16")
    for number in range(3):
        assert stepper.update(batch, {"ce": 1.0}, optimiser, number).skipped
    assert stepper.precision == "float32" and "going on in float32" in notes[-1]
    for number in range(2):
        assert stepper.update(batch, {"ce": 1.0}, optimiser, number).skipped
    with pytest.raises(RunError, match="clip_norm"):
        stepper.update(batch, {"ce": 1.0}, optimiser, 6)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_a_finite_update_ends_the_row_of_skipped_ones():
    net = ToyNet()
    good, bad = make_toy_batch(2, 4), make_toy_batch(2, 4)
    bad.images[:] = float("inf")
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    stepper, _ = make_stepper(net)
    for number, batch in enumerate([bad, bad, good, bad, bad]):
        stepper.update(batch, {"ce": 1.0}, optimiser, number)
    assert stepper.skips_in_row == 2


def test_clipping_bounds_the_gradient_norm():
    net = ToyNet()
    before = [p.detach().clone() for p in net.parameters()]
    stepper, _ = make_stepper(net, clip_norm=1e-3)
    result = stepper.update(make_toy_batch(4, 4), LOSSES, torch.optim.SGD(net.parameters(), lr=1.0), 1)
    moved = sum(((a - b) ** 2).sum() for a, b in zip(before, net.parameters(), strict=True)).sqrt().item()
    assert result.gradient_norm > 1e-2 and moved == pytest.approx(1e-3, rel=1e-2)


def test_a_precision_that_was_raised_is_kept_but_another_device_brings_its_own():
    stepper, _ = make_stepper(ToyNet(), precision="bf16", micro=4)
    stepper.precision, stepper.micro_batch = "float32", 2  # after numbers that were not finite, and little memory
    same, notes = make_stepper(ToyNet(), precision="bf16", micro=4)
    same.load(stepper.state())
    assert (same.precision, same.micro_batch) == ("float32", 2) and "going on in float32" in notes[0]
    older, _ = make_stepper(ToyNet(), precision="fp16", micro=1)
    older.load(same.state())
    assert (older.precision, older.micro_batch) == ("fp16", 1) and older.scaler.is_enabled()


def test_losses_that_reach_nothing_are_explained():
    net = ToyNet().requires_grad_(False)
    for micro in (None, 1):
        with pytest.raises(RunError, match="do not reach"):
            make_stepper(net, micro)[0].gradient(make_toy_batch(2, 1), {"ce": 1.0}, 0)


def test_fp16_scales_the_loss_and_searches_its_scale_without_giving_up():
    net, plain = ToyNet(), ToyNet()
    plain.load_state_dict(net.state_dict())
    batch, moved = make_toy_batch(4, 4), []
    for each, precision in ((net, "fp16"), (plain, "float32")):
        optimiser = torch.optim.SGD(each.parameters(), lr=0.1)
        stepper, notes = make_stepper(each, precision=precision, micro=2)
        if precision == "fp16":
            stepper.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
        results = [stepper.update(batch, {"ce": 1.0}, optimiser, n) for n in range(40)]
        moved.append(sum(not r.skipped for r in results))
        if precision == "fp16":
            assert results[0].skipped and stepper.scaler.get_scale() < 2.0**40
            assert stepper.precision == "fp16" and notes == []
    assert moved[0] > 10 and moved[1] == 40
    stepper, _ = make_stepper(ToyNet(), precision="fp16")
    single = ToyNet()
    single.load_state_dict(plain.state_dict())
    for each, precision in ((single, "fp16"), (plain, "float32")):
        stepper, _ = make_stepper(each, precision=precision)
        stepper.update(batch, {"ce": 1.0}, torch.optim.SGD(each.parameters(), lr=0.1), 1)
    for a, b in zip(single.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)


class NetWithOwnLoss(ToyNet):
    """A network that computes a loss with a parameter of its own, as a detector's second stage does."""

    def __init__(self) -> None:
        super().__init__()
        self.second = torch.nn.Linear(2, 1)

    def losses(self, output, targets):
        pooled = output.mask_logits.mean(dim=(2, 3))
        return {"second": (self.second(pooled.to(self.second.weight.dtype)) - 1).square().mean()}


@pytest.mark.parametrize("micro", [1, 2])
def test_micro_batches_reach_the_parameters_of_a_models_own_loss(micro):
    torch.manual_seed(2)
    net = NetWithOwnLoss().double()
    net.forward = lambda images, f=net.forward: f(images.double())
    batch, found = make_toy_batch(4, 1), []
    for size in (None, micro):
        criterion = Criterion({}, None, 1, own=net.losses, own_names=("second",))
        stepper = Stepper(net, criterion, torch.device("cpu"), "float32", size)
        net.train().zero_grad()
        stepper.gradient(batch, {"second": 1.0, "ce": 0.5}, 0)
        found.append([p.grad.clone() for p in net.parameters()])
    assert all(g.abs().sum() > 0 for g in found[0])
    for whole, cut in zip(*found, strict=True):
        torch.testing.assert_close(cut, whole, rtol=1e-5, atol=1e-9)
