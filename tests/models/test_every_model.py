"""What every network of the registry must keep to, whatever its architecture."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
import torch

from defectctl.models.output import Output
from defectctl.models.registry import REGISTRY, build_model

CLASSES = 3
ODD = (75, 101)


def build(name: str, channels: int = 3):
    torch.manual_seed(0)
    return build_model(SimpleNamespace(name=name, weights="none", options={}), CLASSES, channels)


@pytest.fixture(params=list(REGISTRY))
def name(request) -> str:
    return request.param


@pytest.mark.parametrize("channels", [1, 3])
def test_odd_sizes_give_logits_per_class(name, channels):
    model = build(name, channels).eval()
    with torch.no_grad():
        output = model(torch.rand(1, channels, *ODD))
        smallest = model(torch.rand(1, channels, 32, 32))
    assert isinstance(output, Output)
    if "segmentation" in REGISTRY[name].tasks:
        count, planes, height, width = output.mask_logits.shape
        assert (count, planes) == (1, 1 + CLASSES)
        stride = round(ODD[0] / height)
        assert (height, width) == tuple(-(-side // stride) for side in ODD)
        assert smallest.mask_logits.shape[2:] == (32 // stride, 32 // stride)


def test_gradient_reaches_every_parameter(name):
    model = build(name).train()
    output = model(torch.rand(2, 3, *ODD))
    (output.mask_logits * torch.randn_like(output.mask_logits)).sum().backward()
    without = [key for key, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_batch_of_one_trains(name):
    model = build(name).train()
    loss = model(torch.rand(1, 3, 64, 64)).mask_logits.square().mean()
    loss.backward()
    assert loss.isfinite()


def test_state_dict_round_trip_and_eval_determinism(name):
    first, second = build(name).eval(), build(name)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(0.1)
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    second.eval()
    images = torch.rand(2, 3, *ODD)
    with torch.no_grad():
        expected = first(images).mask_logits
        assert torch.equal(first(images).mask_logits, expected)
        assert torch.equal(second(images).mask_logits, expected)


def test_bf16_channels_last_is_finite_and_near(name):
    model = build(name).eval().to(memory_format=torch.channels_last)
    images = torch.rand(2, 3, 64, 96).to(memory_format=torch.channels_last)
    with torch.no_grad():
        exact = model(images).mask_logits
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(images).mask_logits.float()
    assert rough.isfinite().all()
    scale = max(exact.std().item(), 1e-3)
    assert (rough - exact).abs().mean().item() < 0.1 * scale + 1e-3


def test_parts_cover_every_parameter_once(name):
    model = build(name)
    inside = [id(parameter) for part in model.parts.values() for parameter in part.parameters()]
    assert sorted(inside) == sorted(id(parameter) for parameter in model.parameters())
    assert "encoder" in model.parts


def test_same_seed_same_weights(name):
    first, second = build(name).state_dict(), build(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
