"""Looks for images that a model has seen in training among those it is evaluated on."""

from __future__ import annotations

from typing import Any

from defectctl.checkpoints.contract import Contract
from defectctl.dataset.leaks import with_copies
from defectctl.dataset.store import load_split
from defectctl.errors import InputError
from defectctl.evaluation.part import Part, samples_of

UNKNOWN_LEAK: dict[str, Any] = {
    "train_images": None,
    "val_images": None,
    "text": "masks do not say which images their model was trained on",
    "serious": False,
}
"""What is known of masks on disk, see `find_leak`."""


def find_leak(part: Part, contract: Contract) -> dict[str, Any]:
    """Compare the part with what the model was trained and chosen on: equal bytes, or recorded near-duplicates.

    Returns:
        `train_images` and `val_images`: how many images of the part are in the training and in the validation part
        of the model's own split; None where that cannot be known; `text`: one sentence for the user, empty where
        there is nothing to say; `serious`: whether the figures are worthless as test figures.
    """
    trained = contract.dataset
    if trained.get("fingerprint") != part.dataset.fingerprint:
        name = trained.get("name", "another dataset")
        return _leak(
            None,
            None,
            f"the model was trained on other data ('{name}'); whether images of this part were among them is not known",
            False,
        )
    name = trained.get("split")
    try:
        split = load_split(part.dataset, name)
    except InputError as error:
        return _leak(None, None, f"whether the model has seen images of this part is not known: {error}", False)
    if split.fingerprint != trained.get("split_fingerprint"):
        return _leak(
            None,
            None,
            f"split '{name}' has changed since the model was trained; "
            "whether the model has seen images of this part is not known",
            False,
        )
    seen = len(with_copies(part.samples, samples_of(part.dataset, split, "train")))
    chosen = len(with_copies(part.samples, samples_of(part.dataset, split, "val")))
    return _leak(seen, chosen, _sentence(seen, chosen, len(part.samples), str(name)), seen > 0)


def _leak(train: int | None, val: int | None, text: str, serious: bool) -> dict[str, Any]:
    return {"train_images": train, "val_images": val, "text": text, "serious": serious}


def _sentence(seen: int, chosen: int, total: int, split: str) -> str:
    if seen:
        return (
            f"LEAK: the model was trained on {seen} of these {total} images or on copies of them (split '{split}', "
            "part 'train'); the figures say nothing about new parts"
        )
    if chosen:
        return (
            f"{chosen} of these {total} images were used to choose the model's epoch (split '{split}', part 'val'); "
            "the figures are a little too good"
        )
    return ""
