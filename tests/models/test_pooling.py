"""Halving a map: an odd last row or column is kept, by hand."""

from __future__ import annotations

import torch

from defectctl.models.blocks.pooling import halving_pool


def test_an_odd_edge_stands_by_itself():
    features = torch.tensor([[[[1.0, 5.0, 2.0], [3.0, 4.0, 9.0], [-7.0, -8.0, -6.0]]]])
    assert halving_pool()(features).tolist() == [[[[5.0, 9.0], [-7.0, -6.0]]]]
