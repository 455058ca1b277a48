"""A station for the tests of watching: a network without torch, images of known defects, a process of its own.

Run as a program it watches: `watch_toys.py FOLDER OUT SKIP_DONE SECONDS_A_PASS [DONE]`.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from defectctl.checkpoints.contract import Contract
from defectctl.errors import InputError
from defectctl.inference.maps import Maps
from defectctl.inference.options import PredictOptions
from defectctl.inference.watch import WatchOptions, WatchSummary, watch_folder
from defectctl.inference.watch_state import Stop

FAST = {"interval": 0.02, "settle": 0.03, "patience": 0.4}


class BrightRunner:
    """Class 1 where the grey level is over one half; notes the size of each batch."""

    device = SimpleNamespace(type="cpu")
    input = SimpleNamespace(colour="grey", mode="resize", size=[32, 40])
    predict = SimpleNamespace(box_score=0.25, box_iou=0.5, batch_size=None)

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[int] = []
        self.before: Callable[[list[np.ndarray]], None] = lambda pictures: None

    def maps(self, pictures: list[np.ndarray]) -> list[Maps]:
        if any(picture.max() > 127 for picture in pictures):  # not the one to warm up with
            self.before(pictures)
            self.batches.append(len(pictures))
            time.sleep(self.seconds)
        return [self._maps(picture) for picture in pictures]

    def _maps(self, picture: np.ndarray) -> Maps:
        bright = picture > 127
        return Maps(bright.astype(np.uint8), bright.astype(np.uint8) * 255)


def picture(area: int, ending: str = ".png") -> bytes:
    """An image file of 32 x 40 pixels with one bright defect of `area` pixels, at most 30."""
    pixels = np.full((32, 40), 20, np.uint8)
    pixels[5, 5 : 5 + area] = 250
    return cv2.imencode(ending, pixels)[1].tobytes()


def contract() -> Contract:
    return Contract({"model": {"name": "unet"}}, ["dent"], [(255, 0, 0)])


def rows_of(out: Path) -> list[dict[str, Any]]:
    """All rows, of every time that a file was predicted; each must be whole."""
    path = out / "predictions.jsonl"
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


class Station:
    """A watch on a thread of its own, which is stopped and looked into by the test."""

    def __init__(self, root: Path, runner: BrightRunner | None = None, **changes: Any) -> None:
        self.folder, self.out, self.done = root / "in", root / "out", root / "done"
        self.folder.mkdir(exist_ok=True)
        model = root / "model.safetensors"
        model.write_bytes(b"weights")
        self.runner = runner or BrightRunner()
        self.stop = Stop()
        self.seen: list[str] = []
        self.summary: WatchSummary | None = None
        self.error: BaseException | None = None
        watch_keys = {"move_done", "recursive", "interval", "settle", "patience"}
        watch = WatchOptions(self.folder, **{**FAST, **{k: v for k, v in changes.items() if k in watch_keys}})
        options = PredictOptions(batch_size=4, **{k: v for k, v in changes.items() if k not in watch_keys})

        def work() -> None:
            try:
                self.summary = watch_folder(
                    watch, self.out, self.runner, contract(), model, options, self._note, self.stop
                )
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=work)

    def _note(self, row: dict[str, Any]) -> None:
        self.seen.append(row["file"])

    def put(self, name: str, area: int = 5) -> Path:
        """Let an image arrive in one step, as a program does that writes under another name first."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = path.with_name(f".{abs(hash(name))}.part")
        hidden.write_bytes(picture(area, path.suffix))
        hidden.replace(path)
        return path

    def wait(self, rows: int, seconds: float = 5.0) -> list[dict[str, Any]]:
        """Wait until so many rows are written."""
        return wait_for(lambda: (found := rows_of(self.out)) and len(found) >= rows and found, seconds)

    def __enter__(self) -> Station:
        self.thread.start()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.stop.ask("test")
        self.thread.join(10)
        assert not self.thread.is_alive()
        if kind is None and self.error is not None:
            raise self.error


def wait_for(true: Callable[[], Any], seconds: float = 5.0) -> Any:
    """Ask again and again until the answer is yes; a machine under load is given time."""
    end = time.monotonic() + seconds
    while not (answer := true()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
    return answer


def main() -> None:
    """Watch as the arguments say, and print what came of it as JSON."""
    folder, out, skip_done, seconds, *done = sys.argv[1:]
    watch = WatchOptions(Path(folder), Path(done[0]) if done else None, **FAST)
    options = PredictOptions(batch_size=4, skip_done=bool(int(skip_done)))
    try:
        found = watch_folder(watch, Path(out), BrightRunner(float(seconds)), contract(), Path(__file__), options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(json.dumps({"images": found.summary.images, "by": found.stopped_by, "waiting": found.waiting}))


if __name__ == "__main__":
    main()
