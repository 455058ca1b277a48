"""Decisions about whole parts from an `ImageTable`: escapes and overkill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from defectctl.metrics.table import ImageTable

VERDICTS = ("OK", "UNSURE", "NG")


def verdicts(table: ImageTable, thresholds: Mapping[str, float]) -> np.ndarray:
    """`(N,)` int8, the index into `VERDICTS` of each part.

    Args:
        thresholds: `ng`, the image score from which a part is NG, and `ok`, below which it is OK (between them it is
            UNSURE; without `ok` no part is). Without `ng`: a part is NG if its score is above 0.
    """
    if "ng" not in thresholds:
        return np.where(table.score > 0, 2, 0).astype(np.int8)
    ng, ok = thresholds["ng"], thresholds.get("ok", thresholds["ng"])
    return np.where(table.score >= ng, 2, np.where(table.score >= ok, 1, 0)).astype(np.int8)


def image_metrics(table: ImageTable, thresholds: Mapping[str, float]) -> dict[str, Any]:
    """Escapes and overkill, the two mistakes that cost an inspection line money.

    `escapes` are defective parts called OK, `overkill` good parts called NG. The rates are shares of the defective
    and of the good parts (the miss rate and the false-alarm rate), None where there are none. `unsure` counts parts
    that a person is to look at, which are neither. Parts of which nobody knows whether they are good are counted in
    `parts_unknown` only.
    """
    called = verdicts(table, thresholds)
    defective, good = table.defective == 1, table.defective == 0
    escapes, overkill = int((defective & (called == 0)).sum()), int((good & (called == 2)).sum())
    bad_parts, good_parts = int(defective.sum()), int(good.sum())
    return {
        "escapes": escapes,
        "escape_rate": escapes / bad_parts if bad_parts else None,
        "overkill": overkill,
        "overkill_rate": overkill / good_parts if good_parts else None,
        "unsure": int((called == 1).sum()),
        "defective_parts": bad_parts,
        "good_parts": good_parts,
        "parts_unknown": len(table) - bad_parts - good_parts,
    }
