"""Finished inputs are moved once and whole: never over a file, never a newer one, across drives too."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from defectctl.inference import move_done as module
from defectctl.inference.arrivals import stamp_of
from defectctl.inference.move_done import ReplacedError, move_done


@pytest.fixture
def one(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a b.png"
    path.write_bytes(b"picture")
    os.utime(path, ns=(10**18, 10**18 + 7))
    return path


@pytest.fixture
def done(tmp_path: Path) -> Path:
    return tmp_path / "done" / "s" / "a b.png"


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(params=["one drive", "two drives"])
def drives(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    replace = os.replace

    def refuse(source, target):
        if ("in" in Path(source).parts) != ("in" in Path(target).parts):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace(source, target)

    if request.param == "two drives":
        monkeypatch.setattr(module.os, "replace", refuse)
    return request.param


def test_moved_with_its_time_and_nothing_left_behind(one: Path, done: Path, tmp_path: Path, drives: str) -> None:
    assert move_done(one, stamp_of(one), done) == done
    assert files(tmp_path) == {"done/s/a b.png": b"picture"}
    assert stamp_of(done) == (7, 10**18 + 7)


def test_never_over_another_file(one: Path, done: Path, tmp_path: Path, drives: str) -> None:
    done.parent.mkdir(parents=True)
    done.write_bytes(b"older")
    done.with_name("a b~2.png").write_bytes(b"old")
    assert move_done(one, stamp_of(one), done).name == "a b~3.png"
    assert files(tmp_path) == {
        "done/s/a b.png": b"older",
        "done/s/a b~2.png": b"old",
        "done/s/a b~3.png": b"picture",
    }


def test_a_newer_file_of_that_name_stays(one: Path, done: Path, tmp_path: Path, drives: str) -> None:
    stamp = stamp_of(one)
    one.write_bytes(b"newer picture")
    with pytest.raises(ReplacedError):
        move_done(one, stamp, done)
    assert files(tmp_path) == {"in/a b.png": b"newer picture"}


def test_a_file_replaced_in_the_very_moment_of_the_move_is_put_back(
    one: Path, done: Path, tmp_path: Path, drives: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = stamp_of(one)
    replace, swapped = module.os.replace, []

    def late(source, target):
        if Path(source) == one and not swapped:
            swapped.append(1)
            one.write_bytes(b"newer picture")
        replace(source, target)

    monkeypatch.setattr(module.os, "replace", late)
    with pytest.raises(ReplacedError):
        move_done(one, stamp, done)
    assert files(tmp_path) == {"in/a b.png": b"newer picture"}


def test_a_full_disk_leaves_the_input_and_no_half_copy(
    one: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*paths):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_rename", lambda *paths: False)
    monkeypatch.setattr(module.shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space"):
        move_done(one, stamp_of(one), done)
    assert files(tmp_path) == {"in/a b.png": b"picture"}


def test_killed_between_copy_and_removal_the_next_call_removes(
    one: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "_rename", lambda *paths: False)
        patch.setattr(module, "_take_away", lambda *arguments, **more: None)
        move_done(one, stamp_of(one), done)
    assert len(files(tmp_path)) == 2
    assert move_done(one, stamp_of(one), done) == done
    assert files(tmp_path) == {"done/s/a b.png": b"picture"}


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_becomes_what_it_points_to(one: Path, done: Path, tmp_path: Path) -> None:
    link = one.with_name("link.png")
    link.symlink_to("a b.png")
    move_done(link, stamp_of(link), done)
    assert done.read_bytes() == b"picture" and not done.is_symlink()
    assert one.exists() and not os.path.lexists(link)


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no second drive here")
def test_between_two_real_drives(one: Path) -> None:
    import shutil
    import tempfile

    other = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        move_done(one, stamp_of(one), other / "a.png")
        assert files(other) == {"a.png": b"picture"} and list(one.parent.iterdir()) == []
    finally:
        shutil.rmtree(other)
