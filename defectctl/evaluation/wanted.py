"""What `evaluate --calibrate` is to reach, and whether the parts it is to use may be used for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from defectctl.checkpoints.contract import Contract
from defectctl.dataset.splits import CALIBRATION
from defectctl.dataset.store import load_split
from defectctl.errors import InputError
from defectctl.evaluation.part import Part, samples_of

HOW_TO = (
    f"take part '{CALIBRATION}', which a split gets by `defectctl prepare RAW --out DATA --calibration 0.2`, and a "
    "model that was trained on that split"
)
"""How a user comes by parts on which thresholds may be chosen."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The request; shares in 0..1, None where nothing is asked.

    Attributes:
        max_escape, max_overkill: highest rate of defective parts called OK, of good parts called NG.
        max_missed_pixels, max_missed_defects: highest mean share of a part's defect pixels, of its defects, missed.
        prevalence: share of defective parts in production, with which costs are weighed.
        unseen: the user states that the model has never seen the parts, where that cannot be checked.
    """

    max_escape: float | None = None
    max_overkill: float | None = None
    max_missed_pixels: float | None = None
    max_missed_defects: float | None = None
    prevalence: float | None = None
    unseen: bool = False

    @property
    def promises_parts(self) -> bool:
        """Whether a rate of parts is promised."""
        return self.max_escape is not None or self.max_overkill is not None

    @property
    def promises_pixels(self) -> bool:
        """Whether a recall of pixels or of defects is promised."""
        return self.max_missed_pixels is not None or self.max_missed_defects is not None

    @property
    def promises(self) -> bool:
        """Whether anything is promised."""
        return self.promises_parts or self.promises_pixels

    def check(self) -> None:
        """Refuse shares outside 0..1, before anything is scored.

        Raises:
            InputError: with the option's name.
        """
        options = ("max_escape", "max_overkill", "max_missed_pixels", "max_missed_defects", "prevalence")
        for name in options:
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                option = f"--{name.replace('_', '-')}"
                raise InputError(f"{option} must lie between 0 and 1, both left out, not {value:g}; 0.01 is 1 %")


def check_parts(about: dict[str, Any], wanted: Wanted) -> None:
    """Refuse parts on which a threshold must not be chosen.

    Args:
        about: `Scored.about`, or its `dataset` and `leak` alone.

    Raises:
        InputError: they are a test part; they trained the model; for a promise, they chose its epoch; or nobody knows
            whether they did, a promise (or a part of the name `train`) is at stake, and the user does not state that
            they are unseen.
    """
    part, leak, images = about["dataset"]["part"], about["leak"], about["dataset"]["images"]
    if part == "test":
        raise InputError(f"part 'test' is for testing: thresholds chosen on it make its own figures too good; {HOW_TO}")
    if leak["train_images"]:
        raise InputError(
            f"the model was trained on {leak['train_images']} of the {images} parts (or on copies of them), where it "
            f"errs less than on new ones; {HOW_TO}"
        )
    unknown = leak["train_images"] is None and not wanted.unseen
    if unknown and (wanted.promises or part == "train"):
        what = "a promise needs" if wanted.promises else "a threshold needs"
        raise InputError(
            f"{what} parts that the model has never seen, but {leak['text']}; if you are sure that they are new to it, "
            "say so with --unseen"
        )
    if wanted.promises and leak["val_images"]:
        raise InputError(
            f"a promise needs parts that did not choose the model either, but {leak['val_images']} of the {images} did "
            f"(or copies of them); {HOW_TO}"
        )


def check_other_split(part: Part, contract: Contract, wanted: Wanted) -> None:
    """Refuse parts of another split than the model's that its own split uses otherwise.

    The model's own split cuts no group, and its calibration part holds no part of another name; another split of the
    same images may.

    Args:
        part: of which `find_leak` knows how it stands to the model's split.

    Raises:
        InputError: they test the model; or, for a promise, they are of groups (one coil, one batch) that trained or
            chose it.
    """
    name = contract.dataset["split"]
    if part.split.name == name:
        return
    split = load_split(part.dataset, name)
    tested = {sample.id for sample in part.samples} & set(split.parts.get("test", []))
    if tested:
        raise InputError(
            f"{len(tested)} of the {len(part.samples)} parts lie in part 'test' of the model's split '{name}': "
            f"thresholds chosen on them make its figures too good; {HOW_TO}"
        )
    known = {sample.group for use in ("train", "val") for sample in samples_of(part.dataset, split, use)} - {None}
    kin = sum(sample.group in known for sample in part.samples)
    if wanted.promises and kin:
        raise InputError(
            f"a promise needs parts that the model has never seen, but {kin} of the {len(part.samples)} parts belong "
            f"to groups of which others trained or chose the model; {HOW_TO}"
        )
