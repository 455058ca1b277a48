"""The images that are evaluated: one part of one split of a dataset, with what is to be said about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defectctl.checkpoints.contract import Contract
from defectctl.dataset.store import find_dataset, load_dataset, load_split
from defectctl.dataset.types import Dataset, Sample, Split
from defectctl.errors import InputError, nearest


@dataclass(frozen=True, slots=True)
class Part:
    """One part (`train`, `val`, `test`, …) of a split.

    Attributes:
        dataset: the dataset.
        split: the split.
        name: the part's name.
        samples: its samples, sorted by id.
    """

    dataset: Dataset
    split: Split
    name: str
    samples: list[Sample]

    @property
    def title(self) -> str:
        """`dataset, split, part` in a few words."""
        return f"{self.dataset.name}, split '{self.split.name}', part '{self.name}'"

    def to_dict(self) -> dict[str, Any]:
        """What was evaluated, as `metrics.json` has it."""
        return {
            "name": self.dataset.name,
            "fingerprint": self.dataset.fingerprint,
            "split": self.split.name,
            "split_fingerprint": self.split.fingerprint,
            "part": self.name,
            "images": len(self.samples),
            "classes": [{"name": c.name, "colour": list(c.colour)} for c in self.dataset.classes],
        }


def load_part(data: Path | None, split: str | None, part: str) -> Part:
    """Find the dataset and choose the part; neither images nor masks are opened.

    Args:
        data: the dataset's folder; None as in `find_dataset`.
        split: its name; None takes the dataset's default.

    Raises:
        InputError: no such dataset, split or part, or the part is empty.
    """
    return part_of(load_dataset(find_dataset(data)), split, part)


def part_of(dataset: Dataset, split: str | None, part: str) -> Part:
    """One part of a dataset that is loaded; arguments and errors as of `load_part`."""
    chosen = load_split(dataset, split)
    if part not in chosen.parts:
        names = list(chosen.parts)
        raise InputError(
            f"split '{chosen.name}' of '{dataset.root}' has no part '{part}'{nearest(part, names)} "
            f"(parts: {', '.join(names) or 'none'})"
        )
    samples = samples_of(dataset, chosen, part)
    if not samples:
        raise InputError(f"part '{part}' of split '{chosen.name}' of '{dataset.root}' holds no image to evaluate")
    return Part(dataset, chosen, part, samples)


def own_split(contract: Contract, dataset: Dataset) -> str | None:
    """The split that a model was trained by; None where the dataset is another one or has no such split any more."""
    name = contract.dataset.get("split")
    same = contract.dataset.get("fingerprint") == dataset.fingerprint
    return name if same and name in dataset.splits else None


def samples_of(dataset: Dataset, split: Split, part: str) -> list[Sample]:
    """The part's samples, sorted by id.

    Raises:
        InputError: the split names an image that the dataset does not have.
    """
    by_id = {sample.id: sample for sample in dataset.samples}
    try:
        return [by_id[name] for name in sorted(split.parts.get(part, []))]
    except KeyError as error:
        raise InputError(
            f"split '{split.name}' of '{dataset.root}' names the image {error}, which the dataset does not have"
        ) from error
