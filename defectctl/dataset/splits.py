"""Named lists of samples: seeded, stratified splits that cut no group and part no two images of one photograph."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from defectctl.dataset.types import Sample, Split

PARTS = ("train", "val", "test")
CALIBRATION = "calibration"
"""Name of the part that neither training nor the choice of a checkpoint sees: thresholds are promised on it."""
VALIDATION_SHARE = 0.1
"""Share of the training part that becomes the validation part of an official split without one."""


def split_fingerprint(parts: dict[str, list[str]]) -> str:
    """SHA-256 over the parts' names and their ids; the order of parts and ids does not matter."""
    ordered = {part: sorted(ids) for part, ids in parts.items()}
    return hashlib.sha256(json.dumps(ordered, sort_keys=True).encode()).hexdigest()


def random_split(
    samples: Iterable[Sample],
    strata: dict[str, str],
    seed: int,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    name: str = "random",
    calibration: float = 0.0,
) -> Split:
    """Split into train, val and test, each class in equal shares as far as groups allow; see `leak_free_parts`.

    Args:
        strata: sample id -> what is to be spread evenly, e.g. the classes present in it.
        seed: decides which samples go where, together with the ids (not with their order).
        fractions: shares of train, val and test; they sum to 1.
        calibration: share of all samples that a further part `calibration` takes from train.
    """
    shares = dict(zip(PARTS, fractions, strict=True))
    parts = leak_free_parts(list(samples), strata, seed, _set_aside(shares, calibration))
    return Split(name, "random_split", seed, parts, split_fingerprint(parts))


def official_split(
    parts: dict[str, list[str]],
    samples: Iterable[Sample],
    strata: dict[str, str],
    seed: int,
    calibration: float = 0.0,
) -> Split:
    """Keep the parts that the source states; a missing validation part takes a tenth of training.

    Args:
        parts: part name -> ids, as stated by the source; `train` must be among them.
        samples, strata, seed: as in `random_split`, for the choice of the validation part.
        calibration: share of the training part that becomes a part `calibration`.
    """
    result = {part: sorted(ids) for part, ids in parts.items() if ids}
    shares = {"train": 1 - calibration}
    makers = ["official"]
    if "val" not in result:
        shares = {"train": 1 - calibration - VALIDATION_SHARE, "val": VALIDATION_SHARE}
        makers.append(f"val is {VALIDATION_SHARE:.0%} of train")
    if calibration:
        shares[CALIBRATION] = calibration
        makers.append(f"{CALIBRATION} is {calibration:.0%} of train")
    if len(shares) > 1:
        samples, chosen = list(samples), set(result["train"])
        training = [sample for sample in samples if sample.id in chosen]
        result.update(leak_free_parts(training, strata, seed, shares, samples))
    ordered = {part: result[part] for part in (*PARTS, *sorted(result)) if part in result}
    drawn = seed if len(makers) > 1 else None
    return Split("official", ", ".join(makers), drawn, ordered, split_fingerprint(ordered))


def leak_free_parts(
    samples: list[Sample],
    strata: Mapping[str, str],
    seed: int,
    shares: dict[str, float],
    everyone: Iterable[Sample] | None = None,
) -> dict[str, list[str]]:
    """`distribute` for data with pasted images, which would tie the families of all their pieces together.

    Only the other images are dealt out; then `with_pasted`.
    """
    whole = [sample for sample in samples if not sample.pasted_from]
    return with_pasted(samples, distribute(whole, strata, seed, shares), everyone)


def with_pasted(
    samples: Iterable[Sample], parts: dict[str, list[str]], everyone: Iterable[Sample] | None = None
) -> dict[str, list[str]]:
    """Put pasted images into training, where no piece of theirs, and no copy of one, lies in another part.

    The others are in no part.

    Args:
        samples: the pasted images are taken from these.
        parts: without them; those of `samples` and any others that are fixed already.
        everyone: all samples of the dataset, whose families count; None: `samples`.
    """
    samples = list(samples)
    family = {i: number for number, ids in enumerate(clusters(everyone or samples)) for i in ids}
    outside = {family[i] for part, ids in parts.items() if part != PARTS[0] for i in ids}
    added = [
        sample.id
        for sample in samples
        if sample.pasted_from
        and family[sample.id] not in outside
        and not any(family.get(i) in outside for i in sample.pasted_from)
    ]
    return {part: sorted([*ids, *added]) if part == PARTS[0] else ids for part, ids in parts.items()}


def _set_aside(shares: dict[str, float], calibration: float) -> dict[str, float]:
    """The shares with a part `calibration`, which training gives up, at most half of it."""
    if not calibration:
        return shares
    calibration = min(calibration, shares[PARTS[0]] / 2)
    return {**shares, PARTS[0]: shares[PARTS[0]] - calibration, CALIBRATION: calibration}


def clusters(samples: Iterable[Sample]) -> list[list[str]]:
    """Ids that must stay together: same `group`, `twins` or `overlaps`, or byte-identical images.

    Directly, or through others.
    """
    parent: dict[str, str] = {}

    def find(key: str) -> str:
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for sample in samples:
        keys = ["id " + sample.id, "sha " + sample.sha256]
        if sample.group is not None:
            keys.append("group " + sample.group)
        if sample.twins is not None:
            keys.append("twins " + sample.twins)
        if sample.overlaps is not None:
            keys.append("overlaps " + sample.overlaps)
        for key in keys:
            parent.setdefault(key, key)
        for key in keys[1:]:
            parent[find(key)] = find(keys[0])
    members = defaultdict(list)
    for key in parent:
        if key.startswith("id "):
            members[find(key)].append(key[3:])
    return sorted(sorted(ids) for ids in members.values())


def group_names(samples: Iterable[Sample]) -> list[str]:
    """For each sample the first id of its cluster (see `clusters`), `""` where it stands alone among these samples."""
    listed = list(samples)
    names = {name: ids[0] for ids in clusters(listed) if len(ids) > 1 for name in ids}
    return [names.get(sample.id, "") for sample in listed]


def distribute(
    samples: list[Sample], strata: Mapping[str, str], seed: int, shares: dict[str, float], by_clusters: bool = False
) -> dict[str, list[str]]:
    """Deal clusters out, stratum by stratum, each to the part that is furthest behind its share of the whole.

    Args:
        strata, seed: as in `random_split`.
        shares: part -> its share; the first part gets the first of every stratum.
        by_clusters: whether shares are of the clusters, else of the samples.

    Returns:
        part -> sorted ids.
    """
    by_stratum = defaultdict(list)
    for cluster in clusters(samples):
        by_stratum[_stratum(cluster, strata)].append(cluster)
    parts: dict[str, list[list[str]]] = {part: [] for part in shares}
    filled = dict.fromkeys(shares, 0)
    dealt = 0
    first = next(iter(shares))
    for stratum in sorted(by_stratum, key=lambda name: (len(by_stratum[name]), name)):
        group = sorted(by_stratum[stratum], key=lambda cluster: _draw(seed, cluster[0]))
        for position, cluster in enumerate(group):
            size = 1 if by_clusters else len(cluster)
            dealt += size
            part = max(shares, key=lambda part: shares[part] * dealt - filled[part])
            # A class seen in several places must be seen in training.
            if position == 0 and len(group) > 1:
                part = first
            parts[part].append(cluster)
            filled[part] += size
    _fill_empty(parts)
    return {part: sorted(i for cluster in chosen for i in cluster) for part, chosen in parts.items()}


def _stratum(cluster: list[str], strata: Mapping[str, str]) -> str:
    count = Counter(strata.get(sample_id, "") for sample_id in cluster)
    return min(count, key=lambda name: (-count[name], name))


def _draw(seed: int, sample_id: str) -> bytes:
    """A random key that depends on the seed and the id alone, so that the samples' order cannot matter."""
    return hashlib.sha256(f"{seed} {sample_id}".encode()).digest()


def _fill_empty(parts: dict[str, list[list[str]]]) -> None:
    """Give every empty part the smallest cluster of the part with most clusters, as long as that has one to spare."""
    for part in parts:
        donor = max(parts, key=lambda name: len(parts[name]))
        if not parts[part] and len(parts[donor]) > 1:
            smallest = min(parts[donor], key=lambda cluster: (len(cluster), cluster))
            parts[donor].remove(smallest)
            parts[part].append(smallest)
