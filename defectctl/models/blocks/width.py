"""Narrower forms of a published network: every number of channels times the same share."""

from __future__ import annotations


def scaled(channels: int, width: float) -> int:
    """The share `width` of the published channels, rounded, at least 1."""
    return max(1, round(width * channels))
