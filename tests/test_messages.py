"""Lines for the person at the screen."""

from __future__ import annotations

import pytest

from defectctl.messages import say, warn


def test_a_name_cannot_move_the_cursor_or_change_colours(capsys: pytest.CaptureFixture) -> None:
    say("read 'a\x1b[31mred\r.png'")
    warn("left out: '\x07Prüfung 検査.png'")
    assert capsys.readouterr().err == "read 'a\\x1b[31mred\\x0d.png'\nwarning: left out: '\\x07Prüfung 検査.png'\n"
