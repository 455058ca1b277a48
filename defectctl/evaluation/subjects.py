"""Finds out what a name on the command line means, a model or an earlier evaluation, and gets its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from defectctl.checkpoints.contract import Contract
from defectctl.checkpoints.runs import RUNS, find_model
from defectctl.checkpoints.weights import network_fingerprint, read_contract
from defectctl.errors import InputError
from defectctl.evaluation.asked import Asked
from defectctl.evaluation.evaluate import (
    Hardware,
    about_model,
    check_classes,
    choose_part,
    default_folder,
    evaluate,
)
from defectctl.evaluation.leaks import find_leak
from defectctl.evaluation.part import Part
from defectctl.evaluation.scored import Scored, is_scored, load_scored, saved_scores
from defectctl.inference.abilities import tasks_of, thresholds_in_force
from defectctl.messages import say


def earlier_evaluation(name: str) -> Path | None:
    """The folder of an earlier evaluation that `name` means (a path, or one below `./runs`), else None."""
    return next((path for path in (Path(name), RUNS / name) if is_scored(path)), None)


def refuse_choice(folder: Path, data: Path | None, split: str | None, part: str | None) -> None:
    """Refuse images asked for beside an earlier evaluation, which has its own.

    Raises:
        InputError: any is asked for.
    """
    for option, value in (("--data", data), ("--split", split), ("--part", part)):
        if value is not None:
            raise InputError(
                f"{option} chooses images for a model, but '{folder}' is an evaluation of images already chosen; "
                "leave it out, or give the model"
            )


@dataclass(frozen=True, slots=True)
class _Model:
    """A model that was named, and the images it is to be evaluated on."""

    path: Path
    contract: Contract
    part: Part


def scores_of(
    names: Sequence[str],
    data: Path | None,
    split: str | None,
    part: str | None,
    hardware: Hardware,
    asked: Asked = Asked(),
) -> list[Scored]:
    """The tables of earlier evaluations, or of models: a saved one of this network on these images, else a new one.

    Every name is looked up before the first network runs.

    Args:
        names: folders of evaluations, weights files, or runs.
        data, split: as in `evaluation.evaluate.choose_part`.
        part: for the models; None: `test`.

    Raises:
        InputError: a name is neither, or a model cannot be evaluated; or images are chosen and no model is named.
    """
    found: list[Scored | _Model] = []
    for name in names:
        folder = earlier_evaluation(name)
        found.append(_model(name, data, split, part or "test") if folder is None else load_scored(folder))
    folders = [one.folder for one in found if isinstance(one, Scored)]
    if folders and len(folders) == len(found) and folders[0] is not None:
        refuse_choice(folders[0], data, split, part)
    return [one if isinstance(one, Scored) else _scored(one, hardware, asked) for one in found]


def named_model(name: str) -> Path:
    """The weights file that a name means which is no earlier evaluation.

    Raises:
        InputError: it is no model either.
    """
    try:
        return find_model(name)[0]
    except InputError as error:
        text = str(error).replace("--model names", "it names")
        raise InputError(f"'{name}' is no earlier evaluation (a folder with table.npz) and no model: {text}") from error


def _model(name: str, data: Path | None, split: str | None, part: str) -> _Model:
    path = named_model(name)
    contract = read_contract(path)
    chosen = choose_part(contract, data, split, part)
    check_classes(path, contract, chosen)
    return _Model(path, contract, chosen)


def _scored(model: _Model, hardware: Hardware, asked: Asked) -> Scored:
    path, contract, part = model.path, model.contract, model.part
    folder = default_folder(path, part)
    saved = saved_scores(folder, network_fingerprint(path, contract), part.to_dict(), hardware.precision)
    if saved is None:
        say(f"scoring '{path}'")
        evaluate(path, part.dataset.root, part.split.name, part.name, folder, hardware, asked)
        return load_scored(folder)
    say(f"scores of '{path}' are taken from '{folder}' (same network, same images)")
    # The scores are as they were, but the model may have been calibrated, or moved, since.
    box_score = contract.preset_config().predict.box_score
    now = {
        "model": about_model(path, contract),
        "own_thresholds": thresholds_in_force(contract.thresholds, tasks_of(contract), box_score),
        "calibration": contract.calibration,
        "leak": find_leak(part, contract),
    }
    return Scored(saved.table, {**saved.about, **now}, folder)
