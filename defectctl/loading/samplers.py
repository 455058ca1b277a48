"""In which order, and how often, an epoch visits the samples; every order is a pure function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from defectctl.errors import InputError


def epoch_batches(
    sampler: str, batch_size: int, seed: int, epoch: int, class_sets: Sequence[frozenset[int]], labels: Sequence[int]
) -> list[list[int]]:
    """Return the batches of one epoch as lists of sample indices.

    Args:
        sampler: `shuffle` visits each sample once; `balanced` draws with replacement so that every class, and the
            good parts, come equally often; `pairs` fills each batch with as many defective as good parts;
            `alternate` makes batches of defective and of good parts in turn.
        class_sets: per sample the classes in it, {0} for a good part, as `SampleLabels.kinds` (used by `balanced`).
        labels: per sample 1 defective, 0 good, -1 unknown (used by `pairs` and `alternate`).

    An incomplete last batch of `shuffle` is left out (the next epoch shuffles anew), unless it is the only one.
    """
    generator = np.random.default_rng([seed, epoch])
    count = len(labels)
    if sampler == "shuffle":
        order = generator.permutation(count).tolist()
        full = max(count // batch_size, 1) * batch_size
        return [order[i : i + batch_size] for i in range(0, min(full, count), batch_size)]
    if sampler == "balanced":
        size = max(count // batch_size, 1) * batch_size
        chosen = generator.choice(count, size=size, p=_balanced(class_sets)).tolist()
        return [chosen[i : i + batch_size] for i in range(0, len(chosen), batch_size)]
    defective, good = two_kinds(sampler, batch_size, labels)
    if sampler == "pairs":
        half = batch_size // 2
        rounds = max(len(defective) // half, 1)
        first, second = _cycle(defective, rounds * half, generator), _cycle(good, rounds * half, generator)
        return [first[i : i + half] + second[i : i + half] for i in range(0, rounds * half, half)]
    rounds = max(len(defective) // batch_size, 1)
    first, second = _cycle(defective, rounds * batch_size, generator), _cycle(good, rounds * batch_size, generator)
    batches: list[list[int]] = []
    for i in range(0, rounds * batch_size, batch_size):
        batches += [first[i : i + batch_size], second[i : i + batch_size]]
    return batches


def _balanced(class_sets: Sequence[frozenset[int]]) -> np.ndarray:
    """Probability per sample: each class has the same total, a sample counts for its rarest class."""
    counts: dict[int, int] = {}
    for classes in class_sets:
        for index in classes:
            counts[index] = counts.get(index, 0) + 1
    weights = np.array([max((1 / counts[c] for c in classes), default=0.0) for classes in class_sets])
    if not weights.any():
        raise InputError("the sampler 'balanced' needs labelled training samples, and there are none")
    return weights / weights.sum()


def two_kinds(sampler: str, batch_size: int, labels: Sequence[int]) -> tuple[list[int], list[int]]:
    """Indices of the defective and of the good samples, for `pairs` and `alternate`.

    Args:
        labels: per sample 1 defective, 0 good, -1 unknown.

    Raises:
        InputError: one kind is missing, or `pairs` cannot halve its batches.
    """
    if sampler == "pairs" and batch_size % 2:
        raise InputError(f"the sampler 'pairs' needs an even train.batch_size, not {batch_size}")
    defective = [i for i, label in enumerate(labels) if label == 1]
    good = [i for i, label in enumerate(labels) if label == 0]
    if not defective or not good:
        raise InputError(
            f"the sampler '{sampler}' needs defective and good training images; the data has {len(defective)} "
            f"defective and {len(good)} good ones: choose sampler 'shuffle' or another split"
        )
    return defective, good


def _cycle(indices: list[int], count: int, generator: np.random.Generator) -> list[int]:
    """`count` indices: whole random permutations one after the other, so that none comes twice before all came once."""
    repeats = -(-count // len(indices))
    return np.concatenate([generator.permutation(indices) for _ in range(repeats)])[:count].tolist()
