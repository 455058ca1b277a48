"""The watch in its daily work: what arrives is predicted as by a plain run, in small batches, until it is stopped."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from journal_toys import read_journal
from watch_toys import FAST, BrightRunner, Station, contract, picture, rows_of, wait_for

from defectctl.errors import InputError
from defectctl.inference.options import PredictOptions
from defectctl.inference.predict import predict_files
from defectctl.inference.sources import list_inputs
from defectctl.inference.watch import WatchOptions, check_places, watch_folder
from defectctl.inference.watch_state import Finished, Stop


def test_rows_and_files_are_those_of_a_plain_run(tmp_path: Path) -> None:
    station = Station(tmp_path, write=("masks", "overlays", "defect-maps"))
    with station:
        for n, name in enumerate(("a.jpg", "s/b.png", "s/деталь 图.bmp", "c.tif")):
            station.put(name, n + 1)
        (station.folder / "d.png").write_bytes(b"no image")
        station.wait(5)
    plain = tmp_path / "plain"
    inputs = list_inputs([str(station.folder)], plain)
    options = PredictOptions(("masks", "overlays", "defect-maps"))
    predict_files(inputs, plain, BrightRunner(), contract(), tmp_path / "model.safetensors", options)
    assert read_journal(station.out / "predictions.jsonl") == read_journal(plain / "predictions.jsonl")
    files = {p.relative_to(plain): p.read_bytes() for p in plain.rglob("*") if p.suffix in (".png", ".jpg")}
    assert len(files) == 12
    assert files == {name: (station.out / name).read_bytes() for name in files}
    assert station.summary and station.summary.summary.verdicts == {"OK": 0, "NG": 4, "UNSURE": 0, "UNREADABLE": 1}


def test_one_image_is_a_batch_and_what_comes_meanwhile_is_the_next(tmp_path: Path) -> None:
    runner, in_work, go_on = BrightRunner(), threading.Event(), threading.Event()
    runner.before = lambda pictures: (in_work.set(), go_on.wait(5))
    with Station(tmp_path, runner) as station:
        station.put("first.png")
        assert in_work.wait(5)
        for n in range(6):
            station.put(f"{n}.png")
        time.sleep(0.1)
        go_on.set()
        station.wait(7)
    assert runner.batches[0] == 1 and sorted(runner.batches[1:]) == [2, 4], runner.batches
    assert sorted(station.seen) == sorted(["first.png", *(f"{n}.png" for n in range(6))])


def test_a_new_stop_file_ends_it_and_an_old_one_does_not(tmp_path: Path, capsys) -> None:
    station = Station(tmp_path)
    old = station.folder / "stop"
    old.write_bytes(b"")
    os.utime(old, (1000, 1000))
    with station:
        station.put("a.png")
        station.wait(1)
        assert station.thread.is_alive() and "touch it" in capsys.readouterr().err
        old.touch()
        station.thread.join(5)
        assert not station.thread.is_alive()
    assert station.summary and station.summary.stopped_by == "stop file" and old.exists()


def test_what_is_in_hand_is_finished_and_the_rest_waits_for_the_next_start(tmp_path: Path) -> None:
    runner = BrightRunner()
    station = Station(tmp_path, runner)
    runner.before = lambda pictures: station.stop.ask("test")
    for n in range(10):
        station.put(f"{n}.png")
    with station:
        station.thread.join(5)
    assert station.summary and len(station.summary.waiting) == 6
    done = {row["file"] for row in rows_of(station.out)}
    assert len(done) == 4 and done | set(station.summary.waiting) == {f"{n}.png" for n in range(10)}
    with Station(tmp_path, skip_done=True) as again:
        again.wait(10)
    assert again.summary and again.summary.summary.skipped == 4 and again.summary.summary.images == 6
    assert again.summary.summary.earlier == {"NG": 4}


def test_done_inputs_are_moved_with_their_folders_also_those_of_an_earlier_watch(tmp_path: Path) -> None:
    with Station(tmp_path) as station:
        station.put("s/a.png")
        station.wait(1)
    with Station(tmp_path, skip_done=True, move_done=station.done) as again:
        again.put("b.png")
        (again.folder / "bad.png").write_bytes(b"no image")
        again.wait(3)
        wait_for(lambda: not list(again.folder.rglob("*.png")))
    moved = {p.relative_to(again.done).as_posix() for p in again.done.rglob("*.png")}
    assert moved == {"s/a.png", "b.png", "bad.png"}
    assert again.summary and (again.summary.moved, again.summary.summary.skipped) == (3, 1)
    assert len(rows_of(again.out)) == 3


def test_the_folder_of_done_inputs_may_lie_in_the_watched_one(tmp_path: Path) -> None:
    with Station(tmp_path, move_done=tmp_path / "in" / "done") as station:
        station.put("a.png")
        wait_for(lambda: (station.folder / "done" / "a.png").exists())
        time.sleep(0.15)
    assert len(rows_of(station.out)) == 1


def test_a_file_replaced_under_its_name_is_predicted_again(tmp_path: Path) -> None:
    with Station(tmp_path) as station:
        station.put("a.png", 5)
        station.wait(1)
        station.put("a.png", 9)
        station.wait(2)
        time.sleep(0.15)
    assert [row["defects"][0]["area"] for row in rows_of(station.out)] == [5, 9]
    assert read_journal(station.out / "predictions.jsonl")["a.png"]["mask"] == "a.png"


def test_results_of_names_that_differ_in_the_ending_stay_apart_over_a_restart(tmp_path: Path) -> None:
    with Station(tmp_path) as station:
        station.put("a.jpg", 5)
        station.wait(1)
    with Station(tmp_path, skip_done=True) as station:
        station.put("a.bmp", 9)
        station.wait(2)
        station.put("a.jpg", 7)
        station.wait(3)
    masks = {row["file"]: row["mask"] for row in rows_of(station.out)}
    assert masks["a.jpg"] == "a.png" and masks["a.bmp"] != "a.png" and (station.out / masks["a.bmp"]).is_file()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_strange_names_neither_break_the_journal_nor_leave_the_folders(tmp_path: Path, capsys) -> None:
    names = ["a\nb.png", "x..y.jpg", "-rf.png", "CON.png", "é" * 100 + ".png", "s..\n/a~.png", "t /c.png"]
    with Station(tmp_path, move_done=tmp_path / "done") as station:
        for name in names:
            station.put(name)
        raw = os.fsencode(station.folder) + b"/\xff\xfe.png"
        with open(raw, "wb") as handle:
            handle.write(picture(5))
        (station.folder / "bad\n1.png").write_bytes(b"")
        station.wait(9, 8)
        wait_for(lambda: not [p for p in station.folder.rglob("*") if p.is_file()])
    rows = rows_of(station.out)
    assert len(rows) == 9 and sum(row["verdict"] == "NG" for row in rows) == 8
    masks = [station.out / row["mask"] for row in rows if row["mask"]]
    assert len(set(masks)) == 8 and all(mask.is_file() and station.out in mask.parents for mask in masks)
    assert {p.name for p in tmp_path.iterdir()} == {"in", "out", "done", "model.safetensors"}
    assert all(line.startswith(("warning: ", "watching ")) for line in capsys.readouterr().err.splitlines())


def test_a_folder_called_like_results_makes_its_images_unreadable_not_the_watch(tmp_path: Path) -> None:
    with Station(tmp_path, write=("masks", "overlays")) as station:
        station.put("overlays/a.png")
        station.put("b.png")
        station.wait(2)
    verdicts = {row["file"]: (row["verdict"], row.get("reason", "")) for row in rows_of(station.out)}
    assert verdicts["b.png"][0] == "NG" and verdicts["overlays/a.png"][0] == "UNREADABLE"
    assert "rename the folder" in verdicts["overlays/a.png"][1]


def test_a_journal_that_a_script_takes_away_is_begun_anew(tmp_path: Path) -> None:
    with Station(tmp_path) as station:
        station.put("a.png")
        station.wait(1)
        (station.out / "predictions.jsonl").rename(station.out / "monday.jsonl")
        station.put("b.png")
        station.wait(1)
        (station.out / "predictions.jsonl").rename(station.out / "tuesday.jsonl")
        (station.out / "predictions.jsonl").write_bytes(b"")
        station.put("c.png")
        station.wait(1)
    journals = ("monday.jsonl", "tuesday.jsonl", "predictions.jsonl")
    assert [list(read_journal(station.out / name)) for name in journals] == [["a.png"], ["b.png"], ["c.png"]]


@pytest.mark.parametrize(
    "folder, out, done",
    [
        ("in", "in", None),
        ("out/in", "out", None),
        ("none", "out", None),
        ("in", "out", "in"),
        ("done/in", "out", "done"),
        ("in", "out", "out/done"),
        ("in", "done/out", "done"),
    ],
)
def test_folders_that_would_feed_each_other_are_refused(tmp_path: Path, folder: str, out: str, done: str) -> None:
    for name in ("in", "out/in", "done/in"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(InputError):
        check_places(WatchOptions(tmp_path / folder, tmp_path / done if done else None), tmp_path / out)
    check_places(WatchOptions(tmp_path / "in", tmp_path / "in" / "done"), tmp_path / "in" / "out")


def test_a_second_watch_on_the_same_results_is_refused_at_once(tmp_path: Path) -> None:
    with Station(tmp_path) as station:
        wait_for((station.out / "predictions.jsonl").exists)
        (tmp_path / "other").mkdir()
        with pytest.raises(InputError, match="another defectctl"):
            watch_folder(
                WatchOptions(tmp_path / "other", **FAST),
                station.out,
                BrightRunner(),
                contract(),
                tmp_path / "model.safetensors",
                PredictOptions(skip_done=True),
                stop=Stop(),
            )
        station.put("a.png")
        station.wait(1)


def test_only_so_many_files_that_are_gone_are_remembered() -> None:
    on_disk: set[str] = set()
    finished = Finished(lambda file, result: result in on_disk, kept=100)
    there: set[str] = set()
    for n in range(1000):
        name = finished.result_name(f"{n}.jpg")
        assert name == f"{n}.png"
        on_disk.add(name)
        finished.keep(f"{n}.jpg", (1, n), name)
        if n < 50:
            there.add(f"{n}.jpg")
        finished.forget_oldest(there)
        assert len(finished._files) <= 50 + 110 + 1 and len(finished._owners) == len(finished._files)
    assert all(finished.stamp(f"{n}.jpg") == (1, n) for n in range(50)), "what is there is not forgotten"
    assert finished.stamp("300.jpg") is None and finished.stamp("999.jpg") == (1, 999)
    assert finished.result_name("300.bmp") not in on_disk, "nobody's result is overwritten"
