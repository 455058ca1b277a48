"""PixelRule: its plain default, and there and back through a dictionary."""

from __future__ import annotations

import pytest

from defectctl.imaging.pixel_rule import PixelRule


def test_there_and_back():
    assert PixelRule.from_dict(PixelRule(10, 4095).to_dict()) == PixelRule(10, 4095)
    assert PixelRule() == PixelRule(0, 65535)


def test_unknown_keys_are_refused():
    with pytest.raises(TypeError):
        PixelRule.from_dict({"black16": 0, "white16": 1, "gamma": 2})
