"""What follows from what a model delivers: which files can be written, and how it decides with nothing stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from defectctl.checkpoints.contract import Contract
from defectctl.inference.options import PredictOptions
from defectctl.messages import say, warn
from defectctl.models.registry import find_entry

EVEN_CHANCE = 0.5
"""Probability from which a part is NG where the model decides and no threshold is stored."""


def tasks_of(contract: Contract) -> tuple[str, ...]:
    """What the contract's model delivers, of `models.catalogue.TASKS`.

    Raises:
        InputError: its preset names no model of the registry.
    """
    model = contract.preset.get("model", {})
    return find_entry(str(model.get("name", ""))).tasks


def thresholds_in_force(
    stored: Mapping[str, float],
    tasks: Iterable[str],
    box_score: float,
    asked: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """The thresholds that decide: `ng` and `ok` on the image score, and the stored `pixel` where there is one.

    Without `ng` the kind of model says when a part is NG: with a decision, from a probability of one half; one that
    only detects, from a box of `box_score`; one that segments, where it reports any defect (no `ng`).

    Args:
        stored: those of the contract.
        asked: `ng` and `ok` in place of the stored ones; None: the stored ones. The class map is made with the stored
            `pixel` either way, so it stays.
    """
    chosen = {key: value for key, value in (stored if asked is None else asked).items() if key != "pixel"}
    if "pixel" in stored:
        chosen["pixel"] = stored["pixel"]
    kinds = set(tasks)
    if "ng" in chosen:
        return chosen
    if "decision" in kinds:
        return {"ng": EVEN_CHANCE, **chosen}
    return chosen if "segmentation" in kinds else {"ng": box_score, **chosen}


def kinds_that_can_be_written(kinds: Sequence[str], tasks: Iterable[str], name: str) -> tuple[str, ...]:
    """Those of the asked `options.KINDS` that the model can fill; says once what is left out and where to look.

    Args:
        name: of the model, for the message.
    """
    delivered = set(tasks)
    possible = {"masks", "defect-maps", "overlays"} if "segmentation" in delivered else {"overlays"} & set(kinds)
    if "detection" not in delivered and "segmentation" not in delivered:
        possible = set()
    left_out = [kind for kind in kinds if kind not in possible]
    if left_out and "detection" in delivered:
        hint = "" if "overlays" in kinds else ", and --write overlays draws them"
        missing = " and ".join(left_out)
        say(f"model '{name}' finds boxes, not masks: no {missing}; its boxes stand in predictions.jsonl{hint}")
    elif left_out:
        say(f"model '{name}' decides about whole parts: no {', no '.join(left_out)}; the verdicts stand in the journal")
    return tuple(kind for kind in kinds if kind in possible)


def warn_of_other_use(calibration: Mapping[str, Any], precision: str, min_area: int, options: PredictOptions) -> None:
    """Warn where a promise was made for another precision or smallest area than those in use.

    Args:
        calibration: of the contract; nothing is said where it promises nothing, or other thresholds are asked for.
        precision, min_area: of the runner, of the contract.
    """
    promised = calibration.get("promises") or (calibration.get("pixel") or {}).get("promises")
    if not promised or options.thresholds is not None:
        return
    made = calibration.get("precision")
    if made not in (None, precision):
        warn(f"the thresholds were calibrated in {made}, this run is in {precision}: what they promise may not hold")
    if options.min_area not in (None, min_area):
        warn(
            f"the thresholds were calibrated with defects of at least {min_area} pixels, this run takes "
            f"{options.min_area}: what they promise may not hold"
        )
