"""Draws the images to look at, the worst misses and false alarms, and keeps their pictures for later reports."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from defectctl.dataset.types import Box, Sample
from defectctl.evaluation.part import Part
from defectctl.evaluation.shown import Shown
from defectctl.evaluation.worst import worst_alarms, worst_misses
from defectctl.fileio import write_bytes
from defectctl.loading.pictures import PictureStore
from defectctl.metrics.image_level import VERDICTS, verdicts
from defectctl.metrics.table import ImageTable
from defectctl.reports.evaluation_data import Case

PICTURES = "pictures"
"""Folder of the pictures in an evaluation's; a file is named by the row in the table and by what it shows."""

_JPEG = b"\xff\xd8"
"""How every JPEG file begins."""

CAPTIONS = {"picture": "picture", "truth": "truth", "prediction": "prediction", "map": "defect map"}


def cases_of(
    table: ImageTable, result: dict[str, Any], out: Path, draw: Callable[[int], dict[str, bytes]] | None
) -> tuple[list[Case], list[Case]]:
    """The worst misses and the worst false alarms at the thresholds in force.

    Args:
        result: the content of `metrics.json`.
        out: the evaluation's folder; pictures drawn are kept in it, and those of an earlier evaluation found there.
        draw: what `draw_pictures` makes of a row of the table; None where only kept pictures are to be shown.
    """
    called, box_score = verdicts(table, result["thresholds"]), result["box_score"] or 0.0
    if draw is not None and (out / PICTURES).is_dir():
        shutil.rmtree(out / PICTURES)  # of an earlier evaluation, whose rows may have been other images

    def case(row: int, remark: str) -> Case:
        if draw is not None:
            for name, data in draw(row).items():
                write_bytes(_file(out, row, name), data)
        kept = [(caption, _file(out, row, name)) for name, caption in CAPTIONS.items()]
        read = [(caption, path.read_bytes()) for caption, path in kept if path.is_file()]
        pictures = [(caption, data) for caption, data in read if data.startswith(_JPEG)]
        return Case(table.ids[row], float(table.score[row]), VERDICTS[called[row]], pictures, remark)

    found = (rank(table, result["thresholds"], box_score) for rank in (worst_misses, worst_alarms))
    misses, alarms = ([case(row, remark) for row, remark in rows] for rows in found)
    return misses, alarms


def _file(out: Path, row: int, name: str) -> Path:
    return out / PICTURES / f"{row:06d}-{name}.jpg"


def copy_pictures(sources: Iterable[tuple[Path | None, Sequence[int]]], out: Path) -> None:
    """Take over the pictures that earlier evaluations kept, in the place of those that are there.

    Args:
        sources: folder of each evaluation (not `out`), and for each row of its table the row in the new one.
    """
    if (out / PICTURES).is_dir():
        shutil.rmtree(out / PICTURES)
    for source, rows in sources:
        if source is None:
            continue
        for old, new in enumerate(rows):
            for name in CAPTIONS:
                if (path := _file(source, old, name)).is_file():
                    write_bytes(_file(out, new, name), path.read_bytes())


def draw_pictures(part: Part, sample: Sample, shown: Shown, pictures: PictureStore, min_area: int) -> dict[str, bytes]:
    """One image as JPEGs: `truth` and `prediction` outlined and, of a model with a mask and scores, its defect `map`.

    What is not known, or not delivered, is no picture; where there is neither outline, the bare `picture` is one.

    Args:
        min_area: as in `true_boxes`.
    """
    import cv2

    from defectctl.reports.sheet import draw_boxes, heat_map, outline

    colours, picture, truth = [c.colour for c in part.dataset.classes], pictures.picture(sample), pictures.mask(sample)
    drawn = {}
    known = None if shown.boxes is None else true_boxes(part, sample, truth, min_area)
    if truth is not None or known is not None:
        drawn["truth"] = outline(picture, truth, colours)
        draw_boxes(drawn["truth"], [(label, box, None) for label, box in known or ()], picture.shape, colours)
    if shown.class_map is not None or shown.boxes is not None:
        drawn["prediction"] = outline(picture, shown.class_map, colours)
        draw_boxes(drawn["prediction"], shown.boxes or (), picture.shape, colours)
    if not drawn:
        drawn["picture"] = outline(picture, None, colours)
    if shown.defect is not None:
        drawn["map"] = heat_map(shown.defect)
    return {name: cv2.imencode(".jpg", rgb[..., ::-1])[1].tobytes() for name, rgb in drawn.items()}


def true_boxes(part: Part, sample: Sample, truth: np.ndarray | None, min_area: int) -> list[tuple[int, Box]] | None:
    """Class index and `xyxy` of the true boxes that a detector is held against; None where nobody knows.

    Args:
        truth: the mask, whose components of at least `min_area` pixels are the boxes where no others are known.
    """
    from defectctl.loading.box_truth import box_truth

    known = box_truth(part.dataset, sample, truth, min_area)
    return list(zip(known.labels.tolist(), known.boxes.tolist(), strict=True)) if known.known else None
