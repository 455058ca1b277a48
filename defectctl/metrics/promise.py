"""Thresholds with a guarantee: error rates of parts by exact binomial bounds, recall risks by Learn-then-Test.

**Parts.** Let n exchangeable scores be drawn from the parts that the promise is about, and let the threshold be the
k-th lowest of them. The share of new parts below it is then at most Beta(k, n + 1 - k) distributed, so that

    P(share > rate) <= P(Binomial(n, rate) <= k - 1),

with equality for continuous scores. The k taken is the largest for which the right side is at most 1 - confidence:
Wilks, "Determination of sample sizes for setting tolerance limits", Annals of Mathematical Statistics 12, 1941; it is
the same as asking that the one-sided bound of Clopper and Pearson, "The use of confidence or fiducial limits
illustrated in the case of the binomial", Biometrika 26, 1934, for k - 1 misses lie within the rate. Equal scores do no
harm: a part is NG from the threshold *on*, so a part that ties with it does not escape, and with q the highest score
below which at most `rate` of the parts lie, the promise breaks only where fewer than k of n scores are <= q, while
P(score <= q) >= rate. The mean share is k / (n + 1), less with ties.

**Groups.** Photographs of one part (or coil, or batch) err together, so a group counts once, by its worst: for escapes
the lowest score of its defective parts, for overkill the highest of its good ones. The promise is then about groups
like those of the calibration set: "of the groups with a defective part, at most 1 % lose one". It holds all the more
for a part drawn at random from a random group, since a part escapes no oftener than the worst of its group. It does
*not* bound the share of all parts taken together where some groups are far larger than others and err more.

**Risks.** For losses between 0 and 1 per group (the share of its defect pixels, or of its defects, that is missed)
the thresholds are tested one after the other from the lowest up, until the first whose risk is not shown to be below
the limit: Angelopoulos et al., "Learn then Test", arXiv 2110.01052, 2021, section 3 (fixed sequence testing) with the
Hoeffding-Bentkus p-value of Bates et al., "Distribution-free, risk-controlling prediction sets", Journal of the ACM 68,
2021, section 3.1; for a loss that rises with the threshold this is their risk-controlling set.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from defectctl.errors import InputError

ROUNDING = 1 + 1e-9
"""Factor by which a probability may pass 1 - confidence, so that a rate from `carries` is carried after rounding."""


def carries(n: int, confidence: float = 0.95) -> float:
    """The smallest rate that n independent parts (or groups) can promise, where none of them is missed.

    1 - (1 - confidence)^(1 / n); 1.0, which promises nothing, where n is 0.
    """
    _check_share(confidence, "the confidence")
    return -math.expm1(math.log1p(-confidence) / n) if n else 1.0


def parts_needed(rate: float, confidence: float = 0.95) -> int:
    """How many independent parts (or groups) the promise of `rate` takes at least; 299 for 1 % at 95 %."""
    _check_share(rate, "a promised rate")
    _check_share(confidence, "the confidence")
    n = max(1, math.ceil(math.log1p(-confidence) / math.log1p(-rate)))
    while not order_statistic(n, rate, confidence, at_most=1):
        n += 1
    while n > 1 and order_statistic(n - 1, rate, confidence, at_most=1):
        n -= 1
    return n


def order_statistic(n: int, rate: float, confidence: float = 0.95, at_most: int | None = None) -> int:
    """The largest k with P(Binomial(n, rate) <= k - 1) <= 1 - confidence; 0 where n parts cannot carry the rate.

    Args:
        at_most: look no further than this k.
    """
    misses = range(n if at_most is None else min(n, at_most))
    return bisect_right(misses, (1 - confidence) * ROUNDING, key=lambda count: float(_binomial(count, n, rate)))


def rate_bound(misses: int, n: int, confidence: float = 0.95) -> float:
    """One-sided upper Clopper-Pearson bound of a rate of which `misses` of n independent parts were seen."""
    from scipy.special import betaincinv

    return float(betaincinv(misses + 1, n - misses, confidence)) if misses < n else 1.0


def _binomial(count: np.ndarray | int, n: int, rate: np.ndarray | float) -> np.ndarray:
    """P(Binomial(n, rate) <= count), element by element."""
    from scipy.special import betaincc

    inside = np.minimum(count, n - 1)
    return np.where(count < n, betaincc(inside + 1.0, n - inside, rate), 1.0)


def _check_share(value: float, name: str) -> None:
    if not 0 < value < 1:
        raise InputError(f"{name} must lie between 0 and 1, both left out, not {value:g}; 0.01 is 1 %")


@dataclass(frozen=True, slots=True)
class GroupScores:
    """What the groups of a calibration set say; G1 groups hold a defective part, G0 a good one.

    Attributes:
        lowest: `(G1,)` float64, lowest score of a group's defective parts, rising.
        highest: `(G0,)` float64, highest score of a group's good parts, rising.
        defective, good, unknown: numbers of parts; the unknown are in no group's score.
    """

    lowest: np.ndarray
    highest: np.ndarray
    defective: int
    good: int
    unknown: int


def group_scores(
    score: np.ndarray, defective: np.ndarray, group: Sequence[Hashable] | np.ndarray | None = None
) -> GroupScores:
    """Each group by its worst parts. A group may hold both kinds and counts for both.

    Args:
        score: `(N,)` image scores, higher is more defective.
        defective: `(N,)` 1 defective, 0 good, -1 unknown (left out).
        group: N names; parts of one name are not independent. None or "" stands alone; without it every part does.

    Raises:
        InputError: a score of a part of known state is not a finite number.
    """
    score, state, number = check_scores(score, defective), np.asarray(defective), _numbers(group, len(defective))
    lowest = np.full(len(score), np.inf)
    highest = np.full(len(score), -np.inf)
    np.minimum.at(lowest, number[state == 1], score[state == 1])
    np.maximum.at(highest, number[state == 0], score[state == 0])
    counts = (int((state == s).sum()) for s in (1, 0, -1))
    return GroupScores(np.sort(lowest[lowest < np.inf]), np.sort(highest[highest > -np.inf]), *counts)


def check_scores(score: np.ndarray, defective: np.ndarray) -> np.ndarray:
    """The scores as `(N,)` float64.

    Raises:
        InputError: a score of a part of known state is not a finite number.
    """
    score, state = np.asarray(score, dtype=np.float64), np.asarray(defective)
    if score.shape != state.shape or score.ndim != 1:
        raise ValueError(f"scores have shape {score.shape}, states {state.shape}; both must be (N,)")
    odd = int((~np.isfinite(score) & (state >= 0)).sum())
    if odd:
        raise InputError(f"{odd} of {len(score)} image scores are no numbers, so no threshold can be chosen from them")
    return score


def _numbers(group: Sequence[Hashable] | np.ndarray | None, n: int) -> np.ndarray:
    """`(N,)` int64: equal numbers, below N, for parts of one group."""
    if group is None:
        return np.arange(n)
    if len(group) != n:
        raise ValueError(f"{len(group)} groups for {n} parts")
    first: dict[Hashable, int] = {}
    names = group.tolist() if isinstance(group, np.ndarray) else group
    numbers = (i if name is None or name == "" else first.setdefault(name, i) for i, name in enumerate(names))
    return np.fromiter(numbers, dtype=np.int64, count=n)


@dataclass(frozen=True, slots=True)
class Promise:
    """A rate of mistakes that is kept with the stated confidence, or the reason why it cannot be.

    Attributes:
        kind: `escape` (defective parts called OK) or `overkill` (good parts called NG).
        limit: the rate asked for, 0..1.
        confidence: 0..1, the chance that a calibration set leads to a threshold that keeps the rate.
        parts: calibration parts it rests on: the defective ones for escapes, the good ones for overkill.
        groups: their groups, the n of the binomial bound.
        k: the threshold is set by the k-th lowest (escape) or k-th highest (overkill) group; 0: not kept.
        threshold: `escape`: the highest score below which parts may be OK; `overkill`: the lowest score from which
            they may be NG, the next number after the k-th highest group's (it can pass 1: then no part is NG). None
            where the data cannot carry the promise.
        bound: the rate at the threshold is at most this with the stated confidence, `bound <= limit`.
        expected: mean rate over calibration sets of this size, k / (groups + 1); less where scores tie.
        carries: the smallest rate that this number of groups could promise.
        needed: groups that `limit` takes at least.
    """

    kind: str
    limit: float
    confidence: float
    parts: int
    groups: int
    k: int
    threshold: float | None
    bound: float | None
    expected: float | None
    carries: float
    needed: int

    @property
    def kept(self) -> bool:
        """Whether the data carry the promise."""
        return self.threshold is not None

    def sentence(self) -> str:
        """What is promised, or why nothing is and what it would take, for the user."""
        name, sort = ("escapes", "defective") if self.kind == "escape" else ("overkill", "good")
        units = "parts" if self.groups == self.parts else "groups"
        sure = f"{percent(self.confidence)} confidence"
        if not self.parts:
            takes = f"{percent(self.limit)} at {sure} takes {self.needed}"
            return f"{name}: there is no {sort} part among the calibration parts, so nothing can be promised; {takes}"
        of = f"{self.groups} {sort} {units}" + ("" if units == "parts" else f" ({self.parts} parts)")
        if self.threshold is None:
            able = f"{of} carry {percent(rounded_up(self.carries))} at {sure}"
            return f"{name}: {able}; {percent(self.limit)} takes {self.needed}, {self.needed - self.groups} more"
        side = "below" if self.kind == "escape" else "from"
        rank = f"rank {self.k} of {of}, {percent(self.expected)} expected"
        at = shown(self.threshold)
        return f"{name}: at most {percent(self.limit)} of {sort} {units} {side} {at} at {sure} ({rank})"


def shown(threshold: float) -> str:
    """A threshold for the eye, four digits."""
    return f"{threshold:.4g}" if threshold == 0 or threshold > 1e-300 else "the first score above 0"


def percent(rate: float) -> str:
    """`0.0844` as "8.44 %": three digits, more where the rate is close to 1."""
    return f"{100 * rate:.3g} %" if rate < 0.999 else f"{100 * rate:.6g} %"


def rounded_up(rate: float) -> float:
    """The rate with three digits, never lower than it was: the figure shown must itself be carried."""
    scale = 10.0 ** (2 - math.floor(math.log10(rate)))
    return min(1.0, math.ceil(rate * scale) / scale)


def escape_promise(scores: GroupScores, max_escape: float = 0.01, confidence: float = 0.95) -> Promise:
    """The highest threshold below which parts are OK such that the escape rate stays within `max_escape`.

    It is the k-th lowest group score itself: that group is NG (`score >= threshold`), k - 1 or fewer are missed.
    """
    k = _checked_rank(len(scores.lowest), max_escape, confidence, "a promised escape rate")
    threshold = float(scores.lowest[k - 1]) if k else None
    return _promise("escape", max_escape, confidence, scores.defective, len(scores.lowest), k, threshold)


def overkill_promise(scores: GroupScores, max_overkill: float = 0.05, confidence: float = 0.95) -> Promise:
    """The lowest threshold from which parts are NG such that the overkill rate stays within `max_overkill`.

    It is the next float64 after the k-th highest group score: that group is not NG, k - 1 or fewer are. After 0 it is
    the smallest normal number, since a processor may be set to take the subnormal ones before it for 0.
    """
    k = _checked_rank(len(scores.highest), max_overkill, confidence, "a promised overkill rate")
    threshold = None
    if k:
        kth = scores.highest[-k]
        threshold = float(np.finfo(np.float64).tiny if kth == 0 else np.nextafter(kth, np.inf))
    return _promise("overkill", max_overkill, confidence, scores.good, len(scores.highest), k, threshold)


def _checked_rank(n: int, rate: float, confidence: float, name: str) -> int:
    _check_share(rate, name)
    _check_share(confidence, "the confidence")
    return order_statistic(n, rate, confidence)


def _promise(
    kind: str, limit: float, confidence: float, parts: int, groups: int, k: int, threshold: float | None
) -> Promise:
    return Promise(
        kind,
        limit,
        confidence,
        parts,
        groups,
        k,
        threshold,
        bound=rate_bound(k - 1, groups, confidence) if k else None,
        expected=k / (groups + 1) if k else None,
        carries=carries(groups, confidence),
        needed=parts_needed(limit, confidence),
    )


def hoeffding_bentkus(mean: np.ndarray | float, n: int, limit: np.ndarray | float) -> np.ndarray:
    """p-value of "the risk is above `limit`" from the mean of n independent losses in 0..1; shapes broadcast.

    min(exp(-n h(min(mean, limit), limit)), e P(Binomial(n, limit) <= ceil(n mean))) with
    h(a, b) = a log(a / b) + (1 - a) log((1 - a) / (1 - b)).
    """
    from scipy.special import xlogy

    low = np.minimum(mean, limit)
    distance = xlogy(low, low / limit) + xlogy(1 - low, (1 - low) / (1 - np.asarray(limit)))
    # Rounding first: 30 losses of 0.1 sum to 3.0000000000000004, whose ceiling would be 4.
    count = np.ceil(np.round(n * np.asarray(mean), 9))
    return np.minimum(np.exp(-n * distance), np.e * _binomial(count, n, limit))


def risk_bound(mean: float, n: int, confidence: float = 0.95) -> float:
    """The smallest risk below which n losses of this mean show theirs to lie, with the confidence; up to 1e-9 above."""
    if n == 0 or mean >= 1:
        return 1.0
    low, high = float(mean), 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        proven = middle > 0 and hoeffding_bentkus(mean, n, middle) <= (1 - confidence) * ROUNDING
        low, high = (low, middle) if proven else (middle, high)
    return high


@dataclass(frozen=True, slots=True)
class RiskPromise:
    """A mean loss (such as the share of missed defect pixels) that is kept with the stated confidence.

    Attributes:
        limit: the risk asked for, 0..1: the mean over new groups of a group's loss.
        confidence: 0..1.
        groups: groups with a loss, n of the test.
        threshold: the highest threshold shown to keep the limit; None where not even the lowest is.
        mean: mean loss of the calibration groups at the threshold (at the lowest one where the promise is not kept).
        needed: groups that `limit` takes at least, none of them with any loss.
    """

    limit: float
    confidence: float
    groups: int
    threshold: float | None
    mean: float | None
    needed: int

    @property
    def kept(self) -> bool:
        """Whether the data carry the promise."""
        return self.threshold is not None

    @property
    def bound(self) -> float:
        """The risk at the threshold of `mean` is at most this with the stated confidence; 1.0 without any group."""
        return risk_bound(self.mean, self.groups, self.confidence) if self.groups else 1.0


def risk_promise(losses: np.ndarray, thresholds: np.ndarray, limit: float, confidence: float = 0.95) -> RiskPromise:
    """The highest threshold whose risk is below `limit` with the confidence, by Learn-then-Test.

    The promise is about the mean over groups like those given. It holds for any losses; those that rise with the
    threshold, as missed recall does, give the sequence of tests its power.

    Args:
        losses: `(N, T)` 0..1, one row an independent group. A row of NaN (nothing to find) is left out.
        thresholds: `(T,)` rising, fixed before the data were seen.
    """
    _check_share(limit, "a promised risk")
    _check_share(confidence, "the confidence")
    losses, thresholds = np.asarray(losses, np.float64), np.asarray(thresholds, np.float64)
    if losses.ndim != 2 or losses.shape[1:] != thresholds.shape or not len(thresholds):
        raise ValueError(f"losses have shape {losses.shape}, thresholds {thresholds.shape}; expected (N, T) and (T,)")
    if not (np.diff(thresholds) > 0).all():
        raise ValueError("thresholds must rise")
    losses = losses[~np.isnan(losses).all(axis=1)]
    if not ((losses >= 0) & (losses <= 1)).all():
        raise ValueError("losses must lie in 0..1; only whole rows may be NaN")
    n, needed = len(losses), parts_needed(limit, confidence)
    if not n:
        return RiskPromise(limit, confidence, 0, None, None, needed)
    mean = losses.mean(axis=0)
    proven = hoeffding_bentkus(mean, n, limit) <= (1 - confidence) * ROUNDING
    count = len(proven) if proven.all() else int(proven.argmin())
    at = max(count - 1, 0)
    threshold = float(thresholds[at]) if count else None
    return RiskPromise(limit, confidence, n, threshold, float(mean[at]), needed)


def pixel_misses(positives: np.ndarray, group: Sequence[Hashable] | np.ndarray | None = None) -> np.ndarray:
    """`(G, 256)` float64: of each group's defect pixels the share whose defect byte is below 0, 1, … 255.

    Args:
        positives: `(N, 256)` histograms of the defect byte over true defect pixels, as in `ImageTable`. Images of a
            group are pooled; a group without a defect pixel is left out.
        group: as in `group_scores`.
    """
    positives = np.asarray(positives)
    pooled = np.zeros(positives.shape, np.int64)
    np.add.at(pooled, _numbers(group, len(positives)), positives)
    pooled = pooled[pooled.sum(axis=1) > 0]
    up_to = np.cumsum(pooled, axis=1)
    return (up_to - pooled) / up_to[:, -1:]


def instance_misses(found: np.ndarray, group: Sequence[Hashable] | np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """`(G, T)` float64: of each group's true defects the share that is not found at each threshold.

    Args:
        found: `(I,)` for each true defect the highest score of what finds it, -inf where nothing does; a defect is
            found at thresholds up to its score.
        group: I names, of the group (or image) that the defect lies in; None or "" stands alone.
        thresholds: `(T,)`.
    """
    number = np.unique(_numbers(group, len(found)), return_inverse=True)[1].reshape(-1)
    missed = np.asarray(found, np.float64)[:, None] < np.asarray(thresholds, np.float64)[None]
    totals = np.zeros((int(number.max(initial=-1)) + 1, missed.shape[1]))
    np.add.at(totals, number, missed)
    return totals / np.bincount(number, minlength=len(totals))[:, None]
