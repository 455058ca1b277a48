"""Residual spatial attention by hand."""

from __future__ import annotations

import torch

from defectctl.models.blocks.rsam import ResidualSpatialAttention


def test_warm_cells_get_louder_and_cold_ones_stay():
    features = torch.tensor([[[[2.0, -4.0, 6.0]], [[1.0, 0.0, 3.0]]]])
    heat = torch.tensor([[[[0.0, 0.5, 1.0]]]])
    attention = ResidualSpatialAttention()
    assert attention(features, heat).tolist() == [[[[2.0, -6.0, 12.0]], [[1.0, 0.0, 6.0]]]]
    assert list(attention.parameters()) == []
