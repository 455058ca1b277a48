"""Evaluates a model, or masks that were predicted before, on one part of a dataset."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defectctl.checkpoints.contract import Contract
from defectctl.checkpoints.weights import network_fingerprint, read_contract
from defectctl.dataset.store import find_dataset, load_dataset
from defectctl.errors import InputError
from defectctl.evaluation.asked import Asked
from defectctl.evaluation.cases import draw_pictures
from defectctl.evaluation.files import FILES, write_files, write_sheet
from defectctl.evaluation.leaks import UNKNOWN_LEAK, find_leak
from defectctl.evaluation.masks import match_masks, read_prediction, score_masks
from defectctl.evaluation.part import Part, load_part, own_split, part_of
from defectctl.evaluation.result import build_result, made_by
from defectctl.evaluation.scored import Scored
from defectctl.evaluation.shown import Shown
from defectctl.fileio import check_writable, sha256_file
from defectctl.inference.abilities import tasks_of, thresholds_in_force
from defectctl.inference.device import check_device_name, check_precision_name
from defectctl.loading.pictures import PictureStore
from defectctl.messages import counter, say, warn

if TYPE_CHECKING:
    import numpy as np

    from defectctl.dataset.types import Sample
    from defectctl.inference.runner import TorchRunner
    from defectctl.metrics.table import ImageTable


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
    asked: Asked = Asked(),
) -> dict[str, Any]:
    """Score a model on one part and write metrics, table, confusion matrix, report and contact sheet.

    Everything that can be checked is checked before torch is imported.

    Args:
        model: a `model.safetensors`.
        data, split, part: as in `choose_part`.
        out: folder for the files; None: `evaluation/DATASET-SPLIT-PART` beside the model.

    Returns:
        The content of `metrics.json`, with `out` and `files` added.

    Raises:
        InputError: an option, path, dataset or model is unusable, or the model's classes are not the dataset's.
    """
    asked.check()
    check_hardware(hardware)
    contract = read_contract(model)
    chosen = choose_part(contract, data, split, part)
    folder = out or default_folder(model, chosen)
    check_writable(folder, "the results folder")
    return finish(folder, score_model(model, contract, chosen, hardware), asked)


@dataclass(frozen=True, slots=True)
class Run:
    """A part that was just scored, with what is needed to draw its images.

    Attributes:
        scored: table and origin.
        part: the images.
        show: what was found in a sample, once more.
        pictures: of the part's dataset.
    """

    scored: Scored
    part: Part
    show: Callable[[Sample], Shown]
    pictures: PictureStore


def score_model(model: Path, contract: Contract, part: Part, hardware: Hardware) -> Run:
    """Run a model on a part; nothing is written.

    Args:
        contract: the model's, or one with another pixel threshold, which then is in force.

    Raises:
        InputError: the model's classes are not the dataset's, or it cannot be loaded.
    """
    check_classes(model, contract, part)
    leak = find_leak(part, contract)
    preset, tasks = contract.preset_config(), tasks_of(contract)
    runner, device = _load(model, hardware, preset.predict.batch_size)
    runner.pixel_threshold = contract.thresholds.get("pixel")
    pictures = PictureStore(part.dataset, preset.input.colour, cache_bytes=0)  # each is needed once
    began = time.perf_counter()
    with counter(len(part.samples), "evaluate") as count:
        how = (contract.min_area, device["batch_size"], preset.predict.box_score)
        table = _score(runner, part, pictures, *how, count)
    seconds = time.perf_counter() - began
    device.update(seconds=round(seconds, 3), images_per_second=round(len(table) / seconds, 3))
    about = {
        "tasks": list(tasks),
        "dataset": part.to_dict(),
        "model": about_model(model, contract),
        "masks": None,
        "leak": leak,
        "device": device,
        "box_score": preset.predict.box_score if "detection" in tasks else None,
        "min_area": contract.min_area,
        "own_thresholds": thresholds_in_force(contract.thresholds, tasks, preset.predict.box_score),
        "calibration": contract.calibration,
        "scored": made_by(),
    }

    def show(sample: Sample) -> Shown:
        return _shown(runner, pictures.picture(sample), contract.min_area, preset.predict.box_score)

    return Run(Scored(table, about), part, show, pictures)


def about_model(model: Path, contract: Contract) -> dict[str, Any]:
    """The model as `Scored.about` names it: file, hash, hash of what it finds, training and training data."""
    return {
        "file": str(model),
        "sha256": sha256_file(model),
        "network": network_fingerprint(model, contract),
        "training": contract.training,
        "dataset": contract.dataset,
    }


def evaluate_masks(
    masks: Path,
    data: Path | None = None,
    split: str | None = None,
    part: str = "test",
    out: Path | None = None,
    asked: Asked = Asked(),
) -> dict[str, Any]:
    """Score a folder of index masks as `predict` writes them; same files and figures as `evaluate`, without torch.

    Args:
        masks: folder of palette or grey PNGs whose values are class indices.
        out: folder for the files; None: `evaluation/DATASET-SPLIT-PART` inside `masks`.

    Raises:
        InputError: as in `load_part`, `match_masks` and `read_prediction`.
    """
    asked.check()
    chosen = load_part(data, split, part)
    files = match_masks(masks, chosen)
    folder = out or masks / "evaluation" / _folder_name(chosen)
    check_writable(folder, "the results folder")
    pictures = PictureStore(chosen.dataset, "rgb", cache_bytes=0)
    with counter(len(chosen.samples), "evaluate") as count:
        table = score_masks(chosen, files, pictures, count)
    about = {
        "tasks": ["segmentation"],
        "dataset": chosen.to_dict(),
        "model": None,
        "masks": str(masks),
        "leak": UNKNOWN_LEAK,
        "device": None,
        "box_score": None,
        "min_area": 0,
        "own_thresholds": {},
        "calibration": {},
        "scored": made_by(),
    }
    classes = len(chosen.dataset.classes)

    def show(sample: Sample) -> Shown:
        return Shown(read_prediction(files[sample.id], sample, classes))

    return finish(folder, Run(Scored(table, about), chosen, show, pictures), asked)


def judge_again(scored: Scored, asked: Asked, out: Path | None = None) -> dict[str, Any]:
    """Answer other questions from the table of an earlier evaluation: no network runs, no dataset is opened.

    Args:
        out: folder for the files; None: the earlier evaluation's own.

    Returns:
        As `evaluate`.

    Raises:
        InputError: as `Asked.check`, or the folder cannot be written.
    """
    asked.check()
    folder = out or scored.folder
    assert folder is not None, "a table that was just made needs a folder"
    check_writable(folder, "the results folder")
    result = build_result(scored, asked)
    _tell(result)
    write_files(folder, scored, result)
    return _with_files(folder, result)


def choose_part(contract: Contract, data: Path | None, split: str | None, part: str) -> Part:
    """The part to evaluate a model on: of the split that was asked for, else the one the model was trained by.

    Args:
        data, split, part: as in `load_part`; where the dataset is another one than the model's, or has no such split
            any more, its own default split is taken.
    """
    dataset = load_dataset(find_dataset(data))
    return part_of(dataset, split or own_split(contract, dataset), part)


def default_folder(model: Path, part: Part) -> Path:
    """Where the evaluation of a model on a part is written unless another folder is named."""
    return model.parent / "evaluation" / _folder_name(part)


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
    box_score: float,
    count: Callable[[int], None],
) -> ImageTable:
    from defectctl.inference.scoring import score_samples

    more = {"finer": True, "box_score": box_score}
    return score_samples(runner, part.dataset, part.samples, pictures, min_area, batch_size, count, **more)


def _shown(runner: TorchRunner, picture: np.ndarray, min_area: int, box_score: float) -> Shown:
    from defectctl.inference.postprocess import clean_map, detections

    maps = runner.maps([picture])[0]
    boxes = None
    if maps.boxes is not None:
        boxes = [(found.label, found.box, found.score) for found in detections(maps.boxes, box_score)]
    if not maps.has_mask:
        return Shown(None, None, boxes)
    class_map, defect = maps.arrays()
    return Shown(clean_map(class_map, min_area), defect, boxes)


def finish(folder: Path, run: Run, asked: Asked) -> dict[str, Any]:
    """Compute, tell and write; every image that is drawn is predicted once more, once. Returns as `evaluate`."""
    scored = run.scored
    result = build_result(scored, asked)
    _tell(result)
    by_id = {sample.id: sample for sample in run.part.samples}
    shown = cache(lambda name: run.show(by_id[name]))

    def draw(row: int) -> dict[str, bytes]:
        name = scored.table.ids[row]
        return draw_pictures(run.part, by_id[name], shown(name), run.pictures, result["min_area"])

    write_sheet(folder, run.part, scored.table, result, lambda sample: shown(sample.id), run.pictures)
    write_files(folder, scored, result, draw)
    return _with_files(folder, result)


def _tell(result: dict[str, Any]) -> None:
    for note in result["notes"]:
        (warn if note == result["leak"]["text"] and result["leak"]["serious"] else say)(note)


def _with_files(folder: Path, result: dict[str, Any]) -> dict[str, Any]:
    files = {key: str(folder / name) for key, name in FILES.items() if (folder / name).exists()}
    return {**result, "out": str(folder), "files": files}


def _folder_name(part: Part) -> str:
    return re.sub(r"[^\w.-]+", "_", f"{part.dataset.name}-{part.split.name}-{part.name}")
