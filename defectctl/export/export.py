"""Exports a trained model: written beside its place, held against the original, and only then given its name."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from defectctl.checkpoints.weights import load_model
from defectctl.errors import InputError, RunError
from defectctl.export.graph import OPSET, output_names, write_graph
from defectctl.export.parity import Parity, compare
from defectctl.export.pictures import generated_pictures, real_pictures
from defectctl.fileio import atomic_path
from defectctl.inference.abilities import tasks_of
from defectctl.inference.onnx_runner import load_onnx_runner
from defectctl.inference.runner import TorchRunner
from defectctl.messages import counter

NEEDED = ("onnx", "onnxscript", "onnxruntime")
"""Packages beside torch that an export needs."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export came to.

    Attributes:
        path: the file.
        bytes: its size.
        outputs: names of the network's outputs.
        parity: how far it agrees with the original.
        tried_on: the pictures of that, in words.
        seconds: that the export took.
    """

    path: Path
    bytes: int
    outputs: list[str]
    parity: Parity
    tried_on: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "file": str(self.path),
            "bytes": self.bytes,
            "opset": OPSET,
            "outputs": self.outputs,
            "tried_on": self.tried_on,
            "parity": self.parity.to_dict(),
            "seconds": round(self.seconds, 1),
        }


def check_packages() -> None:
    """Refuse to begin where a package is missing that an export needs.

    Raises:
        InputError: with the names and the command that installs them.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"exporting needs {', '.join(missing)}, not installed here; run: pip install 'defectctl[export]'"
        )


def export_model(model: Path, out: Path, data: Path | None = None, images: int = 32) -> Exported:
    """Export `model.safetensors` to the ONNX file `out`, which is replaced in one step.

    Args:
        data: a dataset whose validation part the exported network is tried on; None: generated surfaces.
        images: pictures of the dataset at most.

    Raises:
        InputError: the model or the dataset is unusable, or a package is missing.
        RunError: torch cannot export the network, or the exported one disagrees; `out` is left as it was.
    """
    check_packages()
    started = time.perf_counter()
    network, contract = load_model(model)
    if data is None:
        pictures, tried_on = generated_pictures(contract), "generated steel surfaces"
    else:
        pictures, tried_on = real_pictures(contract, data, images)
    with atomic_path(out) as temporary:
        write_graph(network, contract, temporary)
        parity = _held_against(network, temporary, pictures)
        if problems := parity.problems():
            raise RunError(
                f"the exported network disagrees with '{model}', so '{out}' is not written: {'; '.join(problems)} "
                f"(tried on {len(pictures)} pictures: {tried_on})"
            )
        size = temporary.stat().st_size
    names = output_names(tasks_of(contract))
    return Exported(out, size, names, parity, tried_on, time.perf_counter() - started)


def _held_against(network: torch.nn.Module, exported: Path, pictures: list[np.ndarray]) -> Parity:
    """Compare the network in plain float32 with the exported file, which is closed again."""
    threads = torch.get_num_threads()
    second, _ = load_onnx_runner(exported, "cpu", threads=threads)
    first = TorchRunner(
        network, second.input, torch.device("cpu"), predict=second.predict, pixel_threshold=second.pixel_threshold
    )
    with counter(len(pictures), "compare") as count:
        return compare(first, second, pictures, count)
