"""Tables and JSON on the screen."""

from __future__ import annotations

import io
import json

import pytest

from defectctl.cli.tables import print_json, print_table


def test_table_off_a_terminal_is_plain_text_and_cuts_nothing() -> None:
    stream = io.StringIO()
    name = "a very long class name " * 4
    print_table(["class", "IoU", "pixels"], [[name, 0.51239, 12345], ["[red]x[/red] :smile:", None, 0]], "T", stream)
    text = stream.getvalue()
    assert "\x1b" not in text
    assert name.strip() in text
    assert "0.512" in text
    assert "12,345" in text
    assert "[red]x[/red] :smile:" in text
    lines = [line.rstrip() for line in text.splitlines()]
    assert next(line for line in lines if "smile" in line).split()[-2:] == ["-", "0"]


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"ä": [1, None]})
    assert json.loads(capsys.readouterr().out) == {"ä": [1, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json(float("nan"))
