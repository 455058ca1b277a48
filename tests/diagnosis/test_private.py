"""No report holds the user's name, and nothing else is garbled."""

import json

import pytest

from defectctl.diagnosis.checks import OK, Check
from defectctl.diagnosis.private import Scrubber, this_user


@pytest.mark.parametrize(
    "home, name, text, expected",
    [
        ("/home/anna", "anna", "in /home/anna/parts, /home/anna", "in ~/parts, ~"),
        ("/home/anna", "anna", "/home/annabel/x", "/home/<user>/x"),
        ("/home/anna", "anna", "/tmp/pytest-of-anna/1", "/tmp/pytest-of-<user>/1"),
        ("/home/anna", "anna", "x on /media/Anna/stick", "x on /media/<user>/stick"),
        ("/home/anna", "anna", "anna and savanna stay in running text", "anna and savanna stay in running text"),
        ("/home/anna", "anna", "/data/savanna/x", "/data/savanna/x"),
        ("/srv/press", "press", "/srv/press/x, exit of /opt/pressfs", "~/x, exit of /opt/pressfs"),
        ("C:\\Users\\Anna Müller", "Anna Müller", "C:\\Users\\Anna Müller\\bild.png", "~\\bild.png"),
        ("C:\\Users\\Anna Müller", "Anna Müller", "C:/Users/ANNAMU~1/AppData", "C:/Users/<user>/AppData"),
        ("C:\\Users\\Anna Müller", "Anna Müller", "'C:\\\\Users\\\\Anna Müller\\\\x'", "'~\\\\x'"),
        ("C:\\Users\\Anna Müller", "Anna Müller", "D:\\Anna Müller\\teile", "D:\\<user>\\teile"),
        ("/", "svc+1", "/data/x is 3 MB/s", "/data/x is 3 MB/s"),
        (None, "", "/data/x", "/data/x"),
    ],
)  # fmt: skip
def test_names_are_taken_out_of_paths(monkeypatch, home, name, text, expected):
    from pathlib import PurePosixPath, PureWindowsPath

    from defectctl.diagnosis import private

    windows = bool(home) and "\\" in home
    monkeypatch.setattr(private, "PurePath", PureWindowsPath if windows else PurePosixPath)
    assert Scrubber(home, [name]).text(text) == expected


def test_everything_that_a_check_says_is_looked_at():
    check = Check(OK, "/home/anna/a", "delete /home/anna/b", {"x": [{"/home/anna": ("/home/anna/c", 1.5, None)}]})
    clean = Scrubber("/home/anna", ["anna"]).check(check)
    assert (clean.text, clean.advice) == ("~/a", "delete ~/b")
    assert clean.facts == {"x": [{"~": ["~/c", 1.5, None]}]}


def test_numbers_that_are_none_do_not_spoil_the_json():
    facts = Scrubber(None, []).value({"a": float("nan"), "b": [float("inf"), 2]})
    assert json.dumps(facts, allow_nan=False) == '{"a": null, "b": [null, 2]}'


def test_this_user_is_known_by_home_and_by_variables(monkeypatch):
    monkeypatch.setenv("HOME", "/srv/people/berta")
    monkeypatch.setenv("USERPROFILE", "/srv/people/berta")
    monkeypatch.setenv("USERNAME", "b.mayer")
    assert this_user().text("/srv/people/berta/x /mnt/b.mayer/y /mnt/berta") == "~/x /mnt/<user>/y /mnt/<user>"
