"""When a file counts as there: settled, changed, gone, away with its folder, or given up; on a clock made by hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from defectctl.inference import arrivals as arrivals_module
from defectctl.inference.arrivals import Arrivals, mount_point, stamp_of


class Clock:
    """Seconds that pass when the test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def make(folder: Path, clock: Clock, **more) -> Arrivals:
    return Arrivals(folder, settle=1.0, patience=10.0, clock=clock, **more)


def names(arrivals: Arrivals) -> list[str]:
    return [arrival.file for arrival in arrivals.ready()]


def test_a_file_is_ready_once_it_has_stayed_as_it_is(folder: Path, clock: Clock) -> None:
    arrivals = make(folder, clock)
    (folder / "a.png").write_bytes(b"one")
    arrivals.look()
    assert names(arrivals) == [] and arrivals.next_due() == 1.0
    clock.now += 0.9
    with (folder / "a.png").open("ab") as growing:
        growing.write(b"two")
    arrivals.look()
    clock.now += 0.9
    arrivals.look()
    assert names(arrivals) == [], "it grew 0.9 s ago"
    clock.now += 0.1
    arrivals.look()
    assert names(arrivals) == ["a.png"] and arrivals.ready()[0].stamp == stamp_of(folder / "a.png")


def test_the_oldest_of_those_found_together_comes_first(folder: Path, clock: Clock) -> None:
    for name, when in (("a.png", 300), ("b.png", 100), ("c.png", 200)):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (when, when))
    arrivals = make(folder, clock)
    arrivals.look()
    clock.now += 1
    (folder / "0.png").write_bytes(b"x")
    os.utime(folder / "0.png", (0, 0))
    arrivals.look()
    clock.now += 1
    assert names(arrivals) == ["b.png", "c.png", "a.png", "0.png"], "a clock that is wrong makes nobody wait"


def test_only_images_and_only_folders_that_are_wanted(folder: Path, clock: Clock) -> None:
    for name in ("ä 1.PNG", "a..b.jpg", "note.txt", ".hidden.png", "s/b.tif", ".h/c.png", "out/m.png", "x.png/d.bmp"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    if os.name != "nt":
        (folder / "link").symlink_to(folder / "s", target_is_directory=True)
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.png")
    arrivals = make(folder, clock, left_out=[folder / "out"])
    assert arrivals.look() == {"ä 1.PNG", "a..b.jpg", "s/b.tif", "x.png/d.bmp"}
    assert make(folder, clock, recursive=False).look() == {"ä 1.PNG", "a..b.jpg"}


def test_what_is_known_waits_for_nothing_until_it_is_replaced(folder: Path, clock: Clock) -> None:
    path = folder / "a.png"
    path.write_bytes(b"x")
    stamps = {"a.png": stamp_of(path)}
    arrivals = make(folder, clock, known=stamps.get)
    arrivals.look()
    assert arrivals.all() == [] and arrivals.finished == {"a.png": (path, stamps["a.png"])}
    path.write_bytes(b"new")
    clock.now += 1
    arrivals.look()
    assert [one.file for one in arrivals.all()] == ["a.png"] and arrivals.finished == {}


def test_what_becomes_known_after_the_first_look_waits_no_longer(folder: Path, clock: Clock) -> None:
    stamps = {}
    arrivals = make(folder, clock, known=stamps.get)
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(b"x")
    arrivals.look()
    stamps["a.png"] = stamp_of(folder / "a.png")
    clock.now += 5
    arrivals.look()
    assert names(arrivals) == ["b.png"] and list(arrivals.finished) == ["a.png"]


def test_a_bad_file_is_tried_less_and_less_often_and_then_given_up(folder: Path, clock: Clock) -> None:
    for name in ("bad.png", "good.png"):
        (folder / name).write_bytes(b"x")
    arrivals = make(folder, clock)
    arrivals.look()
    tries = []
    begin = clock.now = clock.now + 1
    while clock.now < begin + 11:
        for arrival in arrivals.ready():
            if arrival.file == "bad.png":
                tries.append(clock.now - begin)
                arrivals.put_off(arrival)
                assert arrivals.is_given_up(arrival) == (clock.now - begin >= 10)
        clock.now += 0.25
    assert tries == [0, 1, 3, 7, 10], "after 1, 2 and 4 seconds, and at the end of the patience"
    assert names(arrivals) == ["good.png", "bad.png"] or names(arrivals) == ["good.png"]


def test_time_while_the_folder_was_away_does_not_count(folder: Path, clock: Clock) -> None:
    (folder / "a.png").write_bytes(b"x")
    arrivals = make(folder, clock)
    arrivals.look()
    clock.now += 1
    (one,) = arrivals.ready()
    arrivals.put_off(one)
    folder.rename(folder.with_name("away"))
    with pytest.raises(OSError):
        arrivals.look()
    clock.now += 1000
    folder.with_name("away").rename(folder)
    arrivals.look()
    (one,) = arrivals.all()
    assert not arrivals.is_given_up(one) and names(arrivals) == []
    clock.now += 1
    assert names(arrivals) == ["a.png"]


def test_an_empty_mount_point_is_a_folder_that_is_away(
    folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = {os.path.realpath(folder.parent), "/"}
    monkeypatch.setattr(os.path, "ismount", lambda path: os.fspath(path) in mounted)
    assert mount_point(folder) == folder.parent
    (folder / "a.png").write_bytes(b"x")
    arrivals = make(folder, clock)
    arrivals.look()
    (folder / "a.png").unlink()
    mounted.remove(os.path.realpath(folder.parent))
    with pytest.raises(OSError, match="nothing is mounted"):
        arrivals.look()
    assert [one.file for one in arrivals.all()] == ["a.png"], "it is not forgotten"


def test_a_file_that_is_gone_is_forgotten_but_not_where_its_folder_cannot_be_read(
    folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "s/b.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    arrivals = make(folder, clock)
    arrivals.look()
    listed = os.scandir
    closed = True

    def scandir(path):
        if closed and Path(path).name == "s":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(arrivals_module.os, "scandir", scandir)
    assert arrivals.look() == {"a.png"} and list(arrivals.closed) == ["s"]
    assert {one.file for one in arrivals.all()} == {"a.png", "s/b.png"}
    closed = False
    (folder / "a.png").unlink()
    assert arrivals.look() == {"s/b.png"} and arrivals.closed == {}
    assert [one.file for one in arrivals.all()] == ["s/b.png"]


def test_room_made_for_pixels_that_are_still_to_come_is_waited_for(folder: Path, clock: Clock) -> None:
    (folder / "a.bmp").write_bytes(b"BM" + bytes(10000))
    (folder / "b.bmp").write_bytes(b"BM" + bytes(9990) + b"\1" * 10)
    (folder / "c.png").write_bytes(bytes(10000))
    arrivals = make(folder, clock)
    arrivals.look()
    clock.now += 1
    assert names(arrivals) == ["b.bmp", "c.png"], "a PNG shows by itself whether it is whole"
    clock.now += 1
    assert names(arrivals) == ["a.bmp", "b.bmp", "c.png"], "two seconds unchanged: a black picture"


def test_many_finished_files_are_looked_at_again_now_and_then_only(
    folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(20):
        (folder / f"{n}.png").write_bytes(b"x")
    known = {f"{n}.png": stamp_of(folder / f"{n}.png") for n in range(20)}
    asked: list[str] = []

    def slow(path: Path):
        clock.now += 0.1
        asked.append(path.name)
        return stamp_of(path)

    monkeypatch.setattr(arrivals_module, "stamp_of", slow)
    arrivals = make(folder, clock, known=known.get)
    begin = clock.now
    while clock.now < begin + 200:
        arrivals.look()
        clock.now += 0.5
    share = 0.1 * len(asked) / (clock.now - begin)
    assert 0.02 < share < 0.07, share
