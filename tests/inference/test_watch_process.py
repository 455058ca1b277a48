"""The watch as a process: ended by signals with a whole journal, killed at any moment and taken up again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from journal_toys import read_journal
from watch_toys import picture, rows_of, wait_for

PROGRAM = Path(__file__).with_name("watch_toys.py")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


def start(root: Path, skip_done: bool = False, seconds: float = 0.0, done: bool = False) -> subprocess.Popen[str]:
    (root / "in").mkdir(exist_ok=True)
    arguments = [root / "in", root / "out", int(skip_done), seconds, *([root / "done"] if done else [])]
    process = subprocess.Popen(
        [sys.executable, PROGRAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROGRAM.parents[2])},
        bufsize=1,
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    assert first.startswith(("watching", "error")), first + process.stderr.read()
    return process


def put(root: Path, *names: str) -> None:
    for name in names:
        hidden = root / "in" / f".{name}"
        hidden.write_bytes(picture(5))
        hidden.replace(root / "in" / name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_when_what_is_in_hand_is_written(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, seconds=0.2)
    put(tmp_path, *(f"{n}.png" for n in range(40)))
    wait_for(lambda: rows_of(tmp_path / "out"), 10)
    process.send_signal(number)
    process.send_signal(number)  # an impatient second one does no harm
    out, err = process.communicate(timeout=10)
    said = json.loads(out)
    rows = rows_of(tmp_path / "out")
    assert process.returncode == 0 and err == "" and said["by"] == number.name
    assert said["images"] == len(rows) < 40 and len(said["waiting"]) == 40 - len(rows)
    assert (tmp_path / "out" / "predictions.jsonl").read_bytes().endswith(b"\n")
    assert all((tmp_path / "out" / row["mask"]).is_file() for row in rows)


def test_a_second_process_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    first = start(tmp_path)
    second = start(tmp_path)
    assert second.wait(10) == 2
    put(tmp_path, "a.png")
    wait_for(lambda: rows_of(tmp_path / "out"), 10)
    (tmp_path / "in" / "stop").touch()
    out, _ = first.communicate(timeout=10)
    assert json.loads(out) == {"images": 1, "by": "stop file", "waiting": []}


def test_killed_again_and_again_every_image_gets_its_row_and_no_input_is_lost(tmp_path: Path) -> None:
    dice = random.Random(5)
    names = [f"{n:02}.png" for n in range(50)]
    (tmp_path / "in").mkdir()
    put(tmp_path, *names[:30])
    starts = 2
    for number in range(starts):
        process = start(tmp_path, skip_done=number > 0, seconds=0.02, done=True)
        put(tmp_path, *names[30 + 10 * number : 40 + 10 * number])
        time.sleep(dice.uniform(0.03, 0.15))
        process.kill()
        process.communicate()
        assert all((tmp_path / "out" / row["mask"]).is_file() for row in rows_of(tmp_path / "out")), "files before rows"
    process = start(tmp_path, skip_done=True, done=True)
    wait_for(lambda: not list((tmp_path / "in").glob("*.png")), 10)
    process.terminate()
    process.communicate(timeout=10)
    rows = read_journal(tmp_path / "out" / "predictions.jsonl")
    assert sorted(rows) == names and {row["verdict"] for row in rows.values()} == {"NG"}
    again = [name for name, count in Counter(row["file"] for row in rows_of(tmp_path / "out")).items() if count > 1]
    assert again == [], "a row is written once: what has one is only moved"
    moved = [path.name for path in (tmp_path / "done").iterdir() if path.stat().st_size]
    assert sorted(name.replace("~2", "") for name in moved) == names
    assert not list((tmp_path / "out").glob(".*.part")), "half-written files of the killed are cleared away"
