"""GPUs that are there, hidden, too old or too new; drivers that hang; precisions that do not compute."""

import stat
import sys
from types import SimpleNamespace

import pytest
import torch

from defectctl.diagnosis import devices
from defectctl.diagnosis.checks import FAILED, OK, WARNING
from defectctl.inference import device as device_module


@pytest.fixture
def machine(monkeypatch):
    """A machine without a GPU torch can use; its build, driver and variable are set by calling this."""

    def make(cuda, driver, hidden=None):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(device_module, "nvidia_driver_present", lambda: driver)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if hidden is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)

    return make


def fake_tool(folder, monkeypatch, body):
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!{sys.executable}\n{body}\n", encoding="utf-8")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))


def test_a_driver_beside_a_torch_without_cuda_is_said_with_its_cure(machine):
    machine(cuda=None, driver=True)
    (check,) = devices.gpus()
    assert check.status == WARNING and "built without CUDA" in check.text and "--index-url" in check.advice


def test_a_machine_without_a_gpu_is_in_order(machine):
    for cuda in (None, "13.2"):
        machine(cuda=cuda, driver=False)
        (check,) = devices.gpus()
        assert check.status == OK and "CPU" in check.text and not check.advice


def test_a_driver_that_this_torch_cannot_use(machine, monkeypatch):
    def init():
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nPlease update")

    machine(cuda="13.2", driver=True)
    monkeypatch.setattr(torch.cuda, "init", init)
    (check,) = devices.gpus()
    assert check.status == WARNING and "too old (found version 11040)" in check.text and "13.2" in check.advice
    machine(cuda="13.2", driver=True, hidden="-1")
    (check,) = devices.gpus()
    assert check.status == WARNING and "CUDA_VISIBLE_DEVICES='-1'" in check.text and "unset" in check.advice


@pytest.mark.parametrize(
    "capability, built, status",
    [
        ((9, 0), ["sm_80", "sm_90"], OK),
        ((8, 9), ["sm_80", "sm_86"], OK),  # code for 8.x runs on every later 8.x
        ((6, 1), ["sm_75", "sm_80"], WARNING),
        ((12, 0), ["sm_80", "sm_90"], WARNING),
        ((12, 0), ["sm_80", "compute_90"], OK),  # compiled anew by the driver
        ((12, 1), ["sm_90a", "sm_120"], OK),
    ],
)
def test_a_torch_that_was_not_built_for_the_gpu(monkeypatch, capability, built, status):
    about = SimpleNamespace(name="GPU", major=capability[0], minor=capability[1], total_memory=8 << 30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: about)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (3 << 30, 8 << 30))
    (check,) = devices.gpus()
    assert check.status == status and check.name == "cuda:0" and "8.0 GiB" in check.text and "3.0 GiB" in check.text


@pytest.mark.skipif(sys.platform == "win32", reason="a script stands for the tool")
def test_nvidia_smi_is_asked_with_a_time_limit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.driver().status == OK
    fake_tool(tmp_path, monkeypatch, "print('NVIDIA H200, 570.1, 143771 MiB')")
    assert devices.driver().facts["gpus"] == ["NVIDIA H200, 570.1, 143771 MiB"]
    fake_tool(tmp_path, monkeypatch, "raise SystemExit('Failed to initialize NVML: Driver/library version mismatch')")
    check = devices.driver()
    assert check.status == WARNING and "version mismatch" in check.text and "anew" in check.advice
    fake_tool(tmp_path, monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(devices, "DRIVER_SECONDS", 0.3)
    check = devices.driver()
    assert check.status == WARNING and "no answer within 0.3 s" in check.text


def test_precisions_of_this_cpu_work():
    check = devices.precisions()[0]
    assert check.status == OK and check.name == "precision on cpu"
    error = check.facts["relative_error"]
    assert error["float32"] < 1e-6, "the same device and precision"
    assert 1e-4 < error["bf16"] < 2e-2, "bf16 has 8 bits: half a step is 2**-9 = 0.002 of a value"


@pytest.mark.parametrize("precision, status", [("float32", FAILED), ("bf16", WARNING), ("fp16", OK)])
@pytest.mark.parametrize("fault", ["wrong", "nan", "raises"])
def test_a_precision_that_does_not_compute_is_found(monkeypatch, precision, status, fault):
    right = devices._convolve

    def convolve(place, asked):
        found = right(place, asked)
        if asked != precision or not ready:
            return found
        if fault == "raises":
            raise RuntimeError("no kernel image is available")
        return [found[0] * (1.5 if fault == "wrong" else float("nan")), *found[1:]]

    ready = False
    expected = convolve(torch.device("cpu"), "float32")
    ready = True
    monkeypatch.setattr(devices, "_convolve", convolve)
    monkeypatch.setattr(device_module, "_cpu_computes_bf16", lambda: True)
    check = devices._precisions_of(torch.device("cpu"), expected)
    assert check.status == status and precision not in check.facts["works"] and f"; {precision}: " in check.text
    assert bool(check.advice) == (status != OK)
