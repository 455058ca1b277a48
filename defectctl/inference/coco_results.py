"""Writes `predictions.coco.json`: images, categories and what was found, with scores, as pycocotools reads them."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from defectctl.fileio import atomic_path
from defectctl.imaging.components import Component, find_components
from defectctl.messages import warn
from defectctl.version import __version__

COCO_NAME = "predictions.coco.json"


def outlines(class_map: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """COCO compressed run-lengths of the components of a class map `(H, W)`, in the order of `find_components`.

    Returns:
        `{"size": [H, W], "counts": str}` of each.
    """
    from pycocotools import mask as coco_mask

    height, width = class_map.shape
    ids, components = find_components(class_map)
    found = []
    for component in components:
        rle = {"size": [height, width], "counts": _runs(ids, component)}
        packed = coco_mask.frPyObjects(rle, height, width)
        found.append({"size": [height, width], "counts": packed["counts"].decode("ascii")})
    return found


def _runs(ids: NDArray[np.int32], component: Component) -> list[int]:
    """Lengths of the runs of 0 and 1, by turns and column after column; only the component's box is looked at."""
    height, width = ids.shape
    x1, y1, x2, y2 = map(int, component.box)
    columns = (ids[y1:y2, x1:x2] == component.index).T
    edges = np.diff(np.pad(columns, ((0, 0), (1, 1))).view(np.int8), axis=1)
    column, first = np.nonzero(edges == 1)
    last = np.nonzero(edges == -1)[1]
    offset = (x1 + column.astype(np.int64)) * height + y1
    starts, ends = offset + first, offset + last
    apart = starts[1:] != ends[:-1]  # a run over a whole column goes on at the top of the next
    starts, ends = starts[np.r_[True, apart]], ends[np.r_[apart, True]]
    turns = np.stack([starts, ends], axis=1).ravel()
    runs = np.diff(turns, prepend=0, append=height * width)
    return runs[: len(runs) - (runs[-1] == 0)].tolist()


class CocoResults:
    """Takes rows of the journal one at a time; the file appears, whole, when the block ends without an error.

    Args:
        folder: of the results.
        classes: names of class 1..K, the categories' ids.
        by_masks: annotations are the row's `defects`, each with its run-length; else its `boxes`.
    """

    def __init__(self, folder: Path, classes: Sequence[str], by_masks: bool) -> None:
        self._categories = {name: index for index, name in enumerate(classes, 1)}
        self._path, self._by_masks = folder / COCO_NAME, by_masks
        self._images = self._annotations = self._bare = 0
        self._open = ExitStack()

    def __enter__(self) -> CocoResults:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self._path))
            self._out = stack.enter_context(temporary.open("w+b"))
            # In the same folder: a system's own folder for such files may be small, or memory.
            self._found: IO[bytes] = stack.enter_context(tempfile.TemporaryFile(dir=self._path.parent))
            self._open = stack.pop_all()
        self._out.write(b'{"info":' + _text({"description": f"defectctl {__version__}"}) + b',"licenses":[],"images":[')
        return self

    def add(self, row: dict[str, Any]) -> None:
        """Add an image and what was found in it; one that could not be read has no size and is left out."""
        if row["width"] is None:
            return
        self._images += 1
        size = {"width": row["width"], "height": row["height"]}
        _append(self._out, {"id": self._images, "file_name": row["file"], **size}, self._images == 1)
        for one in row["defects"] if self._by_masks else row.get("boxes", []):
            self._annotations += 1
            _append(self._found, self._annotation(one), self._annotations == 1)

    def _annotation(self, one: dict[str, Any]) -> dict[str, Any]:
        x1, y1, x2, y2 = one["box"]
        box = [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]
        made = {
            "id": self._annotations,
            "image_id": self._images,
            "category_id": self._categories.setdefault(one["class"], len(self._categories) + 1),
            "score": one["score"],
            "bbox": box,
            "area": one.get("area", round(box[2] * box[3], 2)),
            "iscrowd": 0,
        }
        if "rle" in one:
            made["segmentation"] = one["rle"]
        self._bare += self._by_masks and "rle" not in one
        return made

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._open.__exit__(kind, error, trace)
            return
        with self._open:
            self._out.write(b'],"annotations":[')
            self._found.seek(0)
            shutil.copyfileobj(self._found, self._out)
            named = [{"id": index, "name": name, "supercategory": ""} for name, index in self._categories.items()]
            self._out.write(b'],"categories":' + _text(named) + b"}\n")
            self._out.flush()
        if self._bare:
            warn(
                f"{self._bare} defects of an earlier run have a box but no run-length in {COCO_NAME}; run without "
                "--skip-done to get them"
            )


def _append(handle: IO[bytes], value: dict[str, Any], first: bool) -> None:
    handle.write((b"\n" if first else b",\n") + _text(value))


def _text(value: Any) -> bytes:
    # Escapes instead of UTF-8: pycocotools opens the file in the system's own encoding.
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")
