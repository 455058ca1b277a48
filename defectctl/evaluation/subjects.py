"""Finds out what a name on the command line means, a model or an earlier evaluation, and gets its table."""

from __future__ import annotations

from pathlib import Path

from defectctl.checkpoints.runs import RUNS, find_model
from defectctl.checkpoints.weights import network_fingerprint, read_contract
from defectctl.errors import InputError
from defectctl.evaluation.asked import Asked
from defectctl.evaluation.evaluate import Hardware, choose_part, default_folder, evaluate
from defectctl.evaluation.scored import Scored, is_scored, load_scored, saved_scores
from defectctl.messages import say


def earlier_evaluation(name: str) -> Path | None:
    """The folder of an earlier evaluation that `name` means (a path, or one below `./runs`), else None."""
    return next((path for path in (Path(name), RUNS / name) if is_scored(path)), None)


def scores_of(
    name: str, data: Path | None, split: str | None, part: str, hardware: Hardware, asked: Asked = Asked()
) -> Scored:
    """The table of an earlier evaluation, or of a model: a saved one of this network on these images, else a new one.

    Args:
        name: folder of an evaluation, weights file, or run.
        data, split, part: as in `evaluation.evaluate.choose_part`; of no effect on an earlier evaluation.

    Raises:
        InputError: it is neither, or cannot be evaluated.
    """
    folder = earlier_evaluation(name)
    if folder is not None:
        return load_scored(folder)
    try:
        model, _ = find_model(name)
    except InputError as error:
        text = str(error).replace("--model names", "it names")
        raise InputError(f"'{name}' is no earlier evaluation (a folder with table.npz) and no model: {text}") from error
    contract = read_contract(model)
    chosen = choose_part(contract, data, split, part)
    folder = default_folder(model, chosen)
    saved = saved_scores(folder, network_fingerprint(model, contract), chosen.to_dict())
    if saved is not None:
        say(f"scores of '{model}' are taken from '{folder}' (same network, same images)")
        return saved
    say(f"scoring '{model}'")
    evaluate(model, chosen.dataset.root, chosen.split.name, chosen.name, folder, hardware, asked)
    return load_scored(folder)
