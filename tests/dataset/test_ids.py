"""Sample ids must be harmless as file names on every system."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest

from defectctl.dataset.ids import check_id, safe_id, safe_ids
from defectctl.errors import InputError

HOSTILE = [
    "../../etc/passwd",
    "/etc/passwd",
    "C:\\Windows\\x.png",
    "a/../b.png",
    "con.png",
    "x/NUL",
    "a<b>.png",
    "trailing. /x.png",
    ".hidden/x.png",
    "",
    "..",
    "a\x00b.png",
    "é" * 200 + ".png",
]


@pytest.mark.parametrize("raw", HOSTILE)
def test_hostile_paths_become_harmless_and_stay_so(raw):
    made = safe_id(raw)
    assert safe_id(made) == made
    assert ".." not in PurePosixPath(made).parts and not PurePosixPath(made).is_absolute()
    assert not PureWindowsPath(made).drive and not PureWindowsPath(made).is_reserved()
    assert max(len(part.encode()) for part in made.split("/")) <= 180
    if raw != made:
        with pytest.raises(InputError):
            check_id(raw)


@pytest.mark.parametrize(
    "raw", ["training/000001.jpg", "Бракованные детали/фото 1.png", "欠陥/画像.bmp", "a..b/c-d_(1).jp2"]
)
def test_ordinary_names_of_any_alphabet_stay(raw):
    assert safe_id(raw) == raw


def test_case_folding_collisions_are_told_apart_whatever_the_order():
    raws = ["A/x.PNG", "a/X.png", "a/x.png", "b.png"]
    forward, backward = safe_ids(raws), safe_ids(raws[::-1])
    assert forward == backward
    assert len({made.casefold() for made in forward.values()}) == 4
    assert forward["b.png"] == "b.png"


def test_a_made_up_name_never_takes_a_real_one():
    made = safe_ids(["a.png", "A.png", "A~2.png", "a~2.png"])
    assert len({name.casefold() for name in made.values()}) == 4


@pytest.mark.parametrize("name", ["CONIN$.png", "com¹.bmp", "LPT9", "Aux.tar.gz"])
def test_names_of_devices_that_windows_would_open_instead_are_changed(name: str) -> None:
    assert safe_id(name) == "_" + name
