"""Chooses a model's thresholds on calibration parts and stores them in its contract."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from defectctl.checkpoints.contract import Contract
from defectctl.checkpoints.weights import network_fingerprint, read_contract, rewrite_contract
from defectctl.dataset.splits import CALIBRATION
from defectctl.errors import InputError
from defectctl.evaluation.asked import Asked
from defectctl.evaluation.evaluate import (
    Hardware,
    Run,
    about_model,
    check_hardware,
    choose_part,
    default_folder,
    finish,
    judge_again,
    score_model,
)
from defectctl.evaluation.leaks import find_leak
from defectctl.evaluation.pixel_level import PixelPromise, choose_level
from defectctl.evaluation.result import made_by, named_groups
from defectctl.evaluation.scored import Scored, saved_scores
from defectctl.evaluation.wanted import HOW_TO, Wanted, check_parts
from defectctl.fileio import check_writable
from defectctl.inference.abilities import tasks_of, thresholds_in_force
from defectctl.messages import say
from defectctl.metrics.operating_point import OperatingPoint, by_best_f1, by_cost, by_promise
from defectctl.metrics.table import ImageTable


def calibrate(
    model: Path,
    wanted: Wanted,
    data: Path | None = None,
    split: str | None = None,
    part: str | None = None,
    out: Path | None = None,
    hardware: Hardware = Hardware(),
    asked: Asked = Asked(),
) -> dict[str, Any]:
    """Score the calibration parts, choose thresholds, store them in the model and write the evaluation with them.

    Scores of an earlier evaluation of the same network on the same images are taken as they are.

    Args:
        data, split: as in `choose_part`.
        part: None: `calibration`; where the split has none and nothing is promised, `val`.
        out, hardware, asked: as in `evaluate`; prices without a promise choose the cheapest threshold.

    Returns:
        As `evaluate`; its `calibration` is what was stored.

    Raises:
        InputError: an option or part cannot be used, or the parts do not carry what was asked; then nothing is stored.
    """
    asked.check()
    wanted.check()
    check_hardware(hardware)
    contract = read_contract(model)
    chosen = _calibration_part(contract, wanted, data, split, part)
    check_parts({"dataset": chosen.to_dict(), "leak": find_leak(chosen, contract)}, wanted)
    _check_tasks(contract, wanted)
    folder = out or default_folder(model, chosen)
    check_writable(folder, "the results folder")
    saved = saved_scores(folder, network_fingerprint(model, contract), chosen.to_dict())
    run: Run | None = None
    if saved is not None:
        say(f"scores are taken from '{folder}' (same network, same images)")
        scored = saved
    else:
        run = score_model(model, contract, chosen, hardware)
        scored = run.scored
    pixel, level_rows, part_rows = None, None, np.arange(len(scored.table))
    if wanted.promises_pixels:
        level_rows, part_rows = _divided(scored.table, wanted, asked)
        pixel = choose_level(scored.table.select(level_rows), wanted, asked.confidence, contract.min_area)
        contract.thresholds = {"pixel": pixel.threshold}
        run = score_model(model, contract, chosen, hardware)
        scored = run.scored
    point = _choose(scored.table.select(part_rows), wanted, asked, contract, pixel)
    _store(model, contract, scored, point, pixel)
    return judge_again(scored, asked, folder) if run is None else finish(folder, run, asked)


def calibrate_again(scored: Scored, wanted: Wanted, asked: Asked, out: Path | None = None) -> dict[str, Any]:
    """Choose thresholds from an earlier evaluation and store them in the model that it names; no network runs.

    Raises:
        InputError: as `calibrate`; the evaluation is of masks, its model has changed, or a pixel threshold is wanted.
    """
    asked.check()
    wanted.check()
    if scored.about["model"] is None:
        raise InputError(f"'{scored.folder}' is an evaluation of masks, which have no threshold to calibrate")
    if wanted.promises_pixels:
        raise InputError("a pixel threshold changes the masks, so the network must run: give the model, not its scores")
    check_parts(scored.about, wanted)
    model = Path(scored.about["model"]["file"])
    contract = read_contract(model)
    if network_fingerprint(model, contract) != scored.about["model"]["network"]:
        raise InputError(f"model '{model}' is not the one that '{scored.folder}' was made with; evaluate it again")
    _store(model, contract, scored, _choose(scored.table, wanted, asked, contract, None), None)
    return judge_again(scored, asked, out)


def _calibration_part(
    contract: Contract, wanted: Wanted, data: Path | None, split: str | None, part: str | None
) -> Any:
    if part is not None:
        return choose_part(contract, data, split, part)
    try:
        return choose_part(contract, data, split, CALIBRATION)
    except InputError as error:
        if f"has no part '{CALIBRATION}'" not in str(error):
            raise
        if wanted.promises:
            raise InputError(
                f"a promise needs parts that neither trained nor chose the model, and the split has none; {HOW_TO}"
            ) from error
    say("the split has no calibration part: thresholds are chosen on part 'val', which also chose the model's epoch")
    return choose_part(contract, data, split, "val")


def _check_tasks(contract: Contract, wanted: Wanted) -> None:
    if wanted.promises_pixels and "segmentation" not in tasks_of(contract):
        raise InputError("--max-missed-pixels and --max-missed-defects need a model that outlines defects")
    pixel = contract.calibration.get("pixel")
    if wanted.promises_parts and not wanted.promises_pixels and pixel:
        raise InputError(
            f"the model's pixel threshold was chosen on {pixel['parts']} calibration parts, on which a promise about "
            "parts would not hold; give both in one command, and the parts are divided between them"
        )


def _divided(table: ImageTable, wanted: Wanted, asked: Asked) -> tuple[np.ndarray, np.ndarray]:
    """Rows for the pixel threshold and rows for the thresholds of parts.

    A threshold of parts that is chosen on the parts that chose the pixel threshold keeps no promise, since their scores
    depend on it. So where both are wanted the groups are divided evenly, those with a defective part apart.
    """
    everything = np.arange(len(table))
    if not wanted.promises_parts and asked.cost_escape is None:
        return everything, everything[:0]
    names = [group or table.ids[row] for row, group in enumerate(table.groups)]
    bad = {name for name, state in zip(names, table.defective, strict=True) if state == 1}
    order = sorted(set(names))
    order = [order[place] for place in np.random.default_rng(0).permutation(len(order))]
    order.sort(key=lambda name: name in bad)
    first = set(order[::2])
    mine = np.array([name in first for name in names])
    return everything[mine], everything[~mine]


def _choose(
    table: ImageTable, wanted: Wanted, asked: Asked, contract: Contract, pixel: PixelPromise | None
) -> OperatingPoint:
    """The thresholds of parts.

    Raises:
        InputError: none can be chosen.
    """
    columns = (table.score, table.defective)
    groups = named_groups(table)
    if wanted.promises_parts:
        point = by_promise(*columns, groups, wanted.max_escape, wanted.max_overkill, asked.confidence)
    elif asked.cost_escape is not None and asked.cost_overkill is not None:
        point = by_cost(*columns, asked.cost_escape, asked.cost_overkill, wanted.prevalence, groups)
    elif pixel is not None:
        return OperatingPoint("pixel", notes=["thresholds of parts: none asked for, so none is stored"])
    else:
        point = by_best_f1(*columns, groups)
    if not point.chosen:
        raise InputError(f"no threshold is stored: {'; '.join(point.notes)}")
    return point


def _store(model: Path, contract: Contract, scored: Scored, point: OperatingPoint, pixel: PixelPromise | None) -> None:
    """Write the thresholds into the model, and into what is said of it."""
    kept = {key: value for key, value in contract.thresholds.items() if key == "pixel"}
    earlier = contract.calibration.get("pixel")
    made = made_by()
    record = point.to_dict()
    for name, promise in point.promises.items():
        record["promises"][name]["sentence"] = promise.sentence()
    record |= {
        "pixel": asdict(pixel) if pixel is not None else earlier,
        "dataset": scored.about["dataset"],
        "precision": (scored.about["device"] or {}).get("precision"),
        "command": made["command"],
        "date": made["date"],
    }
    contract.thresholds, contract.calibration = {**point.thresholds, **kept}, record
    rewrite_contract(model, contract)
    tasks, preset = tasks_of(contract), contract.preset_config()
    scored.about["model"] = about_model(model, contract)
    scored.about["own_thresholds"] = thresholds_in_force(contract.thresholds, tasks, preset.predict.box_score)
    scored.about["calibration"] = record
    for note in [*(pixel.notes if pixel is not None else ()), *point.notes]:
        say(note)
    told = ", ".join(f"{name} {value:.4g}" for name, value in contract.thresholds.items())
    say(f"stored in '{model}': {told}")
