"""Measures one model on one device: parameters, operations, latency of single images, images per second."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from defectctl.checkpoints.runs import versions
from defectctl.config.schema import InputConfig, Preset
from defectctl.errors import RunError
from defectctl.inference.runner import TorchRunner, out_of_memory
from defectctl.messages import warn

FLOPS_CONVENTION = "1 multiply-add = 2 FLOPs; convolutions and matrix products, batch 1"
WARM_UP_RUNS = 3
WARM_UP_SECONDS = 0.5
NOISY_SPREAD = 0.15
"""Spread (see `Timing`) from which a figure is called noisy."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of repeated runs, in seconds.

    `spread` is the distance of the quartiles over the median: 0.02 is a quiet machine.
    """

    p50: float
    p95: float
    p99: float
    spread: float
    runs: int


@dataclass(frozen=True, slots=True)
class Settings:
    """What is measured: batch of the throughput, timed runs, and (height, width) where the preset's is not meant."""

    batch_size: int = 8
    repeat: int = 30
    size: tuple[int, int] | None = None


def build_untrained(preset: Preset, classes: int) -> nn.Module:
    """Build a preset's network for `classes` defect classes with random weights: they do not change the speed."""
    from defectctl.models.registry import build_model

    channels = 1 if preset.input.colour == "grey" else 3
    return build_model(preset.model.model_copy(update={"weights": "none"}), classes, channels)


def measure_speed(
    model: nn.Module, input: InputConfig, device: torch.device, precision: str, settings: Settings
) -> dict[str, Any]:
    """Measure the network on random data that already lies on the device.

    The network runs as `predict` runs it: evaluation mode, batch norm folded, channels-last. Reading, resizing and
    post-processing are not in the figures.

    Returns:
        plain values for JSON: `parameters`, `flops` (None where they cannot be counted), `latency_ms` (batch 1),
        `throughput` (images/s at the given batch), `peak_memory_mb` (CUDA only), `noisy`, and what was measured with.

    Raises:
        RunError: the batch does not fit into memory.
    """
    height, width = settings.size or tuple(input.size)
    channels = 1 if input.colour == "grey" else 3
    model = model.to(device).eval()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    image = random_images(1, channels, height, width, device)
    try:
        flops = count_flops(model, image)
        runner = TorchRunner(model, input, device, precision, fold=True)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        single = time_runs(lambda: runner.logits(image), settings.repeat, device)
        batch = random_images(settings.batch_size, channels, height, width, device)
        many = time_runs(lambda: runner.logits(batch), settings.repeat, device)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise RunError(
            f"the memory of {device} does not hold {settings.batch_size} images of {height}x{width}; "
            "take a smaller --batch-size or --size"
        ) from error
    return {
        "device": device_name(device),
        "precision": precision,
        "threads": torch.get_num_threads(),
        "size": [height, width],
        "parameters": parameters,
        "flops": flops,
        "flops_convention": FLOPS_CONVENTION,
        "latency_ms": in_milliseconds(single),
        "throughput": {
            "batch_size": settings.batch_size,
            "images_per_second": settings.batch_size / many.p50,
            "spread": many.spread,
            "runs": many.runs,
        },
        "peak_memory_mb": torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None,
        "noisy": max(single.spread, many.spread) > NOISY_SPREAD,
        "versions": versions(),
    }


def random_images(count: int, channels: int, height: int, width: int, device: torch.device) -> Tensor:
    """Return reproducible network inputs `(count, channels, height, width)`, float32 in 0..1, channels-last."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, channels, height, width, generator=generator)
    return images.to(device).to(memory_format=torch.channels_last)


def count_flops(model: nn.Module, image: Tensor) -> int | None:
    """Count the operations of one forward pass by `FLOPS_CONVENTION`; None, with a warning, where torch cannot.

    Operations that torch has no formula for (pooling, element-wise) count 0.
    """
    from torch.utils.flop_counter import FlopCounterMode

    try:
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), warnings.catch_warnings(), counter:
            warnings.simplefilter("ignore")
            model(image)
    except (RuntimeError, NotImplementedError, TypeError, AssertionError, LookupError, AttributeError) as error:
        if out_of_memory(error):
            raise
        warn(f"the operations could not be counted: {error!r}")
        return None
    return int(counter.get_total_flops()) or None


def time_runs(run: Callable[[], Any], repeat: int, device: torch.device) -> Timing:
    """Time `run` `repeat` times, after a warm-up of at least three runs and half a second."""

    def once() -> float:
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    warm = time.perf_counter()
    done = 0
    while done < WARM_UP_RUNS or time.perf_counter() - warm < WARM_UP_SECONDS:
        once()
        done += 1
    return summarise([once() for _ in range(repeat)])


def summarise(seconds: list[float]) -> Timing:
    """Return percentiles (linear interpolation, as numpy's) and spread of measured times."""
    if len(seconds) == 1:
        return Timing(seconds[0], seconds[0], seconds[0], 0.0, 1)
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    middle = cuts[49]
    return Timing(middle, cuts[94], cuts[98], (cuts[74] - cuts[24]) / middle, len(seconds))


def in_milliseconds(timing: Timing) -> dict[str, float | int]:
    """The same timing as a table of JSON, times in milliseconds."""
    values = asdict(timing)
    return {key: 1000 * value if key.startswith("p") else value for key, value in values.items()}


def device_name(device: torch.device) -> str:
    """`cpu`, or the name of the CUDA device with its number."""
    if device.type != "cuda":
        return device.type
    return f"cuda:{device.index or 0} ({torch.cuda.get_device_name(device)})"


def load_trained(path: Path, device: torch.device) -> tuple[nn.Module, InputConfig, str]:
    """Load a `model.safetensors`: the network, its input, and its preset's name.

    Raises:
        InputError: the file is missing, broken or not a defectctl model.
    """
    from defectctl.checkpoints.weights import load_model

    model, contract = load_model(path, device)
    preset = contract.preset_config()
    return model, preset.input, preset.model.name
