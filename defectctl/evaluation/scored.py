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
    about = read_json(folder / METRICS_FILE, "evaluation")
    table = ImageTable.load(folder / TABLE_FILE)
    odd = [key for key, kind in ABOUT.items() if not isinstance(about, dict) or not isinstance(about.get(key, 0), kind)]
    if odd or any(key not in about for key in ABOUT):
        raise InputError(
            f"the evaluation in '{folder}' does not say what it was made from (see {', '.join(odd) or 'its keys'} in "
            f"{METRICS_FILE}): it is damaged or of an older defectctl, so evaluate again"
        )
    if about["dataset"].get("images") != len(table):
        raise InputError(
            f"'{folder / METRICS_FILE}' speaks of {about['dataset'].get('images')} images, the table beside it holds "
            f"{len(table)}: the evaluation was interrupted, so evaluate again"
        )
    return Scored(table, {key: about[key] for key in ABOUT}, folder)


def saved_scores(folder: Path, network: str, dataset: dict[str, Any]) -> Scored | None:
    """The earlier evaluation in a folder, if it is of this network on these images; else None.

    Args:
        network: `checkpoints.weights.network_fingerprint` of the model.
        dataset: `Part.to_dict` of the images.
    """
    if not is_scored(folder):
        return None
    try:
        scored = load_scored(folder)
    except InputError:
        return None
    same_model = scored.about["model"] is not None and scored.about["model"].get("network") == network
    return scored if same_model and scored.about["dataset"] == dataset else None
