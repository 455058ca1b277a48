"""The journal: nothing before the first row, replaced or continued, repaired after a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from defectctl.errors import InputError
from defectctl.inference.journal import Journal, read_journal


def test_nothing_is_made_before_the_first_row(tmp_path: Path) -> None:
    with Journal(tmp_path / "out"):
        assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out").exists()


def test_replaced_by_default_and_continued_on_request(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    for keep, names in ((False, ["ä.png"]), (False, ["b.png"]), (True, ["c.png", "b.png"])):
        with Journal(tmp_path, keep) as journal:
            for number, name in enumerate(names):
                journal.append({"file": name, "n": number})
    assert read_journal(path) == {"b.png": {"file": "b.png", "n": 1}, "c.png": {"file": "c.png", "n": 0}}
    assert len(path.read_bytes().splitlines()) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["predictions.jsonl"]


def test_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(b'{"file": "a.png"}\n{"file": "b.p')
    assert list(read_journal(path)) == ["a.png"]
    with Journal(tmp_path, keep=True) as journal:
        journal.append({"file": "c.png"})
    assert path.read_bytes() == b'{"file": "a.png"}\n{"file": "c.png"}\n'


def test_damage_elsewhere_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(b'{"file"\n{"file": "b.png"}\n')
    with pytest.raises(InputError, match="line 1"):
        read_journal(path)
    assert read_journal(tmp_path / "none") == {}
