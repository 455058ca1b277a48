"""Files are whole or absent, whatever interrupts the writer; a second writer is refused."""

import json
import os
import subprocess
import sys

import pytest

from defectctl.errors import InputError, nearest
from defectctl.fileio import atomic_path, folder_lock, read_json, sha256_file, write_json, write_text


def test_an_interrupted_write_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "Prüfung 检查.json"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == [path.name]


def test_json_goes_there_and_back_and_refuses_nan(tmp_path):
    path = tmp_path / "folder" / "a.json"
    write_json(path, {"name": "Kratzer ß"})
    assert read_json(path, "file") == {"name": "Kratzer ß"}
    with pytest.raises(ValueError):
        write_json(path, {"x": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "Kratzer ß"}


def test_broken_json_is_one_sentence_with_the_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"labels '.*a\.json' is not valid JSON"):
        read_json(path, "labels")


def test_sha256_of_a_known_text(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_second_process_cannot_lock_and_a_dead_one_does_not_keep_the_lock(tmp_path):
    script = (
        "import sys, pathlib, time\n"
        "from defectctl.fileio import folder_lock\n"
        "with folder_lock(pathlib.Path(sys.argv[1]), 'dataset'):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="being written by another"), folder_lock(tmp_path, "dataset"):
            raise AssertionError("the lock was given twice")
        holder.kill()
        holder.wait()
    with folder_lock(tmp_path, "dataset"):
        assert (tmp_path / ".lock").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows does not remove open files")
def test_a_lock_on_a_file_that_its_last_holder_removed_is_no_lock(tmp_path, monkeypatch):
    import fcntl

    lock = fcntl.flock

    def late(handle, flags):
        (tmp_path / ".lock").unlink()
        lock(handle, flags)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(InputError, match="being written"), folder_lock(tmp_path, "dataset"):
        raise AssertionError("a third process would be given the lock as well")


def test_writing_leaves_the_umask_alone_since_other_threads_have_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask was set"))
    write_text(tmp_path / "a", "x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_a_file_that_is_held_open_for_a_moment_is_replaced_all_the_same(tmp_path, monkeypatch):
    replace, refusals = os.replace, [PermissionError(13, "in use"), PermissionError(13, "in use")]

    def busy(source, target):
        if refusals:
            raise refusals.pop()
        replace(source, target)

    monkeypatch.setattr(os, "replace", busy)
    monkeypatch.setattr("defectctl.fileio.REPLACE_WAITS", (0.0, 0.0), raising=False)
    write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "new" and os.listdir(tmp_path) == ["a"]


def test_nearest_name_is_offered_only_when_it_is_near():
    assert nearest("epoch", ["epochs", "losses"]) == "; did you mean 'epochs'?"
    assert nearest("zzz", ["epochs", "losses"]) == ""
