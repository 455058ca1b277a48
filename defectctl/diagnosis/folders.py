"""Probes of where defectctl works: folders, names, locks, the data and model it would take, environment variables."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

from defectctl.diagnosis.checks import FAILED, OK, REPORT_IT, WARNING, Check, one_line
from defectctl.diagnosis.machine import GIB, in_gib
from defectctl.errors import DefectctlError, InputError
from defectctl.fileio import check_writable, folder_lock, write_bytes

LEAST_DISK = GIB
"""Free space under which a run soon ends with a full disk."""
SLOW_WRITE = 0.2
"""Seconds for a file of a few kilobytes, from which writing masks would be slower than most networks."""
ODD_NAME = "Prüfteil № 7 表面 (é)"
"""Letters of four alphabets' kinds and spaces, as names of parts have them."""
VARIABLES = (
    "DEFECTCTL_MODEL",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_LAUNCH_BLOCKING",
    "NVIDIA_TF32_OVERRIDE",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "KMP_AFFINITY",
    "KMP_DUPLICATE_LIB_OK",
    "ATEN_CPU_CAPABILITY",
    "OPENCV_IO_MAX_IMAGE_PIXELS",
    "TORCH_HOME",
    "HF_HUB_OFFLINE",
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONUTF8",
    "PYTHONIOENCODING",
    "LC_ALL",
    "LANG",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "TMPDIR",
    "TEMP",
)
"""The only variables that are shown: others, proxies among them, may hold passwords."""
LONGEST_VALUE = 200
RISKY = {
    "PYTHONHOME": "unset it: Python may load the packages of another installation",
    "KMP_DUPLICATE_LIB_OK": "unset it and install one OpenMP only: with two, results may be wrong without a word",
    "CUDA_LAUNCH_BLOCKING": "unset it: every step on the GPU waits for the one before",
}
"""Variables that should not be set in daily work, and why."""


def working_folder() -> Check:
    """Room and rights in the working folder."""
    return _folder(Path.cwd(), "change to a folder that you may write to, or name another with --out")


def temporary_folder() -> Check:
    """Room and rights in the folder for temporary files."""
    return _folder(Path(tempfile.gettempdir()), "point the environment variable TMPDIR (on Windows TEMP) elsewhere")


def names() -> Check:
    """Whether a picture in a folder with a space and letters of other alphabets is written and read back.

    Tried in the working folder, where the data are, and tidied up; in the temporary one where that is closed.
    """
    import cv2
    import numpy as np

    from defectctl.imaging.reader import read_image

    picture = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    advice = "keep images and results in folders whose names have plain letters, or on another disk"
    try:
        with tempfile.TemporaryDirectory(prefix=".defectctl-", dir=_usable_folder()) as root:
            path = Path(root) / ODD_NAME / f"{ODD_NAME}.png"
            began = time.perf_counter()
            write_bytes(path, cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
            seconds = time.perf_counter() - began
            same = np.array_equal(read_image(path), picture)
            listed = any(ODD_NAME in name for name in os.listdir(path.parent))
    except OSError as error:
        return Check(FAILED, f"'{ODD_NAME}' cannot be written and read: {one_line(error)}", advice)
    facts = {"write_ms": round(1000 * seconds, 1)}
    if not same:
        return Check(FAILED, "a picture is not read as it was written", REPORT_IT, facts)
    if not listed:
        return Check(WARNING, f"the file system changes names such as '{ODD_NAME}'", advice, facts)
    text = f"'{ODD_NAME}.png' is written and read, {facts['write_ms']} ms"
    if seconds > SLOW_WRITE:
        slow = "work on a local disk, and ask the virus scanner to leave the results' folder out"
        return Check(WARNING, f"{text} for a small file", slow, facts)
    return Check(OK, text, facts=facts)


def locks() -> Check:
    """Whether the working folder's file system can lock: without that every folder would look as if in use."""
    try:
        with (
            tempfile.TemporaryDirectory(prefix=".defectctl-", dir=_usable_folder()) as root,
            folder_lock(Path(root), "the folder"),
        ):
            pass
    except DefectctlError:
        advice = "write results to a local disk, and copy them to the share afterwards"
        return Check(FAILED, "this file system does not lock files", advice)
    return Check(OK, "files can be locked")


def dataset() -> Check:
    """The dataset that a command takes where `--data` names none."""
    from defectctl.dataset.locate import find_dataset

    try:
        found = find_dataset()
    except InputError as error:
        return Check(OK, f"none found: {error}", facts={"found": None})
    return Check(OK, f"{found}", facts={"found": str(found)})


def model() -> Check:
    """The model that a command takes where `--model` names none."""
    from defectctl.checkpoints.runs import MODEL_VARIABLE, RUNS, find_model
    from defectctl.checkpoints.weights import read_contract

    runs = sum(1 for _ in RUNS.iterdir()) if RUNS.is_dir() else 0
    facts: dict[str, object] = {"found": None, "runs": runs}
    said = StringIO()
    try:
        with redirect_stderr(said):
            path, why = find_model(None)
    except InputError as error:
        if os.environ.get(MODEL_VARIABLE):
            return Check(WARNING, str(error), f"let ${MODEL_VARIABLE} name a model that is there, or unset it", facts)
        return Check(OK, f"none found: {error}", facts=facts)
    facts |= {"found": str(path), "why": why}
    if damaged := [line.removeprefix("warning: ") for line in said.getvalue().splitlines()]:
        return Check(WARNING, f"{path} ({why}); {'; '.join(damaged)}", "delete or repair the damaged run", facts)
    try:
        contract = read_contract(path)
        preset = contract.preset_config()
    except InputError as error:
        return Check(WARNING, str(error), "name another model with --model, or train it again", facts)
    facts |= {"network": preset.model.name, "classes": len(contract.classes), "versions": contract.versions}
    text = f"{path} ({why}): {preset.model.name}, {len(contract.classes)} classes"
    made_by = contract.versions.get("defectctl")
    return Check(OK, f"{text}, made by defectctl {made_by}" if made_by else text, facts=facts)


def variables() -> Check:
    """Environment variables that change what happens, of a fixed list."""
    found = {name: os.environ[name][:LONGEST_VALUE] for name in VARIABLES if os.environ.get(name) is not None}
    text = " ".join(f"{name}={value}" for name, value in found.items()) or "none of those that matter"
    risky = [f"{name}: {why}" for name, why in RISKY.items() if found.get(name) not in (None, "", "0")]
    return Check(WARNING if risky else OK, text, "; ".join(risky), dict(found))


def _folder(folder: Path, advice: str) -> Check:
    free = shutil.disk_usage(folder).free
    facts = {"place": str(folder), "free_bytes": free}
    text = f"{folder}, {in_gib(free)} free"
    try:
        check_writable(folder, "the folder")
    except InputError as error:
        reason = error.__cause__ or error
        return Check(FAILED, f"{text}, cannot be written to: {one_line(reason)}", advice, facts)
    if free < LEAST_DISK:
        return Check(WARNING, text, "make room on this disk", facts)
    return Check(OK, f"{text}, can be written to", facts=facts)


def _usable_folder() -> Path:
    try:
        check_writable(Path.cwd(), "the working folder")
    except (InputError, OSError):
        return Path(tempfile.gettempdir())
    return Path.cwd()
