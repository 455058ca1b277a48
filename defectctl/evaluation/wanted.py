"""What `evaluate --calibrate` is to reach, and whether the parts it is to use may be used for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from defectctl.dataset.splits import CALIBRATION
from defectctl.errors import InputError

HOW_TO = (
    f"set parts aside with `defectctl prepare … --calibration 0.2`, train again, and calibrate on part '{CALIBRATION}'"
)


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
        InputError: they are the test part; they trained the model; or, for a promise, they chose its epoch, or nobody
            knows whether they did and the user does not state that they are unseen.
    """
    part, leak = about["dataset"]["part"], about["leak"]
    if part == "test":
        raise InputError(f"part 'test' is for testing: thresholds chosen on it make its own figures too good; {HOW_TO}")
    if part == "train" or leak["train_images"]:
        count = leak["train_images"] or about["dataset"]["images"]
        raise InputError(
            f"the model was trained on {count} of the {about['dataset']['images']} parts (or on copies of them), where "
            f"it errs less than on new ones; {HOW_TO}"
        )
    if not wanted.promises:
        return
    if part == "val" or leak["val_images"]:
        raise InputError(
            f"a promise needs parts that did not choose the model either; part '{part}' holds "
            f"{leak['val_images'] or 'all'} of those that did: {HOW_TO}"
        )
    if leak["train_images"] is None and not wanted.unseen:
        raise InputError(
            f"a promise needs parts that the model has never seen, but {leak['text']}; if you are sure that they are "
            "new to it, say so with --unseen"
        )
