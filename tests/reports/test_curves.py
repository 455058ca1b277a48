"""The curves of a training run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from PIL import Image

from defectctl.reports import curves
from defectctl.reports.curves import draw_curves


def record_panels(monkeypatch: pytest.MonkeyPatch) -> list:
    drawn: list = []
    original = curves._draw_panel

    def panel(axes, name, epochs, lines):
        drawn.append((name, list(epochs), {k: list(v) for k, v in lines.items()}))
        original(axes, name, epochs, lines)

    monkeypatch.setattr(curves, "_draw_panel", panel)
    return drawn


def test_keys_go_to_their_panels_and_gaps_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn = record_panels(monkeypatch)
    history = [
        {"epoch": 1, "loss": 2.0, "val/loss": "1.5", "val/defect_iou": None, "lr": 1e-3, "images_per_second": 9},
        {"epoch": 3, "loss": math.nan, "val/loss": "", "val/defect_iou": 0.5, "lr": 1e-4, "images_per_second": 9},
    ]
    draw_curves(history, tmp_path / "curves.png")
    assert drawn == [
        ("loss", [1.0, 3.0], {"loss": [2.0, None], "val/loss": [1.5, None]}),
        ("validation", [1.0, 3.0], {"val/defect_iou": [None, 0.5]}),
        ("learning rate", [1.0, 3.0], {"lr": [1e-3, 1e-4]}),
    ]
    assert Image.open(tmp_path / "curves.png").height > 500


@pytest.mark.parametrize("history", [[], [{"epoch": 1}], [{"loss": 1.0}], [{"epoch": 1, "lr": 0.0}]])
def test_little_history_is_drawn_too(tmp_path: Path, history: list):
    draw_curves(history, tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").width > 300
