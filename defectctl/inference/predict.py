"""Predicts any number of images in bounded memory: read ahead, batch, network, post-process and write on threads."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from defectctl.checkpoints.contract import Contract
from defectctl.dataset.types import ClassInfo
from defectctl.errors import InputError
from defectctl.fileio import sha256_file
from defectctl.imaging.pixel_rule import PixelRule
from defectctl.imaging.reader import ImageError, decode_image
from defectctl.inference.abilities import kinds_that_can_be_written, tasks_of, thresholds_in_force
from defectctl.inference.base_runner import Runner
from defectctl.inference.device import default_batch_size
from defectctl.inference.journal import Journal, brief_rows
from defectctl.inference.maps import Maps
from defectctl.inference.options import PredictOptions
from defectctl.inference.postprocess import clean, detections, image_score, verdict
from defectctl.inference.prediction import VERDICTS, Prediction
from defectctl.inference.sources import InputFile
from defectctl.inference.writers import ROW_KEYS, ResultWriter, check_folders
from defectctl.loading.prefetch import prefetch
from defectctl.messages import say, warn

LISTED = 100_000
"""Unreadable files that are listed in a summary; all of them stand in the journal."""
BATCH_PIXELS = 1 << 26
"""Pixels of the images in one batch at most (a single image may be larger)."""
DEEPEST_USUAL = 1 << 14
"""16-bit images whose values all lie below this come from a 10- to 14-bit camera and look almost black unstretched."""


@dataclass(slots=True)
class Summary:
    """What a run of `predict_files` came to.

    Attributes:
        verdicts: images by verdict.
        defects: instances by class name, every class listed; boxes where the model only detects.
        unreadable: file and reason of each image that could not be read.
        skipped: images that an earlier run had done.
        earlier: the verdicts of these.
        removed: components below the minimum area.
        seconds: from the first image read to the last row written.
    """

    verdicts: dict[str, int]
    defects: dict[str, int]
    unreadable: list[dict[str, str]] = field(default_factory=list)
    skipped: int = 0
    removed: int = 0
    seconds: float = 0.0
    earlier: Counter[str] = field(default_factory=Counter)

    @property
    def images(self) -> int:
        """Images of this run, unreadable ones among them, skipped ones not."""
        return sum(self.verdicts.values())


@dataclass(slots=True)
class Loaded:
    """One input after reading: a picture, or the reason why there is none."""

    item: InputFile
    stamp: dict[str, int]
    picture: np.ndarray | None = None
    reason: str = ""


def predict_files(
    inputs: list[InputFile],
    out: Path,
    runner: Runner,
    contract: Contract,
    model: Path,
    options: PredictOptions,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> Summary:
    """Predict images and write what was asked for and the model can fill, and the journal, below `out`.

    Rows stand in the order of `inputs`, each written after its image's files. Masks lie in the pixels of the image
    after its EXIF orientation is applied. An unreadable image gets a row with verdict UNREADABLE, and a warning.

    Args:
        model: the weights file, named in each row with its hash.
        progress: called with each row after it is written.

    Raises:
        InputError: none of the images could be read (nothing is left behind), or names of inputs and results clash.
        RunError: the device's memory does not hold a single image.
    """
    run = Run(out, runner, contract, model, options, progress)
    check_folders(inputs, run.kinds, out)
    todo = run.todo = run.without_done(inputs)
    started = time.perf_counter()
    with run.journal:
        run.go(todo)
    run.summary.seconds = time.perf_counter() - started
    return run.summary


class Run:
    """The state of one `predict_files`: journal, writers, and rows that wait for their files."""

    def __init__(
        self,
        out: Path,
        runner: Runner,
        contract: Contract,
        model: Path,
        options: PredictOptions,
        progress: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        self.out, self.runner, self.contract, self.options, self.progress = out, runner, contract, options, progress
        classes = [ClassInfo(n, c) for n, c in zip(contract.classes, contract.colours, strict=True)]
        self.tasks = tasks_of(contract)
        self.kinds = kinds_that_can_be_written(options.write, self.tasks, contract.preset["model"]["name"])
        self.writer = ResultWriter(out, self.kinds, classes, options.tables, "segmentation" in self.tasks)
        self.todo: list[InputFile] = []
        self.journal = Journal(out, options.skip_done, lambda: self.writer.remove_torn(self.todo), self.writer.finish)
        self.box_score = runner.predict.box_score
        self.thresholds = thresholds_in_force(contract.thresholds, self.tasks, self.box_score, options.thresholds)
        self.min_area = contract.min_area if options.min_area is None else options.min_area
        self.batch_size = options.batch_size or default_batch_size(runner.device)
        self.settings = {
            "model": {"file": model.as_posix(), "sha256": sha256_file(model)},
            "thresholds": self.thresholds,
            "min_area": self.min_area,
        }
        self.summary = Summary(dict.fromkeys(VERDICTS, 0), dict.fromkeys(contract.classes, 0))
        self._held: list[dict[str, Any]] = []
        self._said_depth = False

    def without_done(self, inputs: list[InputFile]) -> list[InputFile]:
        """The inputs that the journal does not hold yet, with this model, these settings and these files."""
        if not self.options.skip_done:
            return inputs
        rows = brief_rows(self.journal.path)
        todo = [item for item in inputs if not self.is_done(item, rows.get(item.file))]
        self.summary.skipped = len(inputs) - len(todo)
        waiting = {item.file for item in todo}
        self.summary.earlier.update(rows[item.file]["verdict"] for item in inputs if item.file not in waiting)
        return self.writer.set_apart(todo, rows)

    def is_done(self, item: InputFile, row: dict[str, Any] | None) -> bool:
        """Whether a row of `journal.brief_rows` says all that a prediction of the input would say."""
        if row is None or row.get("verdict") == "UNREADABLE":
            return False
        same_model = row.get("model", {}).get("sha256") == self.settings["model"]["sha256"]
        same = same_model and all(row.get(key) == self.settings[key] for key in ("thresholds", "min_area"))
        try:
            stamp = item.stamp()
        except OSError:  # gone since it was listed: to be reported as unreadable
            return False
        return same and self.writer.has_all(row) and all(row.get(key) == value for key, value in stamp.items())

    def go(self, todo: list[InputFile]) -> None:
        """Predict all of `todo`; what is finished when an error or Ctrl-C comes is still put into the journal."""
        depth = 2 * self.batch_size
        pending: deque[Future[dict[str, Any]]] = deque()
        with ThreadPoolExecutor(max(1, self.options.write_threads), thread_name_prefix="write") as pool:
            try:
                for batch, maps in self._predicted(todo):
                    for loaded, found in zip(batch, maps, strict=True):
                        pending.append(pool.submit(self.finish, loaded, found))
                    while len(pending) > depth:
                        self._record(pending.popleft().result())
                while pending:
                    self._record(pending.popleft().result())
            except BaseException:
                self._keep_finished(pending)
                raise
        if self._held and not self.summary.skipped:
            first = self.summary.unreadable[0]
            raise InputError(
                f"none of the {len(self._held)} images could be read; the first, '{first['file']}': {first['reason']}"
            )
        for row in self._held:
            self.journal.append(row)

    def _keep_finished(self, pending: deque[Future[dict[str, Any]]]) -> None:
        """After an error: the rows whose files are whole still belong into the journal; the error itself goes on."""
        for future in pending:
            if future.exception() is None:
                self._record(future.result())

    def _predicted(self, todo: list[InputFile]) -> Iterator[tuple[list[Loaded], list[Maps | None]]]:
        """Batches of images with their maps, still on the device; None for what could not be read."""
        depth = 2 * self.batch_size
        batch: list[Loaded] = []
        pixels = 0
        for loaded in prefetch(todo, self.read, threads=self.options.read_threads, depth=depth):
            size = 0 if loaded.picture is None else loaded.picture.shape[0] * loaded.picture.shape[1]
            if batch and (len(batch) >= self.batch_size or pixels + size > BATCH_PIXELS):
                yield batch, self.maps(batch)
                batch, pixels = [], 0
            batch.append(loaded)
            pixels += size
        if batch:
            yield batch, self.maps(batch)

    def read(self, item: InputFile) -> Loaded:
        """Read and decode one input; where that fails its reason takes the place of the picture."""
        stamp: dict[str, int] = {}
        try:
            stamp = item.stamp()
            data = item.read(self.options.max_mpx)
            colour, rule = self.runner.input.colour, self.contract.pixels
            picture = decode_image(data, colour, rule, item.file, self.options.max_mpx)
        except OSError as error:
            return Loaded(item, stamp, reason=f"cannot be opened: {error.strerror or error}")
        except ImageError as error:
            return Loaded(item, stamp, reason=error.reason)
        return Loaded(item, stamp, picture)

    def maps(self, batch: list[Loaded]) -> list[Maps | None]:
        """Run the network once; None for what could not be read."""
        readable = [loaded for loaded in batch if loaded.picture is not None]
        for loaded in readable:
            self._say_depth(loaded)
        found = iter(self.runner.maps([loaded.picture for loaded in readable]))
        return [None if loaded.picture is None else next(found) for loaded in batch]

    def _say_depth(self, loaded: Loaded) -> None:
        """Say once how 16-bit images are read where the model's rule does not come from 16-bit training images."""
        picture = loaded.picture
        if self._said_depth or picture is None or picture.dtype != np.uint16 or self.contract.pixels != PixelRule():
            return
        self._said_depth = True
        say(f"'{loaded.item.file}' has 16-bit pixels: 0..65535 are read as the model's full range from black to white")
        largest = int(picture.max())
        if 0 < largest < DEEPEST_USUAL:
            warn(
                f"the largest value in '{loaded.item.file}' is {largest}, so it looks almost black to a model trained "
                "on another range; train on images of this camera, so that their range is stored in the model"
            )

    def finish(self, loaded: Loaded, maps: Maps | None) -> dict[str, Any]:
        """Post-process and write one image's files; return its row."""
        files: dict[str, str] = {}
        if maps is None:
            prediction = Prediction(loaded.item.file, "UNREADABLE", reason=loaded.reason)
        else:
            assert loaded.picture is not None
            prediction = self._decide(loaded.item, maps)
            self.journal.start()
            files = self.writer.write(loaded.item, prediction, loaded.picture)
        row = prediction.to_row(self.contract.classes)
        return {**row, **dict.fromkeys(ROW_KEYS.values()), **files, **self.settings, **loaded.stamp}

    def _decide(self, item: InputFile, maps: Maps) -> Prediction:
        class_map, defect = maps.arrays()
        height, width = class_map.shape
        cleaned = clean(class_map, defect, self.min_area)
        score = image_score(maps, cleaned.instances, self.box_score)
        return Prediction(
            item.file,
            verdict(score, self.thresholds),
            width,
            height,
            cleaned.class_map,
            defect,
            cleaned.instances,
            score,
            cleaned.removed,
            None if maps.boxes is None else detections(maps.boxes, self.box_score),
            maps.probability,
        )

    def count(self, row: dict[str, Any]) -> None:
        """Take a row into the summary, and say if it is about an unreadable image."""
        self.summary.verdicts[row["verdict"]] += 1
        self.summary.removed += row["removed_small"]
        instances = row["defects"] if "segmentation" in self.tasks else row.get("boxes", [])
        for name, count in Counter(one["class"] for one in instances).items():
            self.summary.defects[name] += count
        if row["verdict"] == "UNREADABLE":
            if len(self.summary.unreadable) < LISTED:
                self.summary.unreadable.append({"file": row["file"], "reason": row["reason"]})
            warn(f"{row['file']!r} is left out: {row['reason']}")

    def _record(self, row: dict[str, Any]) -> None:
        """Append a row; unreadable ones wait until the first result exists, so that a run of nothing leaves nothing."""
        self.count(row)
        readable = self.summary.images - self.summary.verdicts["UNREADABLE"]
        self._held.append(row)
        if readable:
            for held in self._held:
                self.journal.append(held)
            self._held = []
        if self.progress is not None:
            self.progress(row)
