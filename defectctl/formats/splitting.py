"""Which splits a prepared dataset gets: the folder's own, a random one, a leak-free one beside it, folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from defectctl.dataset.folds import FoldPlan, fold_splits, k_fold_splits, with_calibration
from defectctl.dataset.splits import VALIDATION_SHARE, official_split, random_split
from defectctl.dataset.statistics import LabelCount
from defectctl.dataset.types import Sample, Split
from defectctl.formats.report import fold_leak_note, fold_notes, own_leak_note


@dataclass(frozen=True, slots=True)
class SplitWishes:
    """What the user asked of the splits.

    Attributes:
        seed: of everything drawn.
        plan: folds that a file states, or None.
        resplit: whether a leak-free split `grouped` stands beside the folder's own.
        kfold: number of folds of our own, or None.
        calibration: share of the images set aside for thresholds, see `random_split`.
    """

    seed: int = 0
    plan: FoldPlan | None = None
    resplit: bool = False
    kfold: int | None = None
    calibration: float = 0.0


@dataclass(slots=True)
class Splits:
    """The splits of a dataset, the default one first, and what is to be told about them."""

    default: Split
    others: list[Split] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def all(self) -> list[Split]:
        """Every split, the default first."""
        return [self.default, *self.others]


def make_splits(
    samples: Sequence[Sample],
    counts: Mapping[str, LabelCount],
    stated: dict[str, list[str]],
    wishes: SplitWishes,
) -> Splits:
    """Make every split that the folder states or the user asked for.

    Args:
        samples: with their groups and families of near-duplicates.
        counts: sample id -> its labels counted.
        stated: part name -> ids, as the folder itself parts them; empty where it does not.

    Raises:
        InputError: there is too little to make the folds of.
    """
    strata = {sample_id: count.stratum() for sample_id, count in counts.items()}
    notes: list[str] = []
    own = _own_split(samples, stated, strata, wishes, notes)
    good = {sample_id for sample_id, count in counts.items() if count.good}
    drawn = random_split(samples, strata, wishes.seed, calibration=wishes.calibration)
    result = Splits(own or drawn, notes=notes)
    if own is not None and good.issuperset(own.parts["train"]) and len(good) < len(counts):
        notes.append(
            "the folder's own training part has no defect, so the default split is random; the own one is there as"
            " --split official"
        )
        result.default, result.others = drawn, [own]
    if wishes.resplit:
        result.others.append(_grouped(own, samples, strata, wishes))
    if wishes.plan is not None:
        result.others += _stated_folds(wishes.plan, samples, counts, strata, wishes, notes)
    if wishes.kfold is not None:
        result.others += k_fold_splits(samples, strata, wishes.seed, wishes.kfold, wishes.calibration)
    pasted = {sample.id for sample in samples if sample.pasted_from}
    for split in result.all:
        unused = pasted.difference(*split.parts.values())
        if unused:
            used = len(pasted) - len(unused)
            notes.append(
                f"split {split.name}: of {len(pasted)} images that share parts with several others, {used} are in a"
                f" part and {len(unused)}, whose partners lie elsewhere, in no part"
            )
    return result


def _own_split(
    samples: Sequence[Sample],
    stated: dict[str, list[str]],
    strata: dict[str, str],
    wishes: SplitWishes,
    notes: list[str],
) -> Split | None:
    """The folder's own split where each source states one, else None."""
    if "train" not in stated or len(stated) < 2:
        return None
    inside = {sample_id for ids in stated.values() for sample_id in ids}
    used = {sample.source for sample in samples}
    unsplit = used - {sample.source for sample in samples if sample.id in inside}
    if unsplit:
        names = ", ".join(f"'{name}'" for name in sorted(unsplit))
        notes.append(f"{names} has no split of its own, so the others' is not used; the split is random")
        return None
    rest = len(samples) - len(inside)
    if rest:
        notes.append(f"images that are in no part of the folder's own split and stay unused by it: {rest}")
    split = official_split(stated, samples, strata, wishes.seed, wishes.calibration)
    told = own_leak_note(split, samples)
    if told and not wishes.resplit:
        told[-1] += "; --resplit makes a leak-free split 'grouped' beside it"
    notes += told
    return split


def _grouped(own: Split | None, samples: Sequence[Sample], strata: dict[str, str], wishes: SplitWishes) -> Split:
    """A leak-free split; its test part is as large a share of the images as the folder's own, if that has one."""
    test = 0.15
    val = 0.15
    if own is not None and own.parts.get("test"):
        total = sum(map(len, own.parts.values()))
        test = len(own.parts["test"]) / total
        val = VALIDATION_SHARE * (1 - test)
    fractions = (1 - test - val, val, test)
    split = random_split(samples, strata, wishes.seed, fractions, "grouped", wishes.calibration)
    split.maker = "grouped, near-duplicates and groups lie in one part"
    return split


def _stated_folds(
    plan: FoldPlan,
    samples: Sequence[Sample],
    counts: Mapping[str, LabelCount],
    strata: dict[str, str],
    wishes: SplitWishes,
    notes: list[str],
) -> list[Split]:
    plan.tests = {name: [i for i in ids if i in counts] for name, ids in plan.tests.items()}
    plan.positives = {name: (fold, [i for i in ids if i in counts]) for name, (fold, ids) in plan.positives.items()}
    splits = fold_splits(plan, samples, strata, wishes.seed)
    if wishes.calibration:
        # A stated number of defective training images stays the stated one: those splits give nothing up.
        splits = [
            with_calibration(split, samples, strata, wishes.seed, wishes.calibration)
            if split.name in plan.tests
            else split
            for split in splits
        ]
        if plan.positives:
            notes.append("splits with a stated number of defective training images have no calibration part")
    notes += fold_notes(plan, splits, dict(counts))
    notes += fold_leak_note([split for split in splits if split.name in plan.tests], samples)
    return splits
