"""Chooses the device, the arithmetic and the number of threads that networks run with; torch loads only when asked."""

from __future__ import annotations

import ctypes.util
import os
import re
import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from defectctl.errors import InputError
from defectctl.messages import say, warn

if TYPE_CHECKING:
    import torch

CPU_BATCH, CUDA_BATCH = 8, 32
PRECISIONS = ("auto", "float32", "bf16", "fp16")


@dataclass(frozen=True, slots=True)
class Place:
    """A device as far as the pipeline looks at one, where there is no torch: `cpu` or `cuda`, and its number."""

    type: str
    index: int = 0

    def __str__(self) -> str:
        return self.type if self.type == "cpu" else f"{self.type}:{self.index}"


def check_device_name(name: str) -> None:
    """Refuse a `--device` that no machine could have, before torch is loaded.

    Raises:
        InputError: `name` is not `auto`, `cpu`, `cuda` or `cuda:N`.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise InputError(f"device '{name}' is not known; choose auto, cpu, cuda or cuda:N (e.g. cuda:0)")


def check_precision_name(name: str) -> None:
    """Refuse an unknown `--precision`, before torch is loaded.

    Raises:
        InputError: `name` is not one of `PRECISIONS`.
    """
    if name not in PRECISIONS:
        raise InputError(f"precision '{name}' is not known; choose {', '.join(PRECISIONS)}")


def choose_device(name: str = "auto") -> torch.device:
    """Return the device that `name` (`auto`, `cpu`, `cuda`, `cuda:N`) stands for.

    `auto` takes CUDA, else the CPU with one line on stderr that says so, and says how to get a CUDA torch where an
    NVIDIA driver is there and torch was built without CUDA.

    Raises:
        InputError: the name is unknown, or CUDA was asked for and is not there.
    """
    import torch

    check_device_name(name)
    if name == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        index = int(name.partition(":")[2] or 0)
        count = torch.cuda.device_count()
        if index >= count:
            raise InputError(f"device '{name}' is not there: this machine has {count} CUDA device(s), from cuda:0 on")
        return torch.device("cuda", index)
    cpu_only = torch.version.cuda is None and nvidia_driver_present()
    hint = (
        f"an NVIDIA driver is installed but this torch ({torch.__version__}) was built without CUDA; "
        "install a CUDA build of torch (see the README)"
    )
    if name != "auto":
        raise InputError(
            f"device '{name}' is not available: {hint if cpu_only else 'torch finds no CUDA device; use --device cpu'}"
        )
    if cpu_only:
        warn(f"running on the CPU: {hint}")
    else:
        say("no CUDA device found, running on the CPU")
    return torch.device("cpu")


def nvidia_driver_present() -> bool:
    """Whether an NVIDIA driver is installed, told by its tool or its library, without torch."""
    return bool(shutil.which("nvidia-smi") or ctypes.util.find_library("nvcuda" if os.name == "nt" else "cuda"))


def default_batch_size(device: torch.device | Place) -> int:
    """Images a pass where neither the user nor the preset says."""
    return CUDA_BATCH if device.type == "cuda" else CPU_BATCH


def choose_precision(device: torch.device, asked: str = "auto") -> str:
    """Return `float32`, `bf16` or `fp16` for `device`.

    `auto` takes bf16 where the hardware computes in it (CUDA capability 8 and newer; CPUs with AVX512-BF16 or AMX),
    fp16 on older CUDA devices, float32 on other CPUs.

    Raises:
        InputError: an unknown name, or fp16 on a CPU.
    """
    import torch

    check_precision_name(asked)
    if asked == "fp16" and device.type == "cpu":
        raise InputError("precision 'fp16' needs a CUDA device; choose auto, bf16 or float32 on the CPU")
    if asked == "bf16" and device.type == "cpu" and not _cpu_computes_bf16():
        warn("this CPU does not compute in bf16 and imitates it slowly; float32 is faster here")
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp16"
    return "bf16" if _cpu_computes_bf16() else "float32"


def _cpu_computes_bf16() -> bool:
    import torch

    for query in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        supported = getattr(torch.cpu, query, None)
        if supported is not None and supported():
            return True
    return False


def set_threads(count: int | None = None, device: torch.device | None = None) -> int:
    """Set how many threads torch computes with on the CPU, and return it.

    Without `count`: `OMP_NUM_THREADS` where it is set, one beside CUDA, else the physical cores less one (two OpenMP
    threads on a busy two-core machine stall now and then to a tenth of the speed).
    """
    import torch

    if count is None and not os.environ.get("OMP_NUM_THREADS"):
        count = 1 if device is not None and device.type == "cuda" else max(1, _cores() - 1)
    if count is not None:
        torch.set_num_threads(max(1, count))
    return torch.get_num_threads()


@cache
def _cores() -> int:
    """Cores this process may use: torch's first answer counts physical ones, the affinity mask what is allowed."""
    import torch

    return min(torch.get_num_threads(), allowed_cores())


def allowed_cores() -> int:
    """Cores, hyper-threads counted each, that the system lets this process use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compute_type(precision: str) -> torch.dtype:
    """The torch dtype that `float32`, `bf16` or `fp16` names."""
    import torch

    return {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """A context in which torch computes convolutions and products in `precision`; nothing for `float32`."""
    import torch

    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=compute_type(precision))
