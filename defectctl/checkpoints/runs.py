"""Run folders: a new one, its status, the newest finished one, and the model that a command means."""

from __future__ import annotations

import os
import platform
import re
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from defectctl.errors import InputError, nearest
from defectctl.fileio import read_json, write_json
from defectctl.messages import warn
from defectctl.version import __version__

MODEL_FILE = "model.safetensors"
EXPORT_FILE = "model.onnx"
STATE_FILE = "state.pt"
RUN_FILE = "run.json"
RUNS = Path("runs")
"""Where runs lie below the working directory, unless a command is told otherwise."""

MODEL_VARIABLE = "DEFECTCTL_MODEL"
"""Environment variable that names the model where `--model` does not."""

STATUSES = ("running", "finished", "stopped")
PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "scipy",
    "timm",
    "segmentation-models-pytorch",
    "safetensors",
    "pydantic",
    "typer",
)


def new_run(root: Path, preset_name: str) -> Path:
    """Make the next folder `root/PRESET-NNN` and mark it as running; two at the same time never get the same one."""
    stem = re.sub(r"[^\w.-]+", "-", preset_name).strip(".-") or "run"
    pattern = re.compile(re.escape(stem) + r"-(\d+)", re.IGNORECASE)
    root.mkdir(parents=True, exist_ok=True)
    taken = [int(match[1]) for entry in root.iterdir() if (match := pattern.fullmatch(entry.name))]
    number = max(taken, default=0) + 1
    while True:
        run = root / f"{stem}-{number:03d}"
        try:
            run.mkdir()
            break
        except FileExistsError:
            number += 1
    write_json(run / RUN_FILE, {"status": "running", "preset": preset_name, "started": _now(), "ended": None})
    return run


def mark_run(run: Path, status: str) -> None:
    """Set the status of a run: `running` (again, on resume), `finished` or `stopped`."""
    if status not in STATUSES:
        raise ValueError(f"status must be one of {STATUSES}, not {status!r}")
    values = read_run(run)
    values.update(status=status, ended=None if status == "running" else _now())
    write_json(run / RUN_FILE, values)


def read_run(run: Path) -> dict[str, Any]:
    """What `run.json` says: status, preset, started, ended (ISO 8601, UTC).

    Raises:
        InputError: the folder is not a run.
    """
    if not (run / RUN_FILE).is_file():
        raise InputError(f"'{run}' is not a run of defectctl (it has no {RUN_FILE})")
    values = read_json(run / RUN_FILE, "run file")
    if not isinstance(values, dict) or values.get("status") not in STATUSES:
        raise InputError(f"run file '{run / RUN_FILE}' is damaged: it names no status")
    return values


def find_run(run: str | None, root: Path = RUNS) -> Path:
    """The run to resume.

    Args:
        run: a run's path or its name below `root`; None: the newest that is not finished and has a saved state.

    Raises:
        InputError: no such run, or none to resume.
    """
    if run is not None:
        return _named_run(run, root)
    open_runs = [r for r, about in _runs(root) if about["status"] != "finished" and (r / STATE_FILE).is_file()]
    if not open_runs:
        raise InputError(f"no unfinished run with a saved state lies under '{root}'; name the run")
    return max(open_runs, key=lambda r: ((r / STATE_FILE).stat().st_mtime, r.name))


def find_model(model: str | None, root: Path = RUNS, said_by: str = "--model") -> tuple[Path, str]:
    """The weights file that a command means, and why it is that one.

    Args:
        model: a weights file or an exported one, a run's path, or a run's name below `root`; of a folder, its
            `model.safetensors`, else its `model.onnx`; None: what `$DEFECTCTL_MODEL` names, else
            the newest finished run.
        said_by: the option or argument that `model` comes from, for messages.

    Returns:
        The path, and a few words for the user, e.g. "newest finished run".

    Raises:
        InputError: no such model, or no finished run.
    """
    if model is not None:
        return _named_model(model, root, said_by), said_by
    variable = os.environ.get(MODEL_VARIABLE)
    if variable:
        return _named_model(variable, root, f"${MODEL_VARIABLE}"), f"${MODEL_VARIABLE}"
    runs = _runs(root)
    finished = [
        (about["ended"] or "", run.name, run)
        for run, about in runs
        if about["status"] == "finished" and (run / MODEL_FILE).is_file()
    ]
    if finished:
        return max(finished)[2] / MODEL_FILE, "newest finished run"
    hint = f" ({runs[-1][0]} is {runs[-1][1]['status']})" if runs else ""
    raise InputError(f"no finished run lies under '{root}'{hint}; train one first or name a model with --model")


def environment() -> dict[str, Any]:
    """What a run was made with: versions, system, processor; nothing is imported for it."""
    cuda = None
    if torch := sys.modules.get("torch"):
        cuda = torch.version.cuda
    return {
        "defectctl": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "cuda": cuda,
        "packages": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of defectctl and of the libraries a result depends on, as far as they are installed."""
    found = {"defectctl": __version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def _runs(root: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The run folders below `root` with what they say of themselves, oldest name first; damaged ones are warned of."""
    found = []
    for run in sorted(root.iterdir()) if root.is_dir() else []:
        if (run / RUN_FILE).is_file():
            try:
                found.append((run, read_run(run)))
            except InputError as error:
                warn(f"{error}; this run is left out")
    return found


def _named_run(run: str, root: Path) -> Path:
    for path in (Path(run), root / run):
        if path.is_dir():
            read_run(path)
            return path
    names = [run.name for run, _ in _runs(root)]
    raise InputError(f"run '{run}' does not exist{nearest(Path(run).name, names)}")


def _named_model(model: str, root: Path, said_by: str) -> Path:
    for path in (Path(model), root / model):
        if path.is_file():
            return path
        if path.is_dir():
            for name in (MODEL_FILE, EXPORT_FILE):
                if (path / name).is_file():
                    return path / name
            raise InputError(f"{said_by} names the folder '{path}', which holds no {MODEL_FILE}")
    names = [run.name for run, _ in _runs(root)]
    raise InputError(f"{said_by} names '{model}', which does not exist{nearest(Path(model).name, names)}")
