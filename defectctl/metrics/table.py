"""The table that evaluation yields: one row per image with pixel counts, score and histograms."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path

import numpy as np

from defectctl.errors import InputError
from defectctl.fileio import atomic_path
from defectctl.metrics.boxes import DETECTION_COLUMNS, Detections
from defectctl.metrics.instances import INSTANCE_COLUMNS, Instances
from defectctl.metrics.region_overlap import REGION_COLUMNS, Regions

TABLE_FORMAT = 1
BOX_PREFIX, INSTANCE_PREFIX, REGION_PREFIX = "boxes_", "instances_", "regions_"
"""Before the names of the arrays of `Detections`, `Instances` and `Regions` in a stored table."""


@dataclass(slots=True)
class ImageTable:
    """N images scored against their truth; K defect classes, background is 0.

    Which pixels count is said in `count_image`, whose numbers every maker of a table must reproduce.

    Attributes:
        ids: N sample ids.
        classes: K names, index 1 first.
        confusion: `(N, 1+K, 1+K)` int64 pixels, `[image, truth, prediction]`.
        unknown: `(N,)` int64 pixels left out of `confusion`.
        score: `(N,)` float64, image score in 0..1; where it comes from a mask, 0 exactly where nothing is
            reported.
        defective: `(N,)` int8, the truth of the part: 1 defective, 0 good, -1 unknown.
        known: `(N, 1+K)` bool, classes for which the mask speaks; column 0 where it speaks for any class.
        positives: `(N, 256)` int64, histogram of the defect byte (`round(255 * (1 - P(background)))`) over the
            counted pixels of a true defect.
        negatives: `(N, 256)` int64, the same over counted true background.
        detections: the detected boxes and what they met; None where the model detects none.
        instances: the true and the predicted defects one by one; None where they were not asked for, or no mask is
            delivered.
        regions: the true regions with the defect bytes in them, for the per-region overlap; None likewise.
        structure: `(N, 2)` float64, weighted F-measure and S-measure, NaN where an image has none; None likewise.
        groups: N names; images of one name are not independent (one part, one batch, copies of one picture), "" stands
            alone. Given as an empty list all stand alone.
    """

    ids: list[str]
    classes: list[str]
    confusion: np.ndarray
    unknown: np.ndarray
    score: np.ndarray
    defective: np.ndarray
    known: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray
    detections: Detections | None = None
    instances: Instances | None = None
    regions: Regions | None = None
    structure: np.ndarray | None = None
    groups: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        rows, side = len(self.ids), 1 + len(self.classes)
        shapes = {
            "confusion": (rows, side, side),
            "unknown": (rows,),
            "score": (rows,),
            "defective": (rows,),
            "known": (rows, side),
            "positives": (rows, 256),
            "negatives": (rows, 256),
        }
        for name, shape in shapes.items():
            value = np.asarray(getattr(self, name), dtype=COLUMNS[name])
            if value.shape != shape:
                raise ValueError(f"column '{name}' has shape {value.shape}, expected {shape}")
            setattr(self, name, value)
        if self.detections is not None and self.detections.truths.shape != (rows, side):
            raise ValueError(f"box column 'truths' has shape {self.detections.truths.shape}, expected {(rows, side)}")
        if self.instances is not None and len(self.instances.judged) != rows:
            raise ValueError(f"the single defects are of {len(self.instances.judged)} images, the table has {rows}")
        if self.structure is not None:
            self.structure = np.asarray(self.structure, dtype=np.float64).reshape(rows, 2)
        self.groups = list(self.groups) or [""] * rows
        if len(self.groups) != rows:
            raise ValueError(f"{len(self.groups)} groups for {rows} images")

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: Sequence[int] | np.ndarray) -> ImageTable:
        """The rows with these numbers (or where this `(N,)` bool array is true), in the order given."""
        numbers = np.arange(len(self))[np.asarray(rows, dtype=None if len(rows) else np.int64)]
        columns = (getattr(self, name)[numbers] for name in COLUMNS)
        finer = (None if part is None else part.select(numbers) for part in self._finer())
        structure = None if self.structure is None else self.structure[numbers]
        groups = [self.groups[i] for i in numbers]
        return ImageTable([self.ids[i] for i in numbers], self.classes, *columns, *finer, structure, groups)

    def _finer(self) -> tuple[Detections | None, Instances | None, Regions | None]:
        """What is told below the image: each has `select`."""
        return self.detections, self.instances, self.regions

    def save(self, path: Path) -> None:
        """Write the table as a compressed `.npz` without pickle, atomically."""
        columns = {name: getattr(self, name) for name in COLUMNS}
        for (prefix, _, names), part in zip(_FINER, self._finer(), strict=True):
            if part is not None:
                columns |= {prefix + name: getattr(part, name) for name in names}
        if self.structure is not None:
            columns["structure"] = self.structure
        with atomic_path(path) as temporary, open(temporary, "wb") as handle:
            texts = {"ids": _text(self.ids), "classes": _text(self.classes), "groups": _text(self.groups)}
            np.savez_compressed(handle, format=np.int64(TABLE_FORMAT), **texts, **columns)

    @classmethod
    def load(cls, path: Path) -> ImageTable:
        """Read a table written by `save`.

        Raises:
            InputError: the file is missing, damaged, or of a newer format.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                if int(stored["format"]) > TABLE_FORMAT:
                    raise InputError(f"table '{path}' was written by a newer defectctl; update defectctl to read it")
                columns = [stored[name] for name in COLUMNS]
                finer = []
                for prefix, kind, names in _FINER:
                    there = f"{prefix}row" in stored
                    finer.append(kind(*(stored[prefix + name] for name in names)) if there else None)
                structure = stored.get("structure")
                groups = [str(g) for g in stored["groups"]] if "groups" in stored else []
                ids, classes = ([str(text) for text in stored[name]] for name in ("ids", "classes"))
                return cls(ids, classes, *columns, *finer, structure, groups)
        except OSError as error:
            raise InputError(f"table '{path}' cannot be read: {error.strerror or error}") from error
        except (ValueError, LookupError, TypeError, AttributeError, EOFError, *_UNREADABLE) as error:
            raise InputError(f"'{path}' is not a table of defectctl, or it is damaged: evaluate again") from error


_UNREADABLE = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, struct.error)
"""What `zipfile` raises on damaged archives, according to the byte that is wrong."""

COLUMNS: dict[str, type] = {
    "confusion": np.int64,
    "unknown": np.int64,
    "score": np.float64,
    "defective": np.int8,
    "known": np.bool_,
    "positives": np.int64,
    "negatives": np.int64,
}
"""Array columns of `ImageTable` in the order of its fields, with their types."""

_FINER: tuple[tuple[str, type, Sequence[str]], ...] = (
    (BOX_PREFIX, Detections, list(DETECTION_COLUMNS)),
    (INSTANCE_PREFIX, Instances, list(INSTANCE_COLUMNS)),
    (REGION_PREFIX, Regions, list(REGION_COLUMNS)),
)
"""Prefix, class and arrays in a stored table of what `ImageTable` tells below the image, in the order of its fields."""

assert [f.name for f in fields(ImageTable)][2 : 2 + len(COLUMNS)] == list(COLUMNS)
assert all([f.name for f in fields(kind)] == names for _, kind, names in _FINER)


def _text(values: list[str]) -> np.ndarray:
    return np.array(values, dtype=np.str_) if values else np.zeros(0, dtype="<U1")


def join(tables: Sequence[ImageTable]) -> ImageTable:
    """Put the rows of several tables (folds, ranks) into one, sorted by id.

    Raises:
        InputError: there is no table, the classes differ, an image is in two of them, or only some hold boxes or single
            defects.
    """
    if not tables:
        raise InputError("there is no table to join")
    first = tables[0]
    for other in tables[1:]:
        if other.classes != first.classes:
            raise InputError(f"tables with different classes cannot be joined: {first.classes} and {other.classes}")
    ids = [i for table in tables for i in table.ids]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    for left, right in pairwise(order):
        if ids[left] == ids[right]:
            raise InputError(f"image '{ids[left]}' is in more than one of the tables to be joined")
    boxes = [table.detections for table in tables if table.detections is not None]
    if boxes and len(boxes) < len(tables):
        raise InputError("tables of models that detect boxes cannot be joined with tables of models that do not")
    defects = [table.instances for table in tables if table.instances is not None]
    if defects and len(defects) < len(tables):
        raise InputError("tables with and without single defects cannot be joined; evaluate the older ones again")
    regions = [table.regions for table in tables if table.regions is not None]
    structure = [table.structure for table in tables if table.structure is not None]
    whole = ImageTable(
        ids,
        list(first.classes),
        *(np.concatenate([getattr(table, name) for table in tables]) for name in COLUMNS),
        Detections.joined(boxes) if boxes else None,
        Instances.joined(defects) if defects else None,
        Regions.joined(regions, [len(table) for table in tables]) if len(regions) == len(tables) else None,
        np.concatenate(structure) if len(structure) == len(tables) else None,
        [group for table in tables for group in table.groups],
    )
    return whole.select(order)


@dataclass(frozen=True, slots=True)
class ImageCounts:
    """The pixel columns of one row of `ImageTable`."""

    confusion: np.ndarray
    unknown: int
    positives: np.ndarray
    negatives: np.ndarray


def count_image(
    truth: np.ndarray | None, prediction: np.ndarray, known: np.ndarray, defect: np.ndarray | None = None
) -> ImageCounts:
    """Count one image's pixels; this is the definition that faster counts on a device are held to.

    Left out of everything, and counted as unknown, are: pixels without a truth (`truth` is None, 255, or a class for
    which the mask does not speak), and true background predicted as a class for which the mask does not speak, since
    "none of the known classes" does not deny it. Where the truth is a known class the pixel counts whatever was
    predicted, for a pixel has one class.

    Args:
        truth: `(H, W)` uint8 class index, 255 unknown; None where there is no mask.
        prediction: `(H, W)` uint8 class index 0..K.
        known: `(1+K,)` bool, classes for which the mask speaks.
        defect: `(H, W)` uint8 defect byte; without it the histograms take 255 for predicted defect
            and 0 for background.
    """
    side = len(known)
    if truth is None or not known[0]:
        empty = np.zeros(256, dtype=np.int64)
        return ImageCounts(np.zeros((side, side), dtype=np.int64), int(prediction.size), empty, empty.copy())
    if defect is None:
        defect = np.where(prediction > 0, 255, 0).astype(np.uint8)
    speaks = np.zeros(256, dtype=bool)
    speaks[:side] = known
    counted = speaks[truth] & ((truth > 0) | speaks[prediction])
    pairs = truth[counted].astype(np.int64) * side + prediction[counted]
    confusion = np.bincount(pairs, minlength=side * side).reshape(side, side)
    positives = np.bincount(defect[counted & (truth > 0)], minlength=256)
    negatives = np.bincount(defect[counted & (truth == 0)], minlength=256)
    return ImageCounts(confusion, int(truth.size - counted.sum()), positives, negatives)
