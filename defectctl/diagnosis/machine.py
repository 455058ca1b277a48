"""Probes of the machine: operating system, processor, cores, memory."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from pathlib import Path

from defectctl.diagnosis.checks import OK, WARNING, Check

GIB = 1 << 30
LEAST_MEMORY = 2 * GIB
"""Free memory under which torch and one large image hardly fit."""
ABILITIES = {
    "avx2": "_is_avx2_supported",
    "avx512": "_is_avx512_supported",
    "avx512_vnni": "_is_vnni_supported",
    "avx512_bf16": "_is_avx512_bf16_supported",
    "amx": "_is_amx_tile_supported",
}
"""Ability -> the function in `torch.cpu` that tells it; not every torch has each."""


def system() -> Check:
    """Operating system and processor."""
    processor = processor_name()
    text = f"{platform.platform()}, {processor}"
    facts = {"system": platform.platform(), "machine": platform.machine(), "processor": processor}
    return Check(OK, text, facts=facts)


def processor_name() -> str:
    """The processor as its maker calls it, else its architecture."""
    name = ""
    if sys.platform == "darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        name = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=False).stdout.strip()
    elif os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return name or platform.processor() or platform.machine()


def cores() -> Check:
    """Cores of the machine, and how many this process may use."""
    total = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    quota = _quota()
    facts = {"cores": total, "allowed": allowed, "container_limit": quota}
    text = f"{total}, of which this process may use {allowed}" if allowed < total else str(total)
    if quota is not None and quota < allowed:
        advice = "give --threads no more than the container's limit: more threads than that wait for each other"
        return Check(WARNING, f"{text}; the container is limited to {quota:g}", advice, facts)
    return Check(OK, text, facts=facts)


def memory() -> Check:
    """Memory of the machine or the container, and what of it is free."""
    total, free = _memory()
    limit = _number("/sys/fs/cgroup/memory.max")
    facts = {"total_bytes": total, "free_bytes": free, "container_limit_bytes": limit}
    if total is None or free is None:
        return Check(OK, "this system does not tell" if total is None else in_gib(total), facts=facts)
    text = f"{in_gib(total)}, {in_gib(free)} free"
    if limit is not None and limit < total:
        text += f"; the container is limited to {in_gib(limit)}"
        free = min(free, limit)
    if free < LEAST_MEMORY:
        return Check(
            WARNING, text, "close other programs, or use --batch-size 1: training may run out of memory", facts
        )
    return Check(OK, text, facts=facts)


def torch_processor() -> Check:
    """What the processor computes in, as torch sees it, and the threads that torch takes."""
    import torch

    abilities: dict[str, bool | None] = {}
    for name, query in ABILITIES.items():
        asked = getattr(torch.cpu, query, None)
        abilities[name] = None if asked is None else bool(asked())
    used = torch.backends.cpu.get_cpu_capability()
    has = [name for name, there in abilities.items() if there]
    lacks = [name for name, there in abilities.items() if there is False]
    text = f"torch uses {used}; has {', '.join(has) or 'none of them'}"
    text += f"; no {', '.join(lacks)}" if lacks else ""
    threads = torch.get_num_threads()
    facts = {"capability": used, "threads": threads, **abilities}
    return Check(OK, f"{text}; {threads} thread{'s' * (threads > 1)}", facts=facts)


def in_gib(count: int) -> str:
    """Bytes in GiB with one decimal."""
    return f"{count / GIB:.1f} GiB"


def _quota() -> float | None:
    """Cores that a Linux container may use at once; None without a limit."""
    path = Path("/sys/fs/cgroup/cpu.max")
    if not path.exists():
        return None
    allowed, period = path.read_text(encoding="ascii").split()
    return None if allowed == "max" else int(allowed) / int(period)


def _number(path: str) -> int | None:
    text = Path(path).read_text(encoding="ascii").strip() if os.path.exists(path) else ""
    return int(text) if text.isdigit() else None


def _memory() -> tuple[int | None, int | None]:
    """Bytes of memory, total and free."""
    if os.name == "nt":
        return _windows_memory()
    if os.path.exists("/proc/meminfo"):
        lines = Path("/proc/meminfo").read_text(encoding="ascii", errors="replace").splitlines()
        sizes = {line.partition(":")[0]: int(line.split()[1]) << 10 for line in lines if len(line.split()) > 1}
        return sizes.get("MemTotal"), sizes.get("MemAvailable", sizes.get("MemFree"))
    page = os.sysconf("SC_PAGE_SIZE")
    free = os.sysconf("SC_AVPHYS_PAGES") if "SC_AVPHYS_PAGES" in os.sysconf_names else None
    return os.sysconf("SC_PHYS_PAGES") * page, None if free is None else free * page


def _windows_memory() -> tuple[int | None, int | None]:
    class Status(ctypes.Structure):
        """MEMORYSTATUSEX of the Windows API."""

        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "c", "d", "e", "f", "g")),
        ]

    status = Status(length=ctypes.sizeof(Status))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None, None
    return status.total, status.free
