"""Puts the test parts of several folds, each scored by the model that never saw it, together into one evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from defectctl.errors import InputError
from defectctl.evaluation.asked import Asked
from defectctl.evaluation.evaluate import judge_again
from defectctl.evaluation.result import made_by
from defectctl.evaluation.scored import Scored
from defectctl.metrics.table import join


def pool(folds: Sequence[Scored], asked: Asked, out: Path) -> dict[str, Any]:
    """One table of all folds' images, with all figures of an evaluation.

    Pixels, defects and parts are pooled: a figure is that of the joined table, not a mean over folds. Scores of
    different models share one scale here, as in the papers that pool; where their thresholds differ one must be given.

    Raises:
        InputError: fewer than two folds, folds of different data or models' tasks, an image in two of them, or
            thresholds that differ.
    """
    if len(folds) < 2:
        raise InputError("pooling takes two evaluations or more, one a fold")
    first = folds[0].about
    for other in folds[1:]:
        for key, what in (("tasks", "deliver different things"), ("min_area", "report different least areas")):
            if other.about[key] != first[key]:
                raise InputError(f"'{folds[0].name}' and '{other.name}' {what}, so they cannot be pooled")
        if (other.about["masks"] is None) != (first["masks"] is None):
            raise InputError("evaluations of masks and of models cannot be pooled: masks have no scores")
        if other.about["dataset"]["fingerprint"] != first["dataset"]["fingerprint"]:
            raise InputError(f"'{folds[0].name}' and '{other.name}' were evaluated on different data")
        if asked.thresholds is None and other.about["own_thresholds"] != first["own_thresholds"]:
            raise InputError("the models have different thresholds; give one for all of them with --threshold")
    table = join([fold.table for fold in folds])
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
        "leak": {
            "train_images": _total(leak["train_images"] for leak in leaks),
            "val_images": _total(leak["val_images"] for leak in leaks),
            "text": "; ".join(texts),
            "serious": any(leak["serious"] for leak in leaks),
        },
        "device": None,
        "calibration": {},
        "scored": made_by(),
    }
    return judge_again(Scored(table, about), asked, out)


def _models(folds: Sequence[Scored]) -> dict[str, Any]:
    """The models of all folds, in the place of the one."""
    models = [fold.about["model"] for fold in folds]
    return {
        "file": ", ".join(model["file"] for model in models),
        "sha256": ", ".join(model["sha256"] for model in models),
        "network": ", ".join(model["network"] for model in models),
        "training": {},
        "dataset": {},
    }


def _total(counts: Any) -> int | None:
    known = list(counts)
    return None if any(count is None for count in known) else sum(known)
