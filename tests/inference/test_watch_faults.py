"""What goes wrong on a factory floor, one fault a test: nothing is lost, one line says what is the matter."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from journal_toys import read_journal
from watch_toys import BrightRunner, Station, picture, rows_of, wait_for

from defectctl.errors import RunError
from defectctl.inference import watch_round, writers
from defectctl.inference.journal import Journal
from defectctl.inference.sources import InputFile
from defectctl.inference.watch_state import SAY_AGAIN, Troubles


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines on stderr but for the first."""
    return [line for line in capsys.readouterr().err.splitlines() if not line.startswith("watching")]


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_a_slow_writer_gets_one_row_with_the_whole_picture(tmp_path: Path, ending: str) -> None:
    data = picture(30, ending)
    with Station(tmp_path, patience=3.0) as station:
        with (station.folder / f"slow{ending}").open("wb") as camera:
            for start in range(0, len(data), len(data) // 6 + 1):
                camera.write(data[start : start + len(data) // 6 + 1])
                camera.flush()
                time.sleep(0.08)  # more than it takes to settle
        station.put("other.png")
        station.wait(2)
        time.sleep(0.1)
    rows = {row["file"]: row for row in rows_of(station.out)}
    assert len(rows_of(station.out)) == 2 and rows[f"slow{ending}"]["verdict"] == "NG"
    assert rows[f"slow{ending}"]["defects"][0]["box"] == pytest.approx([5, 5, 35, 6], abs=1)


def test_a_copying_program_that_makes_the_room_first_is_waited_for(tmp_path: Path) -> None:
    data = picture(30, ".bmp")
    assert any(data[-100:])
    with Station(tmp_path) as station:
        with (station.folder / "a.bmp").open("wb") as copy:
            copy.write(data[:200] + bytes(len(data) - 200))
            copy.flush()
            time.sleep(0.15)
            copy.seek(200)
            copy.write(data[200:])
        station.wait(1)
    (row,) = rows_of(station.out)
    assert row["defects"][0]["area"] == 30


def test_a_torn_file_becomes_unreadable_in_the_end_and_good_once_it_is_whole(tmp_path: Path, capsys) -> None:
    data = picture(9)
    with Station(tmp_path, patience=0.8) as station:
        (station.folder / "torn.png").write_bytes(data[:-20])
        (station.folder / "empty.jpg").write_bytes(b"")
        station.put("good.png")
        station.wait(1)
        assert station.seen == ["good.png"], "nobody is judged too early, nobody waits for the torn one"
        station.wait(3)
        (station.folder / "torn.png").write_bytes(data)
        station.wait(4)
        time.sleep(0.5)
    assert len(rows_of(station.out)) == 4
    last = read_journal(station.out / "predictions.jsonl")
    assert last["torn.png"]["verdict"] == "NG" and last["torn.png"]["defects"][0]["area"] == 9
    assert last["empty.jpg"]["verdict"] == "UNREADABLE" and "empty" in last["empty.jpg"]["reason"]
    assert len([line for line in told(capsys) if "is left out" in line]) == 2


def test_a_share_that_vanishes_is_told_once_and_taken_up_again(tmp_path: Path, capsys) -> None:
    with Station(tmp_path) as station:
        station.put("a.png")
        station.wait(1)
        station.folder.rename(tmp_path / "away")
        time.sleep(0.4)
        (tmp_path / "away" / "b.png").write_bytes(picture(7))
        (tmp_path / "away").rename(station.folder)
        station.wait(2)
        time.sleep(0.1)
    assert [row["file"] for row in rows_of(station.out)] == ["a.png", "b.png"]
    lines = told(capsys)
    assert len(lines) == 2 and "cannot be read (No such file or directory); waiting" in lines[0]
    assert lines[1].startswith("over after")


def test_a_share_that_vanishes_while_a_batch_is_read_loses_nothing(tmp_path: Path, monkeypatch) -> None:
    read, left = InputFile.read, 6
    station = Station(tmp_path, patience=0.2)

    def vanishing(item: InputFile, *arguments: Any) -> bytes:
        nonlocal left
        left -= 1
        if left == 0:
            station.folder.rename(tmp_path / "away")
        return read(item, *arguments)

    monkeypatch.setattr(InputFile, "read", vanishing)
    for n in range(12):
        station.put(f"{n}.png")
    with station:
        wait_for((tmp_path / "away").exists)
        time.sleep(0.5)  # longer than the patience
        (tmp_path / "away").rename(station.folder)
        station.wait(12)
    rows = rows_of(station.out)
    assert sorted(row["file"] for row in rows) == sorted(f"{n}.png" for n in range(12))
    assert {row["verdict"] for row in rows} == {"NG"}


def test_a_full_disk_is_waited_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    full, tries = threading.Event(), 0
    write = writers.write_bytes

    def writing(path: Path, data: bytes) -> None:
        nonlocal tries
        if full.is_set():
            tries += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, data)

    monkeypatch.setattr(writers, "write_bytes", writing)
    with Station(tmp_path, move_done=tmp_path / "done") as station:
        station.put("a.png")
        station.wait(1)
        full.set()
        for n in range(6):
            station.put(f"{n}.png")
        wait_for(lambda: tries > 3)
        assert len(rows_of(station.out)) == 1 and len(list(station.folder.glob("?.png"))) >= 6
        full.clear()
        station.wait(7)
        wait_for(lambda: not list(station.folder.glob("*.png")))
    assert len(rows_of(station.out)) == 7 and station.summary and station.summary.moved == 7
    lines = told(capsys)
    assert len(lines) == 2 and "(the disk is full); waiting, nothing is lost" in lines[0], lines


def test_half_a_row_on_a_full_disk_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append, failures = Journal.append, 2

    def half(journal: Journal, row: dict[str, Any]) -> None:
        nonlocal failures
        if row["file"] == "b.png" and failures:
            failures -= 1
            with journal.path.open("ab") as handle:
                handle.write(b'{"file": "b.p')
            raise OSError(errno.ENOSPC, "No space left on device")
        append(journal, row)

    monkeypatch.setattr(Journal, "append", half)
    with Station(tmp_path) as station:
        for name in ("a.png", "b.png", "c.png"):
            station.put(name)
        station.wait(3)
    assert sorted(row["file"] for row in rows_of(station.out)) == ["a.png", "b.png", "c.png"]


def test_a_results_folder_that_vanishes_is_waited_for_and_not_made_anew(tmp_path: Path, capsys) -> None:
    with Station(tmp_path) as station:
        station.put("a.png")
        station.wait(1)
        time.sleep(0.1)
        station.out.rename(tmp_path / "away")
        station.put("b.png")
        time.sleep(0.4)
        assert not station.out.exists()
        (tmp_path / "away").rename(station.out)
        station.wait(2)
    assert [row["file"] for row in rows_of(station.out)] == ["a.png", "b.png"]
    assert len(told(capsys)) == 2


def test_tables_are_written_at_the_end_whatever_was_in_between(tmp_path: Path) -> None:
    with Station(tmp_path, tables=("csv", "coco")) as station:
        station.put("a.png")
        station.wait(1)
        station.out.rename(tmp_path / "away")
        time.sleep(0.1)
        (tmp_path / "away").rename(station.out)
        station.put("b.png", 9)
        station.wait(2)
    tables = [
        path.read_text(encoding="utf-8-sig") for path in station.out.iterdir() if path.suffix in (".csv", ".json")
    ]
    assert len(tables) >= 2 and all("a.png" in table and "b.png" in table for table in tables)


def test_a_folder_of_done_inputs_that_vanishes_holds_up_no_prediction(tmp_path: Path, capsys) -> None:
    with Station(tmp_path, move_done=tmp_path / "done") as station:
        station.put("a.png")
        wait_for((tmp_path / "done" / "a.png").exists)
        (tmp_path / "done").rename(tmp_path / "away")
        station.put("b.png")
        station.wait(2)
        assert (station.folder / "b.png").exists() and not (tmp_path / "done").exists()
        (tmp_path / "away").rename(tmp_path / "done")
        wait_for((tmp_path / "done" / "b.png").exists)
    assert len(rows_of(station.out)) == 2 and len(told(capsys)) == 2


def test_a_file_without_rights_gets_one_row_and_its_verdict_when_they_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, locked = InputFile.read, True

    def refused(item: InputFile, *arguments: Any) -> bytes:
        if locked and item.file == "a.png":
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(item, *arguments)

    monkeypatch.setattr(InputFile, "read", refused)
    monkeypatch.setattr(watch_round, "can_be_opened", lambda path: not locked)
    with Station(tmp_path, move_done=tmp_path / "done", patience=0.15) as station:
        station.put("a.png")
        station.put("b.png")
        station.wait(2)
        time.sleep(0.6)
        assert {row["file"]: row["verdict"] for row in rows_of(station.out)} == {"a.png": "UNREADABLE", "b.png": "NG"}
        assert len(rows_of(station.out)) == 2 and (station.folder / "a.png").exists()
        locked = False
        station.wait(3)
    assert read_journal(station.out / "predictions.jsonl")["a.png"]["verdict"] == "NG"


@pytest.mark.parametrize("where", ["network", "results"])
def test_an_image_that_cannot_be_worked_on_is_unreadable_and_the_watch_goes_on(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = BrightRunner()
    write = writers.write_bytes

    def too_large(pictures: list) -> None:
        if any((picture > 127).sum() == 13 for picture in pictures):
            raise RunError("the memory of cpu does not hold a single picture")

    def too_long(path: Path, data: bytes) -> None:
        if path.name == "13.png":
            raise OSError(errno.ENAMETOOLONG, "File name too long")
        write(path, data)

    if where == "network":
        runner.before = too_large
    else:
        monkeypatch.setattr(writers, "write_bytes", too_long)
    station = Station(tmp_path, runner)
    for n in range(10, 18):
        station.put(f"{n}.png", n)
    with station:
        station.wait(8)
    rows = {row["file"]: row for row in rows_of(station.out)}
    assert len(rows_of(station.out)) == 8
    assert [name for name, row in rows.items() if row["verdict"] != "NG"] == ["13.png"]
    assert rows["13.png"]["verdict"] == "UNREADABLE" and rows["13.png"]["mask"] is None
    assert ("memory" if where == "network" else "too long") in rows["13.png"]["reason"]


def test_a_broken_device_ends_the_watch_with_what_is_finished_in_the_journal(tmp_path: Path) -> None:
    runner = BrightRunner()
    station = Station(tmp_path, runner)

    def broken(pictures: list) -> None:
        if runner.batches:
            raise RuntimeError("CUDA error: device lost")

    runner.before = broken
    for n in range(8):
        station.put(f"{n}.png")
    with pytest.raises(RuntimeError, match="device lost"), station:
        station.thread.join(5)
    rows = rows_of(station.out)
    assert len(rows) == 4 and all((station.out / row["mask"]).is_file() for row in rows)


def test_clocks_may_say_what_they_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jumping = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(jumping)))
    with Station(tmp_path) as station:
        for name, when in (("a.png", 0), ("b.png", 4 * 10**9), ("c.png", 10**9)):
            os.utime(station.put(name), (when, when))
        station.wait(3)
        time.sleep(0.1)
    assert sorted({row["file"] for row in rows_of(station.out)}) == ["a.png", "b.png", "c.png"]


def test_a_file_taken_away_before_it_was_read_is_no_fault(tmp_path: Path, capsys) -> None:
    with Station(tmp_path, settle=0.15) as station:
        station.put("a.png").unlink()
        passing = station.put("b.png")
        time.sleep(0.05)
        shutil.move(passing, station.folder / "c.png")
        station.wait(1)
        time.sleep(0.3)
    assert [row["file"] for row in rows_of(station.out)] == ["c.png"] and told(capsys) == []


def test_trouble_is_told_when_it_begins_and_when_it_is_over_not_every_second(capsys) -> None:
    now = 0.0
    troubles = Troubles(lambda: now)
    attempts = 0
    for _ in range(600):
        if troubles.may_try("disk"):
            attempts += 1
            troubles.fail("disk", "the disk is full")
        now += 1
    assert 55 < attempts < 70, "half a second, then longer and longer, at last every ten seconds"
    troubles.over("disk")
    assert told(capsys) == ["warning: the disk is full; waiting, nothing is lost", "over after 600 s: the disk is full"]
    now += SAY_AGAIN
    for _ in range(60):  # it comes and goes
        troubles.fail("disk", "the disk is full")
        troubles.over("disk")
        now += 1
    assert len(told(capsys)) == 2
