"""Evaluates a model, or masks that were predicted before, on one part of a dataset."""

from __future__ import annotations

import platform
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defectctl.checkpoints.contract import Contract
from defectctl.checkpoints.runs import environment
from defectctl.checkpoints.weights import read_contract
from defectctl.errors import InputError
from defectctl.evaluation.files import FILES, Shown, write_files
from defectctl.evaluation.leaks import find_leak
from defectctl.evaluation.masks import match_masks, read_prediction, score_masks
from defectctl.evaluation.part import Part, load_part
from defectctl.fileio import check_writable, sha256_file
from defectctl.inference.abilities import tasks_of, thresholds_in_force
from defectctl.inference.device import check_device_name, check_precision_name
from defectctl.loading.pictures import PictureStore
from defectctl.messages import counter, say, warn
from defectctl.metrics.image_level import image_metrics
from defectctl.metrics.summary import all_metrics
from defectctl.metrics.table import ImageTable

if TYPE_CHECKING:
    import numpy as np

    from defectctl.dataset.types import Sample
    from defectctl.inference.runner import TorchRunner

RANKINGS = ("image_ap", "image_auroc", "best_f1", "fp_at_full_recall", "pixel_ap")
"""Figures that need scores, which masks on disk do not have."""

RESULT_FORMAT = 1
"""Version of the layout of `metrics.json`."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """What to compute on.

    Attributes:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: `auto`, `float32`, `bf16` or `fp16`.
        threads: of torch on the CPU; None chooses.
        batch_size: images a pass; None: the preset's, else the device's.
    """

    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    batch_size: int | None = None


def evaluate(
    model: Path,
    data: Path | None = None,
    split: str | None = None,
    part: str = "test",
    out: Path | None = None,
    hardware: Hardware = Hardware(),
) -> dict[str, Any]:
    """Score a model on one part and write metrics, table, confusion matrix and contact sheet.

    Everything that can be checked is checked before torch is imported.

    Args:
        model: a `model.safetensors`.
        data, split, part: as in `load_part`.
        out: folder for the files; None: `evaluation/DATASET-SPLIT-PART` beside the model.

    Returns:
        The content of `metrics.json`, with `out` added.

    Raises:
        InputError: an option, path, dataset or model is unusable, or the model's classes are not the dataset's.
    """
    check_hardware(hardware)
    contract = read_contract(model)
    chosen = load_part(data, split, part)
    check_classes(model, contract, chosen)
    leak = find_leak(chosen, contract)
    folder = out or model.parent / "evaluation" / _folder_name(chosen)
    check_writable(folder, "the results folder")
    preset, tasks = contract.preset_config(), tasks_of(contract)
    runner, device = _load(model, hardware, preset.predict.batch_size)
    pictures = PictureStore(chosen.dataset, preset.input.colour, cache_bytes=0)  # each is needed once
    began = time.perf_counter()
    with counter(len(chosen.samples), "evaluate") as count:
        table = _score(runner, chosen, pictures, contract.min_area, device["batch_size"], count)
    seconds = time.perf_counter() - began
    device.update(seconds=round(seconds, 3), images_per_second=round(len(table) / seconds, 3))
    details = {
        "model": {
            "file": str(model),
            "sha256": sha256_file(model),
            "training": contract.training,
            "dataset": contract.dataset,
        },
        "masks": None,
        "leak": leak,
        "device": device,
    }
    thresholds = thresholds_in_force(contract.thresholds, tasks, preset.predict.box_score)
    details["box_score"] = preset.predict.box_score if "detection" in tasks else None
    result = _result(chosen, table, tasks, thresholds, contract.min_area, details)

    def predict(sample: Sample) -> Shown:
        return _shown(runner, pictures.picture(sample), contract.min_area, preset.predict.box_score)

    return _finish(folder, chosen, table, result, predict, pictures)


def evaluate_masks(
    masks: Path, data: Path | None = None, split: str | None = None, part: str = "test", out: Path | None = None
) -> dict[str, Any]:
    """Score a folder of index masks as `predict` writes them; same files and figures as `evaluate`, without torch.

    Args:
        masks: folder of palette or grey PNGs whose values are class indices.
        out: folder for the files; None: `evaluation/DATASET-SPLIT-PART` inside `masks`.

    Raises:
        InputError: as in `load_part`, `match_masks` and `read_prediction`.
    """
    chosen = load_part(data, split, part)
    files = match_masks(masks, chosen)
    folder = out or masks / "evaluation" / _folder_name(chosen)
    check_writable(folder, "the results folder")
    pictures = PictureStore(chosen.dataset, "rgb", cache_bytes=0)
    with counter(len(chosen.samples), "evaluate") as count:
        table = score_masks(chosen, files, pictures, count)
    unknown = {
        "train_images": None,
        "val_images": None,
        "serious": False,
        "text": "masks do not say which images their model was trained on",
    }
    details = {"model": None, "masks": str(masks), "leak": unknown, "device": None, "box_score": None}
    result = _result(chosen, table, ("segmentation",), {}, 0, details)
    # A mask says yes or no: there is no probability to rank parts or pixels by.
    result["metrics"].update(dict.fromkeys(RANKINGS))
    classes = len(chosen.dataset.classes)

    def predict(sample: Sample) -> Shown:
        return Shown(read_prediction(files[sample.id], sample, classes))

    return _finish(folder, chosen, table, result, predict, pictures)


def check_hardware(hardware: Hardware) -> None:
    """Refuse what no machine could have, before torch is loaded.

    Raises:
        InputError: an unknown device or precision, or a count below 1.
    """
    check_device_name(hardware.device)
    check_precision_name(hardware.precision)
    if hardware.batch_size is not None and hardware.batch_size < 1:
        raise InputError(f"--batch-size must be at least 1, not {hardware.batch_size}")
    if hardware.threads is not None and hardware.threads < 1:
        raise InputError(f"--threads must be at least 1, not {hardware.threads}")


def check_classes(model: Path, contract: Contract, part: Part) -> None:
    """Refuse a model whose classes are not the dataset's, in the same order.

    Raises:
        InputError: they differ.
    """
    if contract.classes != part.dataset.class_names:
        raise InputError(
            f"model '{model}' knows the classes {', '.join(contract.classes)}, dataset '{part.dataset.root}' has "
            f"{', '.join(part.dataset.class_names)}; they must be the same in the same order"
        )


def _load(model: Path, hardware: Hardware, preset_batch: int | None) -> tuple[TorchRunner, dict[str, Any]]:
    import cv2

    from defectctl.inference.device import choose_device, choose_precision, default_batch_size, set_threads
    from defectctl.inference.runner import load_runner

    cv2.setNumThreads(1)  # images are already read side by side
    device = choose_device(hardware.device)
    precision = choose_precision(device, hardware.precision)
    threads = set_threads(hardware.threads, device)
    runner, _ = load_runner(model, device, precision, hardware.batch_size)
    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        import torch

        name = torch.cuda.get_device_name(device)
    batch_size = hardware.batch_size or preset_batch or default_batch_size(device)
    about = {"device": str(device), "name": name, "precision": precision, "threads": threads, "batch_size": batch_size}
    return runner, about


def _score(
    runner: TorchRunner,
    part: Part,
    pictures: PictureStore,
    min_area: int,
    batch_size: int,
    count: Callable[[int], None],
) -> ImageTable:
    from defectctl.inference.scoring import score_samples

    return score_samples(runner, part.dataset, part.samples, pictures, min_area, batch_size, count)


def _shown(runner: TorchRunner, picture: np.ndarray, min_area: int, box_score: float) -> Shown:
    from defectctl.inference.postprocess import clean_map, detections

    maps = runner.maps([picture])[0]
    boxes = None
    if maps.boxes is not None:
        boxes = [(found.label, found.box, found.score) for found in detections(maps.boxes, box_score)]
    if not maps.has_mask:
        return Shown(None, None, boxes)
    return Shown(clean_map(maps.class_map.cpu().numpy(), min_area), maps.defect.cpu().numpy(), boxes)


def _result(
    part: Part,
    table: ImageTable,
    tasks: tuple[str, ...],
    thresholds: Mapping[str, float],
    min_area: int,
    details: dict[str, Any],
) -> dict[str, Any]:
    """The content of `metrics.json`: figures first, then what they were made from.

    `metrics` holds what `metrics.summary.all_metrics` returns, `parts` what `image_metrics` does; `tasks` is what the
    model delivers, `thresholds` are those in force, `box_score` is the score from which a box is reported.
    """
    metrics = all_metrics(table)
    notes = [details["leak"]["text"]] if details["leak"]["text"] else []
    if "segmentation" in tasks:
        notes += _mask_notes(table, metrics)
    if "detection" in tasks:
        notes += _box_notes(table, metrics)
    return {
        "format": RESULT_FORMAT,
        "tasks": list(tasks),
        "metrics": metrics,
        "parts": image_metrics(table, thresholds),
        "notes": notes,
        "dataset": part.to_dict(),
        **details,
        "thresholds": dict(thresholds),
        "min_area": min_area,
        "command": " ".join(sys.argv),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "environment": environment(),
    }


def _mask_notes(table: ImageTable, pixels: dict[str, Any]) -> list[str]:
    """What the true masks leave open, and classes that the model never finds."""
    notes = []
    without = int((table.confusion.sum(axis=(1, 2)) == 0).sum())
    if without == len(table):
        notes.append("no image has a mask whose classes are known: there are no pixel figures")
    elif without:
        notes.append(f"{without} of {len(table)} images have no known mask and count only as parts")
    if pixels["unknown_share"] and without < len(table):
        notes.append(f"{pixels['unknown_share']:.1%} of the pixels have an unknown truth and are left out")
    if pixels["unknown_classes"] and without < len(table):
        notes.append(f"no mask speaks for {', '.join(pixels['unknown_classes'])}: left out")
    never = [n for n, row in pixels["per_class"].items() if row["pixels"] and row["recall"] == 0]
    if never:
        notes.append(f"never found although it is there: {', '.join(never)}")
    return notes


def _box_notes(table: ImageTable, metrics: dict[str, Any]) -> list[str]:
    """Classes of which no true box is known, and those that are never found at overlap 0.5."""
    rows = metrics["per_class"]
    if not any(row["boxes"] for row in rows.values()):
        return ["no image has boxes (or masks) that are known: there are no box figures"]
    without = [name for name, row in rows.items() if not row["boxes"]]
    never = [name for name, row in rows.items() if row["boxes"] and row["ap50"] == 0]
    notes = [f"no true box of {', '.join(without)}: left out of mAP"] if without else []
    return notes + ([f"boxes never found although they are there: {', '.join(never)}"] if never else [])


def _finish(
    folder: Path,
    part: Part,
    table: ImageTable,
    result: dict[str, Any],
    predict: Callable[[Sample], Shown],
    pictures: PictureStore,
) -> dict[str, Any]:
    for note in result["notes"]:
        (warn if note == result["leak"]["text"] and result["leak"]["serious"] else say)(note)
    write_files(folder, part, table, result, predict, pictures)
    files = {key: str(folder / name) for key, name in FILES.items() if (folder / name).exists()}
    return {**result, "out": str(folder), "files": files}


def _folder_name(part: Part) -> str:
    return re.sub(r"[^\w.-]+", "_", f"{part.dataset.name}-{part.split.name}-{part.name}")
