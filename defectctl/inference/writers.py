"""Writes one prediction's files: index mask, overlay, defect map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from defectctl.dataset.types import ClassInfo
from defectctl.errors import InputError, RunError
from defectctl.fileio import write_bytes
from defectctl.imaging.masks import encode_mask
from defectctl.inference.prediction import Prediction
from defectctl.inference.sources import InputFile
from defectctl.reports.overlay import draw_overlay

FOLDERS = {"overlays": "overlays", "defect-maps": "defect-maps"}
"""Sub-folders of OUT; masks lie in OUT itself."""
ROW_KEYS = {"masks": "mask", "overlays": "overlay", "defect-maps": "defect_map"}


def check_folders(inputs: list[InputFile], kinds: tuple[str, ...]) -> None:
    """Refuse inputs whose own top folder is called like a folder of results, which would mix the two.

    Raises:
        InputError: such a folder is there.
    """
    taken = {FOLDERS[kind].casefold() for kind in kinds if kind in FOLDERS}
    for item in inputs:
        top = PurePosixPath(item.result).parts[0]
        if "/" in item.result and top.casefold() in taken:
            raise InputError(
                f"the input sub-folder '{top}' is called like a folder of results; leave '{top}' out of --write, "
                "or rename the folder"
            )


@dataclass(frozen=True, slots=True)
class ResultWriter:
    """Writes the files of one prediction after another; safe to use from several threads.

    Attributes:
        out: the folder.
        kinds: which of `options.KINDS` are written.
        classes: name and colour of each class, index 1 first.
    """

    out: Path
    kinds: tuple[str, ...]
    classes: list[ClassInfo]

    def write(self, item: InputFile, prediction: Prediction, picture: np.ndarray) -> dict[str, str]:
        """Write the files and return their paths below `out`, POSIX, by their key in the journal."""
        written: dict[str, str] = {}
        for kind in self.kinds:
            name = self.result_path(kind, item)
            write_bytes(self.out / name, self._encode(kind, prediction, picture))
            written[ROW_KEYS[kind]] = name
        return written

    def result_path(self, kind: str, item: InputFile) -> str:
        """Path below `out`: masks and defect maps are PNG, overlays JPEG (they are for looking at)."""
        if kind == "masks":
            return item.result
        name = item.result if kind == "defect-maps" else item.result.removesuffix(".png") + ".jpg"
        return f"{FOLDERS[kind]}/{name}"

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


def _encode(ending: str, image: np.ndarray, options: list[int]) -> bytes:
    done, data = cv2.imencode(ending, image, options)
    if not done:
        raise RunError(f"an image of {image.shape[1]}x{image.shape[0]} pixels cannot be written as {ending}")
    return data.tobytes()
