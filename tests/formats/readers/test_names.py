"""Texts of unknown encoding are always text."""

from __future__ import annotations

import pytest

from defectctl.formats.readers.names import decode_text, is_whole


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("prüf\n".encode(), "prüf\n"),
        ("prüf".encode("utf-8-sig"), "prüf"),
        ("prüf".encode("utf-16"), "prüf"),
        ("prüf".encode("latin-1"), "prüf"),
        (b"\xff\xfea", "ÿþa"),  # begins like UTF-16 and is cut off
    ],
)
def test_whatever_the_encoding(data, text):
    assert decode_text(data) == text


@pytest.mark.parametrize(
    ("text", "whole"),
    [("7", True), ("007", True), ("", False), ("-1", False), ("²", False), ("9" * 5000, False)],
)
def test_only_plain_digits_of_usual_length_are_whole_numbers(text, whole):
    assert is_whole(text) is whole
