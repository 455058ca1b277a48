"""Puts the test parts of several folds, each scored by the model that never saw it, together into one evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from defectctl.errors import InputError
from defectctl.evaluation.asked import Asked
from defectctl.evaluation.cases import copy_pictures
from defectctl.evaluation.evaluate import judge_again
from defectctl.evaluation.files import same_folder
from defectctl.evaluation.result import in_force, made_by
from defectctl.evaluation.scored import Scored
from defectctl.fileio import check_writable
from defectctl.metrics.table import join


def pool(folds: Sequence[Scored], asked: Asked, out: Path) -> dict[str, Any]:
    """One table of all folds' images, with all figures of an evaluation.

    Pixels, defects and parts are pooled: a figure is that of the joined table, not a mean over folds. Scores of
    different models share one scale here, as in the papers that pool; where their thresholds differ one must be given.

    Raises:
        InputError: fewer than two folds, folds of different data or models' tasks, an image in two of them,
            thresholds that differ, or `out` is the folder of a fold.
    """
    asked.check()
    if len(folds) < 2:
        raise InputError("pooling takes two evaluations or more, one a fold")
    first = folds[0].about
    for fold in folds:
        if same_folder(fold.folder, out):
            raise InputError(f"--out '{out}' is the folder of one of the evaluations to be pooled; choose another")
    for other in folds[1:]:
        if (other.about["masks"] is None) != (first["masks"] is None):
            raise InputError("evaluations of masks and of models cannot be pooled: masks have no scores")
        for key, what in _ALIKE.items():
            if other.about[key] != first[key]:
                raise InputError(f"'{folds[0].name}' and '{other.name}' {what}, so they cannot be pooled")
        if other.about["dataset"]["fingerprint"] != first["dataset"]["fingerprint"]:
            raise InputError(f"'{folds[0].name}' and '{other.name}' were evaluated on different data")
        if asked.thresholds is None and other.about["own_thresholds"] != first["own_thresholds"]:
            raise InputError("the models have different thresholds; give one for all of them with --threshold")
    table = join([fold.table for fold in folds])
    check_writable(out, "the results folder")
    leaks = [fold.about["leak"] for fold in folds]
    texts = list(dict.fromkeys(leak["text"] for leak in leaks if leak["text"]))
    parts = [fold.about["dataset"] for fold in folds]
    about = {
        **first,
        "dataset": {
            **first["dataset"],
            "split": ", ".join(dict.fromkeys(part["split"] for part in parts)),
            "split_fingerprint": ", ".join(dict.fromkeys(part["split_fingerprint"] for part in parts)),
            "part": ", ".join(dict.fromkeys(part["part"] for part in parts)),
            "images": len(table),
        },
        "model": None if first["model"] is None else _models(folds),
        "masks": None if first["masks"] is None else ", ".join(fold.name for fold in folds),
        "leak": {
            "train_images": _total(leak["train_images"] for leak in leaks),
            "val_images": _total(leak["val_images"] for leak in leaks),
            "text": "; ".join(texts),
            "serious": any(leak["serious"] for leak in leaks),
        },
        "device": None,
        "own_thresholds": _thresholds(folds, asked),
        "calibration": {},
        "scored": made_by(),
    }
    rows = {name: row for row, name in enumerate(table.ids)}
    copy_pictures([(fold.folder, [rows[name] for name in fold.table.ids]) for fold in folds], out)
    return judge_again(Scored(table, about), asked, out)


_ALIKE = {
    "tasks": "deliver different things",
    "min_area": "report different least areas",
    "box_score": "report boxes from different scores on",
}
"""Entries of `Scored.about` that all folds must share, and what is said where they do not."""


def _thresholds(folds: Sequence[Scored], asked: Asked) -> dict[str, float]:
    """Those that all models share, else the ones asked for: judged again later, the pool must not use one fold's."""
    own = [fold.about["own_thresholds"] for fold in folds]
    return own[0] if all(other == own[0] for other in own) else in_force({}, asked)


def _models(folds: Sequence[Scored]) -> dict[str, Any]:
    """The models of all folds, in the place of the one."""
    models = [fold.about["model"] for fold in folds]
    return {
        "file": ", ".join(model["file"] for model in models),
        "sha256": ", ".join(model["sha256"] for model in models),
        "network": ", ".join(model["network"] for model in models),
        "training": {},
        "dataset": {},
        "folds": [{key: model[key] for key in ("file", "sha256", "network")} for model in models],
    }


def _total(counts: Any) -> int | None:
    known = list(counts)
    return None if any(count is None for count in known) else sum(known)
