"""The confusion matrix picture: its colours follow the rows' shares, whatever the names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defectctl.reports.confusion import compact, draw_confusion


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (12_345, "12.3k"), (999_700, "1000k"), (4_560_000, "4.56M")]
)
def test_pixel_counts_stay_short(count: int, text: str):
    assert compact(count) == text


@pytest.mark.parametrize("count", [2, 5, 40])
def test_a_picture_is_drawn_for_few_and_many_classes(tmp_path: Path, count: int):
    matrix = np.diag(np.arange(count)) * 1000
    draw_confusion(matrix, ["background", *(f"裂纹 $x_{i}" for i in range(1, count))], tmp_path / "c.png", "a $ title")
    picture = np.asarray(Image.open(tmp_path / "c.png").convert("RGB")).astype(int)
    assert min(picture.shape[:2]) > 300
    dark = (picture[..., 2] - picture[..., 0] > 60) & (picture.sum(axis=2) < 300)
    assert dark.mean() > 0.005, "full shares are drawn dark blue"
