"""Devices, arithmetic and threads: what is refused, what `auto` takes, what is said."""

from __future__ import annotations

import pytest
import torch

from defectctl.errors import InputError
from defectctl.inference import device as device_module
from defectctl.inference.device import (
    autocast,
    check_device_name,
    check_precision_name,
    choose_device,
    choose_precision,
    set_threads,
)

CPU = torch.device("cpu")


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_names() -> None:
    for name in ("auto", "cpu", "cuda", "cuda:12"):
        check_device_name(name)
    for name in ("gpu", "cuda:", "CUDA:x", ""):
        with pytest.raises(InputError, match="choose auto, cpu"):
            check_device_name(name)
    with pytest.raises(InputError, match="int4"):
        check_precision_name("int4")


def test_auto_says_that_it_takes_the_cpu(no_cuda: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert choose_device("auto") == CPU
    assert capsys.readouterr().err.count("\n") == 1
    assert choose_device("cpu") == CPU and capsys.readouterr().err == ""


def test_driver_beside_a_torch_without_cuda_is_said(
    no_cuda: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(device_module, "nvidia_driver_present", lambda: True)
    assert choose_device("auto") == CPU
    assert "built without CUDA" in capsys.readouterr().err
    with pytest.raises(InputError, match="built without CUDA"):
        choose_device("cuda")


def test_cuda_that_is_not_there_is_refused(no_cuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="not available"):
        choose_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("auto") == torch.device("cuda", 0)
    with pytest.raises(InputError, match="1 CUDA device"):
        choose_device("cuda:1")


def test_precision_follows_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    for supported, expected in ((True, "bf16"), (False, "float32")):
        monkeypatch.setattr(device_module, "_cpu_computes_bf16", lambda supported=supported: supported)
        assert choose_precision(CPU) == expected
    for capability, expected in (((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        assert choose_precision(torch.device("cuda", 0)) == expected
    assert choose_precision(CPU, "float32") == "float32"
    with pytest.raises(InputError, match="fp16"):
        choose_precision(CPU, "fp16")


def test_autocast_computes_in_the_precision_named() -> None:
    layer, values = torch.nn.Linear(2, 2), torch.ones(1, 2)
    with autocast(CPU, "bf16"):
        assert layer(values).dtype == torch.bfloat16
    with autocast(CPU, "float32"):
        assert layer(values).dtype == torch.float32


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        assert set_threads(2) == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        assert set_threads() == 2
        monkeypatch.delenv("OMP_NUM_THREADS")
        monkeypatch.setattr(device_module, "_cores", lambda: 4)
        assert set_threads() == 3
        assert set_threads(device=torch.device("cuda", 0)) == 1
        monkeypatch.setattr(device_module, "_cores", lambda: 1)
        assert set_threads() == 1
    finally:
        torch.set_num_threads(before)
