"""Chooses a model's thresholds on calibration parts and stores them in its contract."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from defectctl.checkpoints.contract import Contract
from defectctl.checkpoints.weights import check_rewritable, network_fingerprint, read_contract, rewrite_contract
from defectctl.dataset.splits import CALIBRATION, group_names
from defectctl.dataset.store import find_dataset, load_dataset, load_split
from defectctl.dataset.truth import recorded_state
from defectctl.errors import InputError
from defectctl.evaluation.asked import Asked
from defectctl.evaluation.evaluate import (
    Hardware,
    Run,
    about_model,
    check_hardware,
    default_folder,
    finish,
    judge_again,
    score_model,
)
from defectctl.evaluation.leaks import find_leak
from defectctl.evaluation.part import Part, own_split, part_of
from defectctl.evaluation.pixel_level import PixelPromise, check_number, choose_level
from defectctl.evaluation.result import made_by, named_groups
from defectctl.evaluation.scored import Scored, saved_scores
from defectctl.evaluation.wanted import HOW_TO, Wanted, check_other_split, check_parts
from defectctl.fileio import check_writable
from defectctl.inference.abilities import tasks_of, thresholds_in_force
from defectctl.messages import say
from defectctl.metrics.operating_point import OperatingPoint, by_best_f1, by_cost, by_promise
from defectctl.metrics.promise import group_scores, shown
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

    Scores of an earlier evaluation of the same network on the same images, in the precision asked for, are taken as
    they are.

    Args:
        data: the dataset; None as in `load_part`.
        split: its name; None: the one the model was trained by, else the dataset's default.
        part: None: `calibration`; where the split has none and nothing is promised, `val`.
        out, hardware, asked: as in `evaluate`; prices without a promise choose the cheapest threshold.

    Returns:
        As `evaluate`; its `calibration` is what was stored.

    Raises:
        InputError: an option or part cannot be used, or the parts do not carry what was asked; then nothing is stored.
    """
    _check_request(wanted, asked)
    check_hardware(hardware)
    contract = read_contract(model)
    chosen, leak = _allowed_part(contract, wanted, asked, data, split, part)
    folder = out or default_folder(model, chosen)
    check_rewritable(model)
    check_writable(folder, "the results folder")
    run: Run | None = None
    scored = saved_scores(folder, network_fingerprint(model, contract), chosen.to_dict(), hardware.precision)
    if scored is not None:
        say(f"scores are taken from '{folder}' (same network, same images)")
        scored.about["leak"] = leak
    else:
        run = score_model(model, contract, chosen, hardware)
        scored = run.scored
    pixel, part_rows = None, np.arange(len(scored.table))
    if wanted.promises_pixels:
        level_rows, part_rows = _divided(scored.table, contract, wanted, asked)
        before = contract.thresholds.get("pixel")
        background = scored.table.negatives.sum(axis=0)
        pixel = choose_level(scored.table.select(level_rows), wanted, asked.confidence, contract.min_area, background)
        contract.thresholds["pixel"] = pixel.threshold
        if pixel.threshold != before:
            run = score_model(model, contract, chosen, hardware)
            scored = run.scored
    divided = len(part_rows) < len(scored.table)
    point = _choose(scored.table.select(part_rows), wanted, asked, pixel, divided)
    _store(model, contract, scored, point, pixel)
    return judge_again(scored, asked, folder) if run is None else finish(folder, run, asked)


def _allowed_part(
    contract: Contract, wanted: Wanted, asked: Asked, data: Path | None, split: str | None, part: str | None
) -> tuple[Part, dict[str, Any]]:
    """The parts to choose thresholds on, and what the model has seen of them, as `find_leak` tells it.

    Raises:
        InputError: there are none, or these parts, this model or their number do not allow what is wanted.
    """
    chosen = _calibration_part(contract, wanted, data, split, part)
    leak = find_leak(chosen, contract)
    check_parts({"dataset": chosen.to_dict(), "leak": leak}, wanted)
    if leak["train_images"] is not None:
        check_other_split(chosen, contract, wanted)
    _check_tasks(contract, wanted, chosen.dataset.fingerprint)
    _check_number(contract, chosen, wanted, asked)
    return chosen, leak


def calibrate_again(scored: Scored, wanted: Wanted, asked: Asked, out: Path | None = None) -> dict[str, Any]:
    """Choose thresholds from an earlier evaluation and store them in the model that it names; no network runs.

    Raises:
        InputError: as `calibrate`; the evaluation is of masks or pooled from several models, its model has changed, its
            split is not the model's, or a pixel threshold is wanted.
    """
    _check_request(wanted, asked)
    if scored.about["model"] is None:
        raise InputError(f"'{scored.folder}' is an evaluation of masks, which have no threshold to calibrate")
    if scored.about["device"] is None:
        raise InputError(f"'{scored.folder}' is pooled from several models; calibrate each of them on parts of its own")
    if wanted.promises_pixels:
        raise InputError("a pixel threshold changes the masks, so the network must run: give the model, not its scores")
    check_parts(scored.about, wanted)
    model = Path(scored.about["model"]["file"])
    contract = read_contract(model)
    if network_fingerprint(model, contract) != scored.about["model"]["network"]:
        raise InputError(f"model '{model}' is not the one that '{scored.folder}' was made with; evaluate it again")
    about = scored.about["dataset"]
    if scored.about["leak"]["train_images"] is not None and about["split"] != contract.dataset["split"]:
        raise InputError(
            f"'{scored.folder}' is of split '{about['split']}', not of the model's own: give the model with --split "
            f"{about['split']} --part {about['part']}, so that the parts can be checked; no network runs again"
        )
    _check_tasks(contract, wanted, about["fingerprint"])
    folder = out or scored.folder
    assert folder is not None, "only an evaluation read from a folder can be calibrated again"
    check_rewritable(model)
    check_writable(folder, "the results folder")
    _store(model, contract, scored, _choose(scored.table, wanted, asked), None)
    return judge_again(scored, asked, folder)


def _check_request(wanted: Wanted, asked: Asked) -> None:
    """Refuse what does not go together, before anything is read.

    Raises:
        InputError: as `Asked.check` and `Wanted.check`; a threshold beside the one to be chosen; a prevalence that
            would weigh nothing.
    """
    asked.check()
    wanted.check()
    if asked.thresholds is not None:
        raise InputError("--calibrate chooses the threshold, --threshold gives one: not both")
    if wanted.prevalence is not None and asked.cost_escape is None:
        raise InputError("--prevalence weighs costs: give --cost-escape and --cost-overkill, too")
    if wanted.prevalence is not None and wanted.promises_parts:
        raise InputError(
            "--prevalence weighs costs, but --max-escape or --max-overkill chooses the threshold: not both"
        )


def _calibration_part(
    contract: Contract, wanted: Wanted, data: Path | None, split: str | None, part: str | None
) -> Part:
    """The parts to choose thresholds on, see `calibrate`.

    Raises:
        InputError: no such dataset, split or part; or none for a promise, with how to get it.
    """
    dataset = load_dataset(find_dataset(data))
    found = load_split(dataset, split or own_split(contract, dataset))
    if part not in (None, CALIBRATION) or found.parts.get(CALIBRATION):
        return part_of(dataset, found.name, part or CALIBRATION)
    if wanted.promises or part is not None:
        raise InputError(f"split '{found.name}' of '{dataset.root}' has no calibration part; {HOW_TO}")
    say(f"split '{found.name}' has no calibration part: thresholds are chosen on part 'val'")
    return part_of(dataset, found.name, "val")


def _check_tasks(contract: Contract, wanted: Wanted, fingerprint: str) -> None:
    """Refuse promises that the kind of model, or its stored pixel threshold, does not allow.

    Args:
        fingerprint: of the dataset whose parts are to be used.

    Raises:
        InputError: pixels are promised of a model without masks; or a rate of parts on parts that may have chosen the
            pixel threshold on which the scores depend.
    """
    if wanted.promises_pixels and "segmentation" not in tasks_of(contract):
        raise InputError("--max-missed-pixels and --max-missed-defects need a model that outlines defects")
    pixel = contract.calibration.get("pixel")
    if not (wanted.promises_parts and pixel and _scores_follow_pixels(contract)) or wanted.promises_pixels:
        return
    if pixel["dataset"]["fingerprint"] == fingerprint:
        raise InputError(
            f"the model's pixel threshold was chosen on {pixel['parts']} parts of this dataset, on which a promise "
            "about parts would not hold; give both promises in one command, and the parts are divided between them"
        )


def _scores_follow_pixels(contract: Contract) -> bool:
    """Whether the image score changes with the pixel threshold: not where a decision network gives it."""
    return "decision" not in tasks_of(contract)


def _check_number(contract: Contract, part: Part, wanted: Wanted, asked: Asked) -> None:
    """Refuse promises that take more parts than there are, before the network runs.

    Only the number of groups counts, whatever their scores. Where the record does not tell which parts are defective,
    and for parts that are to be divided, the scored table tells later.
    """
    states = [recorded_state(part.dataset, sample) for sample in part.samples]
    if None in states or not wanted.promises:
        return
    known = np.zeros(len(states)), np.array(states), [name or None for name in group_names(part.samples)]
    if wanted.promises_pixels:
        groups, hint = len(group_scores(*known).lowest), ""
        if _divides(contract, wanted, asked):
            groups, hint = (groups + 1) // 2, f"; {_DIVIDED}"
        check_number(groups, wanted, asked.confidence, hint)
    else:
        _check_chosen(by_promise(*known, wanted.max_escape, wanted.max_overkill, asked.confidence))


_DIVIDED = "the parts are divided between the pixel threshold and the promise about parts"


def _check_chosen(point: OperatingPoint, hint: str = "") -> None:
    if not point.chosen:
        raise InputError(f"no threshold is stored: {'; '.join(point.notes)}{hint}")


def _chooses_parts(wanted: Wanted, asked: Asked) -> bool:
    """Whether beside a pixel threshold those of parts are to be chosen."""
    return wanted.promises_parts or asked.cost_escape is not None


def _divides(contract: Contract, wanted: Wanted, asked: Asked) -> bool:
    """Whether a pixel threshold and those of parts need parts of their own."""
    return wanted.promises_pixels and _chooses_parts(wanted, asked) and _scores_follow_pixels(contract)


def _divided(table: ImageTable, contract: Contract, wanted: Wanted, asked: Asked) -> tuple[np.ndarray, np.ndarray]:
    """Rows for the pixel threshold and rows for the thresholds of parts.

    A threshold of parts that is chosen on the parts that chose the pixel threshold keeps no promise, where their scores
    depend on it. So where both are wanted the groups are divided evenly, by what they hold: defective parts, good ones
    or both. Groups of good parts say nothing about misses, so all of them go to the thresholds of parts; only where
    some hold both are they divided like the others, to keep the kinds of groups in proportion.
    """
    everything = np.arange(len(table))
    if not _chooses_parts(wanted, asked):
        return everything, everything[:0]
    if not _divides(contract, wanted, asked):
        return everything, everything
    names = [group or table.ids[row] for row, group in enumerate(table.groups)]
    states: dict[str, set[int]] = {name: set() for name in names}
    for name, state in zip(names, table.defective.tolist(), strict=True):
        states[name].add(state)
    mixed = any({0, 1} <= kinds for kinds in states.values())
    order = [sorted(states)[place] for place in np.random.default_rng(0).permutation(len(states))]
    order.sort(key=lambda name: sorted(states[name]))
    first = {name for name in (order if mixed else [n for n in order if 1 in states[n]])[::2]}
    mine = np.array([name in first for name in names], dtype=bool)
    say(f"{int(mine.sum())} images choose the pixel threshold, the other {int((~mine).sum())} the thresholds of parts")
    return everything[mine], everything[~mine]


def _choose(
    table: ImageTable, wanted: Wanted, asked: Asked, pixel: PixelPromise | None = None, divided: bool = False
) -> OperatingPoint:
    """The thresholds of parts; none where only pixels are promised.

    Args:
        table: the parts to choose them on.
        divided: whether other parts chose the pixel threshold.

    Raises:
        InputError: none can be chosen.
    """
    columns = (table.score, table.defective)
    groups, hint = named_groups(table), ""
    if wanted.promises_parts:
        point = by_promise(*columns, groups, wanted.max_escape, wanted.max_overkill, asked.confidence)
        if divided:
            hint = f"; {_DIVIDED}"
    elif asked.cost_escape is not None and asked.cost_overkill is not None:
        point = by_cost(*columns, asked.cost_escape, asked.cost_overkill, wanted.prevalence, groups)
    elif pixel is not None:
        return OperatingPoint("pixel")
    else:
        point = by_best_f1(*columns, groups)
    _check_chosen(point, hint)
    if wanted.promises_parts:
        point.notes.append(_SEEN)
    return point


def _store(model: Path, contract: Contract, scored: Scored, point: OperatingPoint, pixel: PixelPromise | None) -> None:
    """Write the thresholds into the model, and into what is said of it."""
    made = made_by()
    origin = {
        "dataset": scored.about["dataset"],
        "precision": (scored.about["device"] or {}).get("precision"),
        "command": made["command"],
        "date": made["date"],
    }
    earlier, notes = contract.calibration, [*(pixel.notes if pixel is not None else ()), *point.notes]
    stored = {key: value for key, value in contract.thresholds.items() if key == "pixel"}
    of_parts = {key: value for key, value in contract.thresholds.items() if key != "pixel"}
    if point.chosen:
        stored |= point.thresholds
        record = _record(point) | origin
    elif of_parts and not _scores_follow_pixels(contract):
        stored |= of_parts
        record = dict(earlier)
        notes.append("the earlier thresholds of parts stay: a decision network, not the pixels, gives their scores")
    else:
        record = _record(point) | origin
        gone = (
            f"the earlier ones ({_told(of_parts)}) were for other masks and are removed" if of_parts else "none stored"
        )
        notes.append(f"thresholds of parts: none asked for, {gone}")
    record["pixel"] = earlier.get("pixel") if pixel is None else asdict(pixel) | origin
    contract.thresholds, contract.calibration = stored, record
    rewrite_contract(model, contract)
    tasks, preset = tasks_of(contract), contract.preset_config()
    scored.about["model"] = about_model(model, contract)
    scored.about["own_thresholds"] = thresholds_in_force(contract.thresholds, tasks, preset.predict.box_score)
    scored.about["calibration"] = record
    for note in notes:
        say(note)
    say(f"stored in '{model}': {_told(stored)}")


_SEEN = "the calibration parts' own figures are those the thresholds were fitted to: judge the model on part 'test'"


def _record(point: OperatingPoint) -> dict[str, Any]:
    """The operating point in plain values, its promises with the sentence that the user was told."""
    record = point.to_dict()
    for name, promise in point.promises.items():
        record["promises"][name]["sentence"] = promise.sentence()
    return record


def _told(thresholds: dict[str, float]) -> str:
    return ", ".join(f"{name} {shown(value)}" for name, value in thresholds.items())
