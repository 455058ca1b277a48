"""Opens whatever model a user names with the runner that it needs; torch loads only for weights."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from defectctl.checkpoints.onnx_file import is_onnx
from defectctl.errors import InputError

if TYPE_CHECKING:
    from defectctl.checkpoints.contract import Contract
    from defectctl.inference.base_runner import Runner


def open_runner(
    path: Path,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    batch_size: int | None = None,
) -> tuple[Runner, Contract]:
    """Load a model for inference: an exported one with onnxruntime, weights with torch.

    The runner's `device` and `precision` say what was chosen.

    Args:
        device, precision, threads: as the options of these names.
        batch_size: tiles at once with `input.mode: tile`; None: the preset's, else the device's.

    Raises:
        InputError: the file is unusable, what it needs is not installed, or device or precision cannot be had.
    """
    if is_onnx(path):
        from defectctl.inference.onnx_runner import load_onnx_runner

        return load_onnx_runner(path, device, precision, threads, batch_size)
    if not _has_torch():
        raise InputError(
            f"'{path}' needs torch, which is not installed; give a model.onnx, which `defectctl export` makes where "
            "torch is, or install torch"
        )
    from defectctl.inference.device import choose_device, choose_precision, set_threads
    from defectctl.inference.runner import load_runner

    place = choose_device(device)
    set_threads(threads, place)
    return load_runner(path, place, choose_precision(place, precision), batch_size)


def _has_torch() -> bool:
    try:
        return find_spec("torch") is not None
    except ValueError:  # an entry of sys.modules without a spec
        return False
