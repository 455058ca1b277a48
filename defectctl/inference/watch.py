"""Predicts what arrives in a folder, around the clock: the model stays loaded, and no image is lost to a fault."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defectctl.checkpoints.contract import Contract
from defectctl.errors import InputError
from defectctl.inference.arrivals import Arrivals, check_mounted, mount_point, stamp_of
from defectctl.inference.journal import brief_rows
from defectctl.inference.move_done import ReplacedError, move_done
from defectctl.inference.options import PredictOptions
from defectctl.inference.predict import Run, Summary
from defectctl.inference.sources import InputFile
from defectctl.inference.watch_round import RESULTS, Rounds
from defectctl.inference.watch_state import Stop, Troubles, concerns_one_file, why
from defectctl.messages import say, warn

if TYPE_CHECKING:
    from defectctl.inference.base_runner import Runner

STOP_NAME = "stop"
"""A file of this name in the watched folder ends the watch."""
WATCHED, DONE = "watched folder", "folder of finished inputs"


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What is watched, and how.

    Attributes:
        folder: where images arrive.
        move_done: where inputs go once their row is written; None: they stay.
        recursive: whether to look into sub-folders.
        interval: seconds between two looks at the folder while nothing arrives.
        settle: seconds that a file must stay as it is before it is read.
        patience: seconds after which a file that stays as it is and cannot be read becomes UNREADABLE.
    """

    folder: Path
    move_done: Path | None = None
    recursive: bool = True
    interval: float = 0.1
    settle: float = 0.1
    patience: float = 30.0


@dataclass(slots=True)
class WatchSummary:
    """What a watch came to.

    Attributes:
        summary: as of `predict_files`; `unreadable` lists the first `predict.LISTED`.
        stopped_by: "stop file", "SIGINT", "SIGTERM" or "SIGBREAK".
        moved: inputs moved to the folder of finished inputs.
        waiting: files that were there at the end and have no row; the next watch takes them.
    """

    summary: Summary
    stopped_by: str
    moved: int = 0
    waiting: list[str] = field(default_factory=list)


def watch_folder(
    watch: WatchOptions,
    out: Path,
    runner: Runner,
    contract: Contract,
    model: Path,
    options: PredictOptions,
    progress: Callable[[dict[str, Any]], None] | None = None,
    stop: Stop | None = None,
) -> WatchSummary:
    """Predict every image that is or comes into `watch.folder` until it is told to stop; rows and files as `predict`.

    What is waiting is taken in batches, a single image at once. A folder that is away, a full disk and the like are
    waited out, with one line when it begins and one when it is over. With `options.skip_done` the journal in `out`
    is continued, and what it holds already is only moved.

    Args:
        progress: called with each row after it is written.
        stop: to be told to stop by; None: by Ctrl-C, SIGTERM and a file `stop` only.

    Raises:
        InputError: the folders lie inside one another or cannot be used at the start, or another process writes
            into `out`.
    """
    check_places(watch, out)
    run = Run(out, runner, contract, model, options, progress)
    stop, troubles = stop or Stop(), Troubles()
    left_out = [out] if watch.move_done is None else [out, watch.move_done]
    arrivals = Arrivals(watch.folder, left_out, watch.recursive, watch.settle, watch.patience)
    rounds = Rounds(run, arrivals, options, watch.patience, troubles, stop, progress)
    arrivals.known = rounds.finished.stamp
    station = _Station(watch, rounds, arrivals, troubles, stop)
    started = time.monotonic()
    with stop.on_signals():
        station.work()
    run.summary.seconds = time.monotonic() - started
    waiting = [arrival.file for arrival in arrivals.all() if not arrival.told]
    return WatchSummary(run.summary, stop.asked, station.moved, waiting)


def check_places(watch: WatchOptions, out: Path) -> None:
    """Refuse folders of which one would fill the other, before a model is loaded.

    Raises:
        InputError: with the two.
    """
    if not watch.folder.is_dir():
        raise InputError(f"--watch '{watch.folder}' is not a folder; make it, or check the path")
    folder, results = watch.folder.resolve(), out.resolve()
    if folder == results or results in folder.parents:
        raise InputError(f"--watch '{watch.folder}' lies in --out '{out}': results would be taken for new images")
    if watch.move_done is None:
        return
    done = watch.move_done.resolve()
    if folder == done or done in folder.parents:
        raise InputError(f"--watch '{watch.folder}' lies in --move-done '{watch.move_done}'; choose another folder")
    if results == done or results in done.parents or done in results.parents:
        raise InputError(f"--move-done '{watch.move_done}' and --out '{out}' must not lie in one another")


class _Station:
    """The loop: look, predict, move, rest."""

    def __init__(self, watch: WatchOptions, rounds: Rounds, arrivals: Arrivals, troubles: Troubles, stop: Stop) -> None:
        self.watch, self.rounds, self.arrivals, self.troubles, self.stop = watch, rounds, arrivals, troubles, stop
        self.moved = 0
        self._immovable: set[str] = set()
        self._done_mount = Path()
        self._stop_file = self._stop_stamp()
        self._next_look = 0.0

    def work(self) -> None:
        """Until `stop` is asked for; the rows of images in hand are written before the end."""
        with self.rounds.run.journal, closing(self.rounds):
            self._begin()
            while not self.stop.asked:
                if not self._turn():
                    self._rest()
        with suppress(OSError):  # what has come since the last look belongs to what waits
            self.arrivals.look()

    def _begin(self) -> None:
        """Take the folders into possession: everything must be there at the start."""
        try:
            there = self.arrivals.look()
        except OSError as error:
            raise InputError(f"--watch '{self.watch.folder}' cannot be read: {why(error)}") from error
        if self.rounds.options.skip_done:
            self._recall(there)
        self.rounds.begin()
        self.rounds.warm_up()
        if self.watch.move_done is not None:
            self.watch.move_done.mkdir(parents=True, exist_ok=True)
            self._done_mount = mount_point(self.watch.move_done)
        if self._stop_file is not None:
            say(f"the file '{STOP_NAME}' in '{self.watch.folder}' is from before; touch it to stop this watch")
        say(
            f"watching '{self.watch.folder}', results in '{self.rounds.out}'; Ctrl-C or a file '{STOP_NAME}' in it ends"
        )

    def _recall(self, there: set[str]) -> None:
        """Know again what the journal holds."""
        run, finished = self.rounds.run, self.rounds.finished
        for file, row in brief_rows(run.journal.path).items():
            if row["verdict"] == "UNREADABLE":
                continue
            path = self.watch.folder / file
            result = finished.recall_name(file, row)
            stamp = None
            if file in there:
                with suppress(OSError):
                    stamp = stamp_of(path) if run.is_done(InputFile(path, file, result), row) else None
            finished.keep(file, stamp, result)
            finished.forget_oldest(there)
            if stamp is not None:
                run.summary.skipped += 1
                run.summary.earlier[row["verdict"]] += 1

    def _turn(self) -> bool:
        """One look and one round; False where there was nothing to do."""
        if not self._look():
            return False
        if self._stop_stamp() not in (None, self._stop_file):
            self.stop.ask("stop file")
            return False
        summary = self.rounds.run.summary
        before = summary.images
        ready = self.arrivals.ready()
        if ready and self.troubles.may_try(RESULTS):
            self.rounds.predict(ready)
        self._move_done()
        return summary.images > before

    def _look(self) -> bool:
        """List the folder, which may take a fifth of the time, however many files lie in it; False while it is away."""
        started = time.monotonic()
        if started < self._next_look:
            return True
        try:
            there = self.arrivals.look()
        except OSError as error:
            self.troubles.fail(WATCHED, f"the watched folder '{self.watch.folder}' cannot be read ({why(error)})")
            return False
        self.troubles.over(WATCHED)
        self._tell_closed()
        self.rounds.finished.forget_oldest(there)
        self._next_look = time.monotonic() + 4 * (time.monotonic() - started)
        return True

    def _tell_closed(self) -> None:
        """Sub-folders that cannot be listed do not hold up the others."""
        closed = {f"sub-folder {name}": (name, error) for name, error in self.arrivals.closed.items()}
        for what in [what for what in self.troubles.since if what.startswith("sub-folder ") and what not in closed]:
            self.troubles.over(what)
        for what, (name, error) in closed.items():
            self.troubles.fail(what, f"the folder '{self.watch.folder / name}' cannot be read ({why(error)})")

    def _rest(self) -> None:
        """Sleep until something may be new; in slices, since signals do not wake it."""
        due = self.arrivals.next_due()
        seconds = self.watch.interval if due is None else min(self.watch.interval, max(due, 0.01))
        end = max(time.monotonic() + seconds, self._next_look)
        while not self.stop.asked and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))

    def _stop_stamp(self) -> tuple[int, int] | None:
        try:
            return stamp_of(self.watch.folder / STOP_NAME)
        except OSError:
            return None

    def _move_done(self) -> None:
        """Move what has its row; what cannot be moved now is moved later."""
        done = self.watch.move_done
        if done is None or not self.troubles.may_try(DONE):
            return
        for file, (path, stamp) in list(self.arrivals.finished.items()):
            if file in self._immovable:
                continue
            try:
                check_mounted(self._done_mount)
                if not done.is_dir():
                    raise FileNotFoundError(2, "the folder is gone")
                move_done(path, stamp, done / file)
            except (ReplacedError, FileNotFoundError) as error:
                if isinstance(error, ReplacedError) or not path.exists():
                    self.arrivals.finished.pop(file, None)
                    continue
                self._cannot_move(file, error)
            except OSError as error:
                self._cannot_move(file, error)
            else:
                self.moved += 1
                del self.arrivals.finished[file]
                self.troubles.over(DONE)
                continue
            if DONE in self.troubles:
                return

    def _cannot_move(self, file: str, error: OSError) -> None:
        if concerns_one_file(error):
            self._immovable.add(file)
            warn(f"{file!r} is done but cannot be moved to '{self.watch.move_done}': {why(error)}; it stays")
            return
        self.troubles.fail(DONE, f"finished inputs cannot be moved to '{self.watch.move_done}' ({why(error)})")
        # Another one shows whether it is this file or all of them.
        self.arrivals.finished[file] = self.arrivals.finished.pop(file)
