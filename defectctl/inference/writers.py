"""Writes one prediction's files: index mask, overlay, defect map; and keeps them from each other's names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from defectctl.dataset.types import ClassInfo
from defectctl.errors import InputError, RunError
from defectctl.fileio import TEMPORARY_SUFFIX, write_bytes
from defectctl.imaging.masks import encode_mask
from defectctl.inference.coco_results import outlines
from defectctl.inference.journal import JOURNAL_NAME, Ended
from defectctl.inference.prediction import Prediction
from defectctl.inference.result_names import keep_apart
from defectctl.inference.sources import InputFile
from defectctl.inference.tables import TABLE_FILES, write_tables
from defectctl.reports.overlay import draw_overlay

FOLDERS = {"overlays": "overlays", "defect-maps": "defect-maps"}
"""Sub-folders of OUT; masks lie in OUT itself."""
ROW_KEYS = {"masks": "mask", "overlays": "overlay", "defect-maps": "defect_map"}
_TORN = re.compile(rf"\..+\.[a-z0-9_]{{8}}{re.escape(TEMPORARY_SUFFIX)}", re.DOTALL)
"""What `fileio.atomic_path` calls a file that it has not finished."""


def check_folders(inputs: Sequence[InputFile], kinds: Sequence[str], out: Path) -> None:
    """Refuse inputs whose own top folder is called like a folder or file of results, and results that are inputs.

    Raises:
        InputError: such a folder is there, or a result would overwrite an input.
    """
    folders = {FOLDERS[kind].casefold(): f"leave '{kind}' out of --write, or " for kind in kinds if kind in FOLDERS}
    taken = {**folders, **{name.casefold(): "" for name in (JOURNAL_NAME, *TABLE_FILES)}}
    for item in inputs:
        top = PurePosixPath(item.result).parts[0]
        if "/" in item.result and top.casefold() in taken:
            what = "folder" if top.casefold() in folders else "file"
            raise InputError(
                f"the input sub-folder '{top}' is called like a {what} of results; {taken[top.casefold()]}"
                "rename the folder"
            )
    if not folders:
        return
    target = Path(os.path.realpath(out))
    originals = {Path(os.path.realpath(item.path)) for item in inputs}
    for item in inputs:
        for kind in kinds:
            if target / _result_path(kind, item.result) in originals:
                raise InputError(
                    f"'{out / _result_path(kind, item.result)}' would overwrite an input image; choose another --out"
                )


@dataclass(frozen=True, slots=True)
class ResultWriter:
    """Writes the files of one prediction after another; safe to use from several threads.

    Attributes:
        out: the folder.
        kinds: which of `options.IMAGE_KINDS` are written.
        classes: name and colour of each class, index 1 first.
        tables: which of `options.TABLE_KINDS` are written at the end.
        by_masks: whether the tables count the defects of masks; else boxes.
    """

    out: Path
    kinds: tuple[str, ...]
    classes: list[ClassInfo]
    tables: tuple[str, ...] = ()
    by_masks: bool = True

    def write(self, item: InputFile, prediction: Prediction, picture: np.ndarray) -> dict[str, str]:
        """Write the files and return their paths below `out`, POSIX, by their key in the journal.

        Where COCO results are asked for, the prediction's outlines are filled in.
        """
        if "coco" in self.tables and prediction.class_map is not None:
            prediction.outlines = outlines(prediction.class_map)
        written: dict[str, str] = {}
        for kind in self.kinds:
            name = _result_path(kind, item.result)
            write_bytes(self.out / name, self._encode(kind, prediction, picture))
            written[ROW_KEYS[kind]] = name
        return written

    def has_all(self, row: dict[str, Any]) -> bool:
        """Whether all that is asked for of one image was written when its row was, and is still there.

        Args:
            row: of `journal.last_rows` or `journal.brief_rows`.
        """
        names = [row.get(ROW_KEYS[kind]) for kind in self.kinds]
        if "coco" in self.tables and not row.get("outlined", all("rle" in one for one in row.get("defects", ()))):
            return False
        return all(name and (self.out / name).is_file() for name in names)

    def set_apart(self, inputs: Sequence[InputFile], rows: Mapping[str, dict[str, Any]]) -> list[InputFile]:
        """The inputs with names of results that belong to no other file of an earlier run's rows."""
        taken: dict[str, str] = {}
        for file, row in rows.items():
            for kind, key in ROW_KEYS.items():
                if name := row.get(key):
                    inner = name.removeprefix(f"{FOLDERS[kind]}/") if kind in FOLDERS else name
                    taken[f"{inner.removesuffix('.jpg').removesuffix('.png')}.png".casefold()] = file
        names = keep_apart([item.result for item in inputs], [item.file for item in inputs], taken)
        return [replace(item, result=name) for item, name in zip(inputs, names, strict=True)]

    def remove_torn(self, inputs: Iterable[InputFile]) -> None:
        """Remove the temporary files that a killed run left where results of these inputs go.

        Only while the folder is locked, so that no other run is writing them.
        """
        places = {self.out / _result_path(kind, item.result) for item in inputs for kind in self.kinds}
        for folder in {self.out, *(place.parent for place in places)}:
            for name in os.listdir(folder) if folder.is_dir() else ():
                if _TORN.fullmatch(name):
                    with suppress(OSError):
                        os.unlink(folder / name)

    def finish(self, ended: Ended) -> None:
        """Write the tables; see `tables.write_tables`."""
        if self.tables:
            names = [one.name for one in self.classes]
            write_tables(self.out / JOURNAL_NAME, self.tables, names, self.by_masks, ended)

    def _encode(self, kind: str, prediction: Prediction, picture: np.ndarray) -> bytes:
        assert prediction.class_map is not None and prediction.defect is not None
        colours = [c.colour for c in self.classes]
        if kind == "masks":
            return encode_mask(prediction.class_map, colours)
        if kind == "defect-maps":
            return _encode(".png", prediction.defect, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        shown = prediction.instances if prediction.boxes is None else prediction.boxes
        defects = [(i.label, i.box, i.score) for i in shown]
        drawn = draw_overlay(picture, prediction.class_map, defects, [c.name for c in self.classes], colours)
        return _encode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])


def _result_path(kind: str, mask: str) -> str:
    """Path below OUT of one kind of result; defect maps are PNG, overlays JPEG (they are for looking at).

    Args:
        mask: `InputFile.result`.
    """
    if kind == "masks":
        return mask
    name = mask if kind == "defect-maps" else mask.removesuffix(".png") + ".jpg"
    return f"{FOLDERS[kind]}/{name}"


def _encode(ending: str, image: np.ndarray, options: list[int]) -> bytes:
    done, data = cv2.imencode(ending, image, options)
    if not done:
        raise RunError(f"an image of {image.shape[1]}x{image.shape[0]} pixels cannot be written as {ending}")
    return data.tobytes()
