"""A scored part: its table and what the table was made from, fresh from a model or read from an earlier evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defectctl.errors import InputError
from defectctl.fileio import read_json
from defectctl.metrics.table import ImageTable

TABLE_FILE, METRICS_FILE = "table.npz", "metrics.json"

ABOUT: dict[str, type | tuple[type, ...]] = {
    "tasks": list,
    "dataset": dict,
    "model": (dict, type(None)),
    "masks": (str, type(None)),
    "leak": dict,
    "device": (dict, type(None)),
    "box_score": (int, float, type(None)),
    "min_area": int,
    "own_thresholds": dict,
    "calibration": dict,
    "scored": dict,
}
"""Entries of `metrics.json` that say what the table was made from, with their types; figures are made anew."""

_WITHIN: dict[str, dict[str, type | tuple[type, ...]]] = {
    "dataset": {
        "name": str,
        "fingerprint": str,
        "split": str,
        "split_fingerprint": str,
        "part": str,
        "images": int,
        "classes": list,
    },
    "model": {"file": str, "sha256": str, "network": str, "training": dict, "dataset": dict},
    "leak": {"train_images": (int, type(None)), "val_images": (int, type(None)), "text": str, "serious": bool},
    "scored": {"command": str, "date": str, "environment": dict},
}
"""Entries of those entries, where there are any."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A table with its origin.

    Attributes:
        table: one row an image.
        about: `tasks` the model delivers; `dataset` (name, fingerprint, split, part, classes with colours); `model`
            (file, hashes, training) or None and `masks`, a folder, instead; `leak` as `find_leak` returns it; `device`;
            `box_score` from which a box is reported, or None; `min_area`; `own_thresholds` in force without others
            asked for; `calibration` of the contract; `scored`: command, date and environment.
        folder: of the earlier evaluation it was read from; None: just made.
    """

    table: ImageTable
    about: dict[str, Any]
    folder: Path | None = None

    @property
    def name(self) -> str:
        """What was scored, in a few words."""
        model = self.about["model"]
        return str(self.about["masks"]) if model is None else str(model["file"])


def is_scored(folder: Path) -> bool:
    """Whether a path is the folder of an earlier evaluation."""
    return (folder / TABLE_FILE).is_file() or (folder / METRICS_FILE).is_file()


def load_scored(folder: Path) -> Scored:
    """Read an earlier evaluation.

    Raises:
        InputError: a file is missing or damaged, or was written by a version that did not say enough.
    """
    for name in (METRICS_FILE, TABLE_FILE):
        if not (folder / name).is_file():
            raise InputError(f"the evaluation in '{folder}' has no {name}: it was interrupted, so evaluate again")
    about = read_json(folder / METRICS_FILE, "evaluation")
    table = ImageTable.load(folder / TABLE_FILE)
    odd = _odd(about)
    if odd:
        raise InputError(
            f"the evaluation in '{folder}' does not say what it was made from (see {', '.join(odd)} in "
            f"{METRICS_FILE}): it is damaged or of an older defectctl, so evaluate again"
        )
    told = about["dataset"]
    if told["images"] != len(table) or [known["name"] for known in told["classes"]] != table.classes:
        names = ", ".join(known["name"] for known in told["classes"])
        raise InputError(
            f"'{folder / METRICS_FILE}' speaks of {told['images']} images and of {names}, the table beside it holds "
            f"{len(table)} and {', '.join(table.classes)}: the evaluation was interrupted, so evaluate again"
        )
    return Scored(table, {key: about[key] for key in ABOUT}, folder)


def _odd(about: Any) -> list[str]:
    """Names of the entries of `metrics.json` that are missing or of another kind."""
    if not isinstance(about, dict):
        return ["all"]
    odd = [key for key, kind in ABOUT.items() if key not in about or not isinstance(about[key], kind)]
    if odd:
        return odd
    for key, kinds in _WITHIN.items():
        inner = about[key]
        if inner is not None:
            odd += [f"{key}.{name}" for name, kind in kinds.items() if not isinstance(inner.get(name, ...), kind)]
    if (about["model"] is None) == (about["masks"] is None):
        odd.append("model")
    if not all(isinstance(value, int | float) for value in about["own_thresholds"].values()):
        odd.append("own_thresholds")
    classes = about["dataset"].get("classes")
    if isinstance(classes, list) and not all(isinstance(c, dict) and {"name", "colour"} <= c.keys() for c in classes):
        odd.append("dataset.classes")
    return odd


def saved_scores(folder: Path, network: str, dataset: dict[str, Any], precision: str = "auto") -> Scored | None:
    """The earlier evaluation in a folder, if it is of this network on these images; else None.

    Args:
        network: `checkpoints.weights.network_fingerprint` of the model.
        dataset: `Part.to_dict` of the images.
        precision: in which the scores must have been computed; `auto`: any.
    """
    if not is_scored(folder):
        return None
    try:
        scored = load_scored(folder)
    except InputError:
        return None
    about = scored.about
    if about["model"] is None or about["model"]["network"] != network or about["dataset"] != dataset:
        return None
    return scored if precision in ("auto", (about["device"] or {}).get("precision")) else None
