"""Cross-validation: one split a fold, test parts as a paper states them, the rest training and validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from defectctl.dataset.splits import (
    CALIBRATION,
    PARTS,
    VALIDATION_SHARE,
    clusters,
    distribute,
    leak_free_parts,
    split_fingerprint,
    with_pasted,
)
from defectctl.dataset.types import Sample, Split
from defectctl.errors import InputError

GOOD = "good"


@dataclass(slots=True)
class FoldPlan:
    """Which samples each fold tests, and which of the rest may train with their defects.

    Attributes:
        tests: fold name -> ids of its test part.
        positives: split name -> (fold name, ids whose defective images may train); other defective images of that
            fold's training part are left out, good ones stay.
    """

    tests: dict[str, list[str]]
    positives: dict[str, tuple[str, list[str]]] = field(default_factory=dict)


def fold_splits(plan: FoldPlan, samples: Iterable[Sample], strata: Mapping[str, str], seed: int) -> list[Split]:
    """One split a fold, and one a limited choice of defective training images.

    A tenth of the training part's groups becomes the validation part, with defective and good images where the rest
    has both; no group and no two equal images are parted between training and validation. With a limited choice the
    validation part is drawn from groups outside that choice, so that the number of defective training images stays
    the stated one.

    Args:
        plan: ids are all among `samples`; every sample of a group lies in the same test part.
        strata: sample id -> classes present in it ("1+3"), "good" or "unknown".
        seed: decides which groups validate.
    """
    samples = list(samples)
    splits = []
    for name, test in plan.tests.items():
        rest = _outside(samples, test)
        splits.append(_split(name, _with_validation(rest, rest, strata, seed, samples), test, seed))
    for name, (fold, chosen) in plan.positives.items():
        rest = _outside(samples, plan.tests[fold])
        parts = _with_validation(rest, _outside(rest, chosen), strata, seed, samples)
        wanted = set(chosen)
        parts["train"] = [i for i in parts["train"] if i in wanted or not _defective(strata[i])]
        splits.append(_split(name, parts, plan.tests[fold], seed))
    return splits


def _split(name: str, parts: dict[str, list[str]], test: list[str], seed: int) -> Split:
    ordered = {part: sorted(ids) for part, ids in zip(PARTS, (parts["train"], parts["val"], test), strict=True)}
    maker = f"fold file, val is {VALIDATION_SHARE:.0%} of the training groups"
    return Split(name, maker, seed, ordered, split_fingerprint(ordered))


def _outside(samples: Iterable[Sample], ids: Iterable[str]) -> list[Sample]:
    inside = set(ids)
    return [sample for sample in samples if sample.id not in inside]


def _defective(stratum: str) -> bool:
    return stratum not in (GOOD, "unknown")


def _with_validation(
    rest: list[Sample], eligible: list[Sample], strata: Mapping[str, str], seed: int, everyone: list[Sample]
) -> dict[str, list[str]]:
    """`train` and `val` of `rest`; `val` is drawn from the clusters wholly in `eligible`; see `with_pasted`."""
    pasted = [sample for sample in rest if sample.pasted_from]
    rest = [sample for sample in rest if not sample.pasted_from]
    allowed = {sample.id for sample in eligible}
    groups = [group for group in clusters(rest) if allowed.issuperset(group)]
    members = {i for group in groups for i in group}
    # A group counts as what all its images show together, so that one of 7 good and 1 defective is no "good" one.
    together = {i: "+".join(sorted({strata[j] for j in group})) for group in groups for i in group}
    share = min(0.5, VALIDATION_SHARE * len(clusters(rest)) / max(1, len(groups)))
    drawn = distribute(
        [s for s in rest if s.id in members], together, seed, {"train": 1 - share, "val": share}, by_clusters=True
    )
    chosen = set(drawn["val"])
    for wanted in (_defective, lambda stratum: stratum == GOOD):
        _see_to(wanted, chosen, groups, strata)
    parts = {"train": [s.id for s in rest if s.id not in chosen], "val": sorted(chosen)}
    return with_pasted(pasted, parts, everyone)


def _see_to(
    wanted: Callable[[str], bool], chosen: set[str], groups: list[list[str]], strata: Mapping[str, str]
) -> None:
    """Move the smallest fitting group to `chosen` where it has no wanted image and at least one other group has too."""
    if any(wanted(strata[i]) for i in chosen):
        return
    fitting = [group for group in groups if any(wanted(strata[i]) for i in group)]
    if len(fitting) > 1:
        chosen.update(min(fitting, key=lambda group: (len(group), group)))


def with_calibration(
    split: Split, samples: Iterable[Sample], strata: Mapping[str, str], seed: int, calibration: float
) -> Split:
    """The split with a part `calibration` taken from its training part; no cluster is cut.

    Args:
        calibration: share of all images of the split, at most half of the training part.
        samples, strata, seed: as in `fold_splits`.
    """
    training = set(split.parts["train"])
    total = sum(map(len, split.parts.values()))
    share = min(0.5, calibration * total / max(1, len(training)))
    samples = list(samples)
    own = [sample for sample in samples if sample.id in training]
    drawn = leak_free_parts(own, strata, seed, {"train": 1 - share, CALIBRATION: share}, samples)
    parts = {**split.parts, **drawn}
    ordered = {part: parts[part] for part in (*PARTS, CALIBRATION)}
    maker = f"{split.maker}, {CALIBRATION} is {calibration:.0%} of all"
    return Split(split.name, maker, seed, ordered, split_fingerprint(ordered))


def k_fold_splits(
    samples: Iterable[Sample], strata: dict[str, str], seed: int, folds: int, calibration: float = 0.0
) -> list[Split]:
    """`folds` splits of which each tests another part of the samples; stratified, and no cluster is ever cut.

    Pasted images are never tested; see `leak_free_parts`.

    Args:
        strata, seed: as in `random_split`.
        folds: 2 or more, at most the number of clusters.
        calibration: share of all samples that a part `calibration` takes from each fold's training part.

    Raises:
        InputError: there are fewer clusters than folds.
    """
    samples = list(samples)
    whole = [sample for sample in samples if not sample.pasted_from]
    count = len(clusters(whole))
    if count < folds:
        raise InputError(
            f"--kfold {folds} needs {folds} images or groups that may be parted, and there are {count}; ask for fewer"
        )
    names = [f"fold-{number}" for number in range(folds)]
    tests = distribute(whole, strata, seed, dict.fromkeys(names, 1 / folds))
    splits = []
    for name in names:
        rest = _outside(whole, tests[name])
        aside = min((1 - VALIDATION_SHARE) / 2, calibration * len(whole) / max(1, len(rest)))
        shares = {"train": 1 - VALIDATION_SHARE - aside, "val": VALIDATION_SHARE}
        if calibration:
            shares[CALIBRATION] = aside
        parts = {**distribute(rest, strata, seed, shares), "test": tests[name]}
        parts = with_pasted(samples, parts)
        ordered = {part: parts[part] for part in (*PARTS, CALIBRATION) if part in parts}
        splits.append(Split(name, f"{folds}-fold", seed, ordered, split_fingerprint(ordered)))
    return splits
