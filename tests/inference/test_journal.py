"""The journal: nothing before the first row, replaced or continued, repaired after a crash."""

from __future__ import annotations

from pathlib import Path

import pytest
from journal_toys import read_journal

from defectctl.errors import InputError
from defectctl.inference.journal import Ended, Journal, brief_rows, last_rows


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


def test_the_last_row_of_each_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_text('{"file": "a", "n": 1}\n{"file": "b", "n": 2}\n{"file": "a", "n": 3}\n{"file": "c"', "utf-8")
    assert list(last_rows(path)) == [{"file": "b", "n": 2}, {"file": "a", "n": 3}]
    assert list(last_rows(tmp_path / "none")) == []


def test_a_name_that_is_no_text_comes_back(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append({"file": "деталь\n\udcff.png"})
    assert list(read_journal(tmp_path / "predictions.jsonl")) == ["деталь\n\udcff.png"]
    assert [row["file"] for row in last_rows(tmp_path / "predictions.jsonl")] == ["деталь\n\udcff.png"]


def test_begin_and_finish_are_called_under_the_lock(tmp_path: Path) -> None:
    calls: list[str | Ended] = []

    def note(what: str | Ended) -> None:
        calls.append(what)
        with pytest.raises(InputError, match="being written"), Journal(tmp_path) as other:
            other.start()

    with Journal(tmp_path, begin=lambda: note("begin"), finish=note) as journal:
        journal.append({"file": "a"})
        journal.append({"file": "b"})
    begin, ended = calls
    assert begin == "begin" and ended.rows == 2 and ended.finished and ended.seconds > 0


def test_finish_without_rows_only_where_a_journal_is_kept(tmp_path: Path) -> None:
    calls: list[Ended] = []
    with Journal(tmp_path, keep=True, finish=calls.append):
        pass
    with Journal(tmp_path, finish=calls.append):
        pass
    assert calls == [] and list(tmp_path.iterdir()) == []
    (tmp_path / "predictions.jsonl").write_bytes(b'{"file": "a"}\n')
    with Journal(tmp_path, keep=True, finish=calls.append):
        pass
    assert [ended.rows for ended in calls] == [0]


def test_after_an_error_the_tables_are_tried_and_the_error_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(ended: Ended) -> None:
        assert not ended.finished
        raise OSError(28, "No space left on device")

    with pytest.raises(KeyboardInterrupt), Journal(tmp_path, finish=full) as journal:
        journal.append({"file": "a"})
        raise KeyboardInterrupt
    assert "not written: No space left" in capsys.readouterr().err
    assert list(read_journal(tmp_path / "predictions.jsonl")) == ["a"]


def test_brief_rows_leave_out_what_was_found(tmp_path: Path) -> None:
    made = {"model": {"sha256": "ab"}, "thresholds": {"ng": 0.5}}
    with Journal(tmp_path) as journal:
        journal.append({"file": "a", "defects": [{"rle": {}}, {}], "boxes": [{}], **made})
        journal.append({"file": "b", "defects": [{"rle": {}}], **made})
        journal.append({"file": "c", "defects": [], "model": {"sha256": "cd"}, "thresholds": {}})
    rows = brief_rows(tmp_path / "predictions.jsonl")
    assert rows["a"] == {"file": "a", "outlined": False, **made} and rows["b"]["outlined"] and rows["c"]["outlined"]
    assert rows["a"]["model"] is rows["b"]["model"] and rows["c"]["model"] == {"sha256": "cd"}
