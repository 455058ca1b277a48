"""Escapes and overkill on a hand-made table."""

from __future__ import annotations

import numpy as np

from defectctl.metrics.image_level import VERDICTS, image_metrics, verdicts
from defectctl.metrics.table import ImageTable


def table_of(scores, defective) -> ImageTable:
    n = len(scores)
    return ImageTable(
        [str(i) for i in range(n)],
        ["x"],
        np.zeros((n, 2, 2)),
        np.zeros(n),
        scores,
        defective,
        np.ones((n, 2)),
        np.zeros((n, 256)),
        np.zeros((n, 256)),
    )


def test_escapes_and_overkill_by_hand():
    table = table_of([0.0, 0.9, 0.6, 0.0, 0.7, 0.0], [1, 1, 0, 0, -1, -1])
    result = image_metrics(table, {})
    assert result["escapes"] == 1 and result["escape_rate"] == 0.5
    assert result["overkill"] == 1 and result["overkill_rate"] == 0.5
    assert (result["defective_parts"], result["good_parts"], result["parts_unknown"]) == (2, 2, 2)


def test_a_threshold_is_met_at_its_own_value():
    table = table_of([0.5, 0.49], [1, 1])
    assert [VERDICTS[i] for i in verdicts(table, {"ng": 0.5})] == ["NG", "OK"]
    assert image_metrics(table, {"ng": 0.5})["escapes"] == 1


def test_a_part_between_the_thresholds_is_neither_escape_nor_overkill():
    result = image_metrics(table_of([0.3, 0.3, 0.1, 0.9], [1, 0, 1, 0]), {"ok": 0.2, "ng": 0.8})
    assert (result["escapes"], result["overkill"], result["unsure"]) == (1, 1, 2)


def test_no_parts_no_rates():
    result = image_metrics(table_of([], []), {})
    assert result["escape_rate"] is None and result["overkill_rate"] is None and result["escapes"] == 0
