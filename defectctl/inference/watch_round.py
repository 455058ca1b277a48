"""One round of a watch: read what may be whole, predict it, write its rows, and put off what has to come again."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np

from defectctl.errors import InputError, RunError
from defectctl.inference.arrivals import Arrival, Arrivals, check_mounted, mount_point, stamp_of
from defectctl.inference.options import PredictOptions
from defectctl.inference.predict import BATCH_PIXELS, Loaded, Run
from defectctl.inference.sources import InputFile
from defectctl.inference.watch_state import Finished, Stop, Troubles, concerns_one_file, why
from defectctl.inference.writers import FOLDERS, check_folders
from defectctl.loading.prefetch import prefetch

RESULTS = "results folder"
"""What `Troubles` calls the place that results are written to."""
BATCHES_A_ROUND = 8
"""Batches between two looks at the folder, where a backlog waits."""


class Rounds:
    """Predicts arrivals round by round.

    Args:
        run: journal, writers and network.
        arrivals: told what is finished and what has to come again.
        patience: seconds between attempts at a file that has its row but could not be opened.
        progress: called with each row after it is written.
    """

    def __init__(
        self,
        run: Run,
        arrivals: Arrivals,
        options: PredictOptions,
        patience: float,
        troubles: Troubles,
        stop: Stop,
        progress: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        self.run, self.arrivals, self.options, self.patience = run, arrivals, options, patience
        self.troubles, self.stop, self.progress = troubles, stop, progress
        self.out: Path = run.out
        self.finished = Finished(self._is_on_disk)
        self._pool = ThreadPoolExecutor(max(1, options.write_threads), thread_name_prefix="write")
        self._mount = Path()
        self._journal_id: tuple[int, int] | None = None

    def begin(self) -> None:
        """Make and lock the results folder and begin the journal, or continue it.

        Raises:
            InputError: another process writes into the folder.
        """
        # What a killed watch has left half-written lies where the first files' results will go.
        self.run.todo = [self._item(arrival) for arrival in self.arrivals.all()]
        self.run.journal.start()
        self.run.todo = []
        self._mount = mount_point(self.out)

    def warm_up(self) -> None:
        """Run the network once on a black picture: the first pass takes longer than all others."""
        wanted = self.run.runner.input
        shape = tuple(wanted.size) if wanted.colour == "grey" else (*wanted.size, 3)
        self.run.runner.maps([np.zeros(shape, np.uint8)])

    def close(self) -> None:
        """Wait for the threads that write."""
        self._pool.shutdown(wait=True)

    def predict(self, ready: list[Arrival]) -> None:
        """Predict these, oldest first; what is finished when an error comes is still put into the journal.

        While results cannot be written one image is tried, which is enough to find out whether they can again.
        """
        ready = ready[: 1 if RESULTS in self.troubles else BATCHES_A_ROUND * self.run.batch_size]
        depth = 2 * self.run.batch_size
        pending: deque[tuple[Arrival, Loaded, Future[dict[str, Any]]]] = deque()
        try:
            if not self._results_are_there():
                return
            with closing(self._batches(ready)) as batches:
                for batch in batches:
                    for (arrival, loaded), maps in zip(batch, self._maps([one for _, one in batch]), strict=True):
                        pending.append((arrival, loaded, self._pool.submit(self.run.finish, loaded, maps)))
                    while pending and (len(pending) > depth or pending[0][2].done()):
                        self._settle(*pending.popleft())
                    if self.stop.asked or RESULTS in self.troubles:
                        break
            while pending:
                self._settle(*pending.popleft())
        except BaseException:
            for arrival, loaded, future in pending:
                if future.exception() is None:
                    self._settle(arrival, loaded, future)
            raise

    def _batches(self, ready: list[Arrival]) -> Iterator[list[tuple[Arrival, Loaded]]]:
        items = [(arrival, self._item(arrival)) for arrival in ready]
        threads = self.options.read_threads if len(items) > 1 else 0
        batch: list[tuple[Arrival, Loaded]] = []
        pixels = 0
        with closing(prefetch(items, self._read, threads, depth=2 * self.run.batch_size)) as read:
            for arrival, loaded, whole in read:
                if not (whole or self._is_given_up(arrival)):
                    continue
                size = 0 if loaded.picture is None else loaded.picture.shape[0] * loaded.picture.shape[1]
                if batch and (len(batch) >= self.run.batch_size or pixels + size > BATCH_PIXELS):
                    yield batch
                    batch, pixels = [], 0
                batch.append((arrival, loaded))
                pixels += size
        if batch:
            yield batch

    def _item(self, arrival: Arrival) -> InputFile:
        return InputFile(arrival.path, arrival.file, self.finished.result_name(arrival.file))

    def _read(self, task: tuple[Arrival, InputFile]) -> tuple[Arrival, Loaded, bool]:
        """Read one file; whether it is whole: decoded to its end, and the same before, while and after it was read."""
        arrival, item = task
        try:
            check_folders([item], self.run.kinds, self.out)
        except InputError as error:
            return arrival, Loaded(item, _stamp(arrival), reason=str(error)), True
        loaded = self.run.read(item)
        try:
            same = loaded.stamp == _stamp(arrival) and stamp_of(item.path) == arrival.stamp
        except OSError:
            same = False
        return arrival, loaded, same and loaded.picture is not None

    def _is_given_up(self, arrival: Arrival) -> bool:
        """A file is not whole: wait for it, or, after `patience`, let it have its row as UNREADABLE."""
        try:
            if self.arrivals.has_changed(arrival):
                return False
        except FileNotFoundError:
            self.arrivals.put_off(arrival)
            return False
        except OSError:
            pass  # listed, but neither to be looked at nor read: it may stay so
        self.arrivals.put_off(arrival)
        if not self.arrivals.is_given_up(arrival):
            return False
        if can_be_opened(arrival.path):
            return True
        # Rights can come back without the file changing: it is tried again, but has one such row only.
        said, arrival.told = arrival.told, True
        if said:
            self.arrivals.put_off(arrival, self.patience)
        return not said

    def _maps(self, batch: list[Loaded]) -> list[Any]:
        """The network; an image that it cannot take is UNREADABLE instead of the end of the watch."""
        try:
            return self.run.maps(batch)
        except RunError as error:
            if len(batch) > 1:
                return [self._maps([loaded])[0] for loaded in batch]
            batch[0].picture, batch[0].reason = None, str(error)
            return [None]

    def _settle(self, arrival: Arrival, loaded: Loaded, future: Future[dict[str, Any]]) -> None:
        """Write one row once its files are written, or let its image come again later."""
        try:
            row = self._row(loaded, future)
            self._check_results()
            self._append(row)
        except OSError as error:
            # Whatever has failed, the journal among it, begins anew with the next attempt.
            self._let_go()
            self.troubles.fail(RESULTS, f"results cannot be written to '{self.out}' ({why(error)})")
            self.arrivals.put_off(arrival, 0.0)
            return
        self.troubles.over(RESULTS)
        self.run.count(row)
        if arrival.told and loaded.picture is None:
            self.arrivals.put_off(arrival, self.patience)
        else:
            self.finished.keep(arrival.file, arrival.stamp, loaded.item.result)
            self.arrivals.finish(arrival)
        if self.progress is not None:
            self.progress(row)

    def _row(self, loaded: Loaded, future: Future[dict[str, Any]]) -> dict[str, Any]:
        """The row; where something is wrong with this one image, however strange, one that says so."""
        try:
            return future.result()
        except InputError:
            raise
        except OSError as error:
            if not concerns_one_file(error):
                raise
            reason = f"its results cannot be written: {why(error)}"
        except RunError as error:
            reason = str(error)
        except Exception as error:
            reason = f"its results cannot be made ({type(error).__name__}: {' '.join(str(error).split())})"
        return self.run.finish(Loaded(loaded.item, loaded.stamp, reason=reason), None)

    def _append(self, row: dict[str, Any]) -> None:
        self.run.journal.append(row)
        if self._journal_id is None:
            with suppress(OSError):  # the row is written; the next one will find out
                self._journal_id = _identity(self.run.journal.path)

    def _results_are_there(self) -> bool:
        try:
            self._check_results()
        except OSError as error:
            self.troubles.fail(RESULTS, f"results cannot be written to '{self.out}' ({why(error)})")
            return False
        return True

    def _check_results(self) -> None:
        """See that results still go where they went: never into a new folder in place of one that is away.

        A journal that was taken away or exchanged (by a script, once a day) is opened anew.

        Raises:
            OSError: the folder is away.
        """
        check_mounted(self._mount)
        if not self.out.is_dir():
            raise FileNotFoundError(2, "the folder is gone")
        try:
            same = self._journal_id in (None, _identity(self.run.journal.path))
        except FileNotFoundError:
            same = False
        if not same:
            self._let_go()

    def _let_go(self) -> None:
        """Close the journal, and its lock with it; the next row opens it again, cuts off half a row, and goes on."""
        self._journal_id = None
        self.run.journal.let_go()

    def _is_on_disk(self, file: str, result: str) -> bool:
        places = [(self.out / FOLDERS.get(kind, "") / result) for kind in self.run.kinds]
        return any(path.exists() or path.with_suffix(".jpg").exists() for path in places)


def can_be_opened(path: Path) -> bool:
    """Whether the file's first byte can be read."""
    try:
        with open(path, "rb") as handle:
            handle.read(1)
    except OSError:
        return False
    return True


def _identity(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _stamp(arrival: Arrival) -> dict[str, int]:
    return {"bytes": arrival.stamp[0], "modified_ns": arrival.stamp[1]}
