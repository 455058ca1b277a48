"""Narrower networks: shares of the published channels, by hand."""

from __future__ import annotations

import pytest

from defectctl.models.blocks.width import scaled


@pytest.mark.parametrize(
    ("channels", "width", "expected"), [(64, 1, 64), (64, 0.25, 16), (8, 0.01, 1), (512, 0.3, 154)]
)
def test_share_of_the_channels(channels, width, expected):
    assert scaled(channels, width) == expected
