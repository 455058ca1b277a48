"""What is asked of a scored part beside its figures: other thresholds, prices, the confidence of intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from defectctl.errors import InputError
from defectctl.metrics.bootstrap import check_settings


@dataclass(frozen=True, slots=True)
class Asked:
    """The questions of one evaluation.

    Attributes:
        thresholds: `ng` and perhaps `ok`, in the place of the model's own; None: the model's.
        confidence: of intervals (two-sided) and of promises (one-sided), 0..1.
        cost_escape, cost_overkill: price of a defective part called OK and of a good part called NG, in any currency.
        rounds: resampled sets behind each interval.
    """

    thresholds: Mapping[str, float] | None = None
    confidence: float = 0.95
    cost_escape: float | None = None
    cost_overkill: float | None = None
    rounds: int = 2000

    def check(self) -> None:
        """Refuse what no table could answer, before anything is scored.

        Raises:
            InputError: a confidence outside 0..1, too few rounds, a price that is negative or no number, one price
                alone, or both 0.
        """
        if not 0 < self.confidence < 1:
            raise InputError(f"--confidence must lie between 0 and 1, not {self.confidence:g}; 0.95 is usual")
        check_settings(self.confidence, self.rounds)
        prices = {"--cost-escape": self.cost_escape, "--cost-overkill": self.cost_overkill}
        given = [option for option, price in prices.items() if price is not None]
        if len(given) == 1:
            other = next(option for option in prices if option not in given)
            raise InputError(
                f"{given[0]} needs {other} beside it: one price alone leaves the other mistake without one"
            )
        for option, price in prices.items():
            if price is not None and not (math.isfinite(price) and price >= 0):
                raise InputError(f"{option} must be a price of 0 or more, not {price:g}")
        if self.cost_escape == self.cost_overkill == 0:
            raise InputError("--cost-escape and --cost-overkill are both 0, so that no mistake costs anything")
