"""Probes of what can compute: the NVIDIA driver, the GPUs that torch sees, the precisions that work on each device."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from defectctl.diagnosis.checks import FAILED, OK, WARNING, Check, one_line
from defectctl.diagnosis.machine import in_gib

if TYPE_CHECKING:
    import torch

DRIVER_SECONDS = 10
"""How long `nvidia-smi` may take; with a wedged driver it never ends."""
QUERY = ("--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
CUDA_BUILD = (
    "install the CUDA build: python -m pip uninstall -y torch torchvision, then the command that the selector on the "
    "PyTorch home page prints for this system, Pip, CUDA (it adds an --index-url)"
)
HIDDEN_BY = "CUDA_VISIBLE_DEVICES"
TOLERANCES = {"float32": 5e-3, "fp16": 1e-2, "bf16": 5e-2}
"""Largest difference from the CPU's float32 over the largest value; GPUs round float32 convolutions to TF32."""


def driver() -> Check:
    """The NVIDIA driver and its GPUs, without torch."""
    from defectctl.inference.device import nvidia_driver_present

    tool = shutil.which("nvidia-smi")
    if tool is None:
        there = nvidia_driver_present()
        return Check(OK, "NVIDIA library found, no nvidia-smi" if there else "no NVIDIA driver", facts={"there": there})
    advice = "start the machine anew; if that does not help install the NVIDIA driver again"
    try:
        asked = [tool, *QUERY]
        told = subprocess.run(asked, capture_output=True, text=True, errors="replace", timeout=DRIVER_SECONDS)
    except subprocess.TimeoutExpired:
        return Check(WARNING, f"nvidia-smi gave no answer within {DRIVER_SECONDS} s", advice, {"there": True})
    except OSError as error:
        return Check(WARNING, f"nvidia-smi cannot be started: {one_line(error)}", advice, {"there": True})
    lines = [line.strip() for line in told.stdout.splitlines() if line.strip()]
    if told.returncode or not lines:
        said = " ".join((told.stderr or told.stdout).split())[:200] or f"exit code {told.returncode}"
        return Check(WARNING, f"nvidia-smi fails: {said}", advice, {"there": True})
    return Check(OK, f"nvidia-smi: {'; '.join(lines)}", facts={"there": True, "gpus": lines})


def gpus() -> list[Check]:
    """The CUDA devices that torch can use, or why it uses none."""
    import torch

    if not torch.cuda.is_available():
        return [_no_gpu()]
    return [_gpu(number) for number in range(torch.cuda.device_count())]


def precisions() -> list[Check]:
    """For each device the precisions in which a small convolution, forward and backward, agrees with float32."""
    import torch

    places = [torch.device("cpu")]
    if torch.cuda.is_available():
        places += [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    expected = _convolve(places[0], "float32")
    return [_precisions_of(place, expected) for place in places]


def _no_gpu() -> Check:
    import torch

    from defectctl.inference.device import nvidia_driver_present

    hidden = os.environ.get(HIDDEN_BY)
    facts: dict[str, Any] = {"available": False, HIDDEN_BY: hidden}
    if torch.version.cuda is None and torch.version.hip is None:
        if nvidia_driver_present():
            text = f"an NVIDIA driver is installed, but this torch ({torch.__version__}) was built without CUDA"
            return Check(WARNING, text, CUDA_BUILD, facts)
        return Check(OK, "none that torch can use; everything runs on the CPU", facts=facts)
    if hidden is not None and hidden.strip() in ("", "-1"):
        advice = f"unset {HIDDEN_BY} where the GPU is to be used"
        return Check(WARNING if nvidia_driver_present() else OK, f"hidden by {HIDDEN_BY}='{hidden}'", advice, facts)
    if nvidia_driver_present():
        advice = (
            f"update the NVIDIA driver: this torch needs one for CUDA {torch.version.cuda}, "
            "or a torch that was built for an older CUDA"
        )
        return Check(WARNING, f"an NVIDIA driver is installed, but torch cannot use it: {_why_not()}", advice, facts)
    return Check(OK, "no NVIDIA driver; everything runs on the CPU", facts=facts)


def _why_not() -> str:
    import torch

    try:
        torch.cuda.init()
    except Exception as error:
        return one_line(error)
    return "torch does not say why"


def _gpu(number: int) -> Check:
    import torch

    about = torch.cuda.get_device_properties(number)
    capability = f"{about.major}.{about.minor}"
    built = torch.cuda.get_arch_list()
    name = f"cuda:{number}"
    facts = {"name": about.name, "memory_bytes": about.total_memory, "capability": capability, "built_for": built}
    text = f"{about.name}, {in_gib(about.total_memory)}, capability {capability}"
    try:
        free, _ = torch.cuda.mem_get_info(number)
    except RuntimeError as error:
        advice = "end the program that fills the GPU's memory, or start the machine anew"
        return Check(FAILED, f"{text}, cannot be used: {one_line(error)}", advice, facts, name)
    text, facts["free_bytes"] = f"{text}, {in_gib(free)} free", free
    if built and not torch.version.hip and not _serves(about.major, about.minor, built):
        advice = f"install a torch built for it, or run with --device cpu (this one: {', '.join(built)})"
        return Check(WARNING, f"{text}; this torch was not built for it", advice, facts, name)
    return Check(OK, text, facts=facts, name=name)


def _serves(major: int, minor: int, built: list[str]) -> bool:
    """Whether code for one of `sm_80`, `compute_90`, ... runs: the same generation and not newer, or compiled anew."""
    for arch in built:
        kind, _, digits = arch.partition("_")
        digits = digits.rstrip("af")
        if not digits.isdigit():
            return True  # an architecture of a kind that is not known here
        theirs = (int(digits[:-1]), int(digits[-1]))
        if theirs <= (major, minor) and (kind == "compute" or theirs[0] == major):
            return True
    return False


def _precisions_of(place: torch.device, expected: list[torch.Tensor]) -> Check:
    from defectctl.inference.device import choose_precision

    automatic = choose_precision(place)
    errors: dict[str, float | None] = {}
    wrong: dict[str, str] = {}
    for precision, tolerance in TOLERANCES.items():
        try:
            error = _difference(_convolve(place, precision), expected)
        except Exception as raised:
            errors[precision], wrong[precision] = None, one_line(raised)
            continue
        errors[precision] = error if error == error and error != float("inf") else None
        if not error <= tolerance:
            wrong[precision] = f"differs from float32 on the CPU by {error:.2g} of the largest value"
    works = [precision for precision in TOLERANCES if precision not in wrong]
    text = f"{', '.join(works) or 'nothing'} work{'s' * (len(works) < 2)}; auto takes {automatic}"
    text += "".join(f"; {precision}: {reason}" for precision, reason in wrong.items())
    if place.type == "cpu" and "fp16" in works:
        text += " (fp16 is slow here and not offered)"
    name = f"precision on {place}"
    facts = {"relative_error": errors, "works": works, "auto": automatic}
    if "float32" in wrong:
        advice = "update the driver and torch" if place.type == "cuda" else "reinstall torch in a fresh environment"
        return Check(FAILED, text, f"{advice}; results of this device cannot be trusted", facts, name)
    if automatic in wrong:
        return Check(WARNING, text, "run with --precision float32", facts, name)
    return Check(OK, text, facts=facts, name=name)


def _convolve(place: torch.device, precision: str) -> list[torch.Tensor]:
    """Result and both gradients of one convolution with fixed numbers, float32 on the CPU."""
    import torch

    from defectctl.inference.device import autocast

    chance = torch.Generator().manual_seed(0)
    images = torch.randn(2, 8, 24, 24, generator=chance).to(place).to(memory_format=torch.channels_last)
    weight = (torch.randn(16, 8, 3, 3, generator=chance) / 8).to(place)
    images.requires_grad_(True)
    weight.requires_grad_(True)
    with autocast(place, precision):
        result = torch.nn.functional.conv2d(images, weight, padding=1)
    result.float().square().mean().mul(1000).backward()
    return [value.detach().float().cpu() for value in (result, images.grad, weight.grad) if value is not None]


def _difference(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    return max(float((f - e).abs().max() / e.abs().max()) for f, e in zip(found, expected, strict=True))
