"""Names of results: safe below OUT on every system, apart from each other, and never another image's."""

from __future__ import annotations

import os
from pathlib import PurePosixPath, PureWindowsPath

import pytest

from defectctl.inference.result_names import result_names


def test_names_that_would_collide_stay_apart() -> None:
    assert result_names(["a.jpg", "b.png"]) == ["a.png", "b.png"]
    assert result_names(["a.jpg", "a.png", "s/a.png"]) == ["a.jpg.png", "a.png.png", "s/a.png"]
    assert result_names(["a.jpg", "A.png"]) == ["a.jpg.png", "A.png.png"]
    assert result_names(["a.png", "A.png"]) == ["a.png.png", "A.png~2.png"]
    names = result_names(["a.jpg", "a.png", "a.jpg.png", "a.jpg.png.tif"])
    assert len({name.casefold() for name in names}) == 4


HOSTILE = [
    "../../evil.png",
    "..\\..\\evil.png",
    "/etc/passwd.png",
    "//server/share/a.png",
    "C:\\Windows\\a.png",
    "C:a.png",
    "a/../../b.png",
    "CON.png",
    "con",
    "NUL.tar.png",
    "aux/LPT1.jpg",
    "trailing dots...",
    "trailing blanks  ",
    "dot./blank /c.png",
    "line\nbreak.png",
    "tab\tbell\a.png",
    'what?*<>|":.png',
    "n" * 251 + ".png",
    "图" * 85,
    "bad\udcff.png",
    ".lock",
    ".hidden.png",
]


@pytest.mark.parametrize("file", HOSTILE)
def test_no_name_leaves_the_folder_or_is_refused_by_windows(file: str) -> None:
    (name,) = result_names([file])
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        assert not path.is_absolute() and not path.drive and not path.root and ".." not in path.parts
    for part in name.split("/"):
        assert 0 < len(part.encode("utf-8")) <= 200 and part == part.rstrip(". ")
        assert not set(part) & set('<>:"\\|?*') and min(part) >= " "
        # Names of devices: https://learn.microsoft.com/windows/win32/fileio/naming-a-file
        assert part.split(".")[0].upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT1"}
        assert not part.startswith(".")
    assert name.endswith(".png") and os.path.normpath(name) == name.replace("/", os.sep)


def test_hostile_names_stay_apart_from_each_other() -> None:
    names = result_names([*HOSTILE, "_/_/evil.png", "a?.png", "a*.png", "a_.png", "é.png", "e\u0301.png"])
    assert len({name.casefold() for name in names}) == len(names)


def test_a_file_is_not_called_like_a_folder_of_results() -> None:
    assert result_names(["a.jpg", "a.png/b.jpg"]) == ["a~2.png", "a.png/b.png"]
    assert result_names(["a.bmp", "A.JPG/b.jpg"]) == ["a~2.png", "A.JPG/b.png"], "the overlay a.jpg"


def test_a_name_that_an_earlier_run_gave_to_another_file_is_not_given_again() -> None:
    assert result_names(["a.png"], {"a.png": "a.jpg"}) == ["a~2.png"]
    assert result_names(["a.jpg", "b.png"], {"a.png": "a.jpg"}) == ["a.png", "b.png"]
