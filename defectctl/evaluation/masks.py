"""Scores a folder of index masks against a dataset, with the same counts as a model and without torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np

from defectctl.dataset.splits import group_names
from defectctl.dataset.truth import defective_state, known_columns
from defectctl.dataset.types import Sample
from defectctl.errors import InputError
from defectctl.evaluation.part import Part
from defectctl.imaging.masks import decode_index
from defectctl.loading.pictures import PictureStore
from defectctl.loading.prefetch import prefetch
from defectctl.metrics.instance_matching import match_instances
from defectctl.metrics.instances import Instances
from defectctl.metrics.table import ImageTable, count_image


def match_masks(folder: Path, part: Part) -> dict[str, Path]:
    """Find each sample's mask in a folder that `predict` wrote: its id with `.png` for the ending, or added to it.

    `predict` names results by their path below its input folder, which may lie deeper than the dataset's ids begin;
    so leading folders of the ids are dropped, of all ids equally many, until every image has its mask.

    Raises:
        InputError: the folder is missing, an image has no mask, or two images would share one.
    """
    if not folder.is_dir():
        raise InputError(f"--masks '{folder}' is not a folder")
    ids = [PurePosixPath(sample.id) for sample in part.samples]
    tries = [{str(name): _match(folder, name, depth) for name in ids} for depth in range(_folders(ids) + 1)]
    found = min(tries, key=lambda paths: sum(path is None for path in paths.values()))
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise InputError(
            f"'{folder}' holds no mask for {len(missing)} of the {len(found)} images of part '{part.name}', "
            f"first '{PurePosixPath(missing[0]).with_suffix('.png')}'; predict them all, or choose another --part"
        )
    matched = {name: path for name, path in found.items() if path is not None}
    owners: dict[Path, str] = {}
    for name, path in matched.items():
        if path in owners:
            raise InputError(f"mask '{path}' would stand for both '{owners[path]}' and '{name}'; predict anew")
        owners[path] = name
    return matched


def _folders(ids: list[PurePosixPath]) -> int:
    """How many leading folders every id has, and may lose."""
    return min((len(name.parts) - 1 for name in ids), default=0)


def _match(folder: Path, name: PurePosixPath, depth: int) -> Path | None:
    rest = PurePosixPath(*name.parts[depth:])
    for candidate in (f"{rest}.png", rest.with_suffix(".png").as_posix()):
        if (folder / candidate).is_file():
            return folder / candidate
    return None


def read_prediction(path: Path, sample: Sample, classes: int) -> np.ndarray:
    """Read an index mask `(H, W)` uint8 with values 0..`classes`, of the sample's own size.

    Raises:
        InputError: unreadable, of another size, or with a value that is no class (255, say, in a 0/255 mask).
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"mask '{path}' cannot be read: {error.strerror or error}") from error
    mask = decode_index(data, str(path))
    if mask.shape != (sample.height, sample.width):
        size = f"{mask.shape[1]}x{mask.shape[0]}"
        raise InputError(f"mask '{path}' is {size} pixels, its image '{sample.id}' {sample.width}x{sample.height}")
    largest = int(mask.max(initial=0))
    if largest > classes:
        raise InputError(
            f"mask '{path}' holds the value {largest}, but the dataset has the classes 1 to {classes}; "
            "a mask's values must be class indices"
        )
    return mask


def score_masks(
    part: Part, masks: dict[str, Path], pictures: PictureStore, progress: Callable[[int], None] | None = None
) -> ImageTable:
    """Count masks against the truth; the score of an image is 1 where its mask holds any defect, else 0.

    Args:
        masks: file of each sample id, from `match_masks`.
        pictures: for the truth.
        progress: called with 1 after each image.
    """
    classes = len(part.dataset.classes)

    def read(sample: Sample) -> tuple[Sample, np.ndarray, np.ndarray | None]:
        return sample, read_prediction(masks[sample.id], sample, classes), pictures.mask(sample)

    rows = []
    for sample, predicted, truth in prefetch(part.samples, read, threads=2, depth=16):
        known = known_columns(part.dataset, sample)
        counts = count_image(truth, predicted, known)
        rows.append(
            (
                counts,
                known if truth is not None else np.zeros_like(known),
                float(predicted.any()),
                defective_state(part.dataset, sample, truth),
                match_instances(truth, predicted, known),
            )
        )
        if progress is not None:
            progress(1)
    return ImageTable(
        ids=[sample.id for sample in part.samples],
        classes=part.dataset.class_names,
        confusion=np.stack([c.confusion for c, *_ in rows]),
        unknown=np.array([c.unknown for c, *_ in rows]),
        score=np.array([score for _, _, score, *_ in rows]),
        defective=np.array([state for *_, state, _ in rows]),
        known=np.stack([known for _, known, *_ in rows]),
        positives=np.stack([c.positives for c, *_ in rows]),
        negatives=np.stack([c.negatives for c, *_ in rows]),
        instances=Instances.joined([instances for *_, instances in rows]),
        groups=group_names(part.samples),
    )
