"""Counts over a dataset's labels: images, pixels and boxes per class, and what each split part holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectctl.dataset.types import UNKNOWN, Known, Sample, Split


@dataclass(slots=True)
class LabelCount:
    """What one sample's labels hold.

    Attributes:
        pixels: `(classes + 2,)` int64, mask pixels of background, of each class and, last, of unknown; all zero where
            the mask speaks for no class.
        objects: `(1 + classes,)` int64, labelled objects per class.
        classes: class indices present in the mask, among the objects or as image label.
        good: whether the part is known to have no defect.
        masked: class indices for which the mask speaks.
    """

    pixels: NDArray[np.int64]
    objects: NDArray[np.int64]
    classes: tuple[int, ...]
    good: bool
    masked: tuple[int, ...] = ()

    def stratum(self) -> str:
        """What a split should spread evenly: the set of classes present, or good, or unknown."""
        return "+".join(map(str, self.classes)) or ("good" if self.good else "unknown")


def count_labels(sample: Sample, known: Known, mask: NDArray[np.uint8] | None, class_names: list[str]) -> LabelCount:
    """Count one sample; `mask` is `(H, W)` uint8, or None for an empty one."""
    pixels = np.zeros(len(class_names) + 2, np.int64)
    if mask is not None:
        values = np.bincount(mask.ravel(), minlength=256)
        pixels[:-1], pixels[-1] = values[: len(class_names) + 1], values[UNKNOWN]
    elif known.mask:
        pixels[0] = sample.width * sample.height
    objects = np.zeros(len(class_names) + 1, np.int64)
    for thing in sample.objects:
        objects[thing.label] += 1
    present = {int(v) + 1 for v in np.flatnonzero(pixels[1:-1])} | {thing.label for thing in sample.objects}
    if sample.label in class_names:
        present.add(class_names.index(sample.label) + 1)
    good = known.image and not present and sample.label in (None, "good")
    return LabelCount(pixels, objects, tuple(sorted(present)), good, known.mask)


class Statistics:
    """Sums of `LabelCount` over samples; `pixels` and `objects` as there, `images` `(1 + classes,)` int64."""

    def __init__(self, class_names: list[str]) -> None:
        self.class_names = class_names
        self.total = 0
        self.good = 0
        self.pixels = np.zeros(len(class_names) + 2, np.int64)
        self.objects = np.zeros(len(class_names) + 1, np.int64)
        self.images = np.zeros(len(class_names) + 1, np.int64)
        self.masked: set[int] = set()

    def add(self, count: LabelCount) -> None:
        """Add one sample."""
        self.total += 1
        self.good += count.good
        self.pixels += count.pixels
        self.objects += count.objects
        self.images[list(count.classes)] += 1
        self.masked.update(count.masked)

    def rows(self) -> list[dict[str, Any]]:
        """One row a class: name, images, pixels, share of all known pixels, objects.

        The share is None for a class of which no mask speaks.
        """
        known = int(self.pixels[:-1].sum())
        return [
            {
                "class": name,
                "images": int(self.images[index]),
                "pixels": int(self.pixels[index]),
                "pixel_share": float(self.pixels[index]) / known if known and index in self.masked else None,
                "objects": int(self.objects[index]),
            }
            for index, name in enumerate(self.class_names, 1)
        ]

    def to_dict(self) -> dict[str, Any]:
        """As stored under `counts` in `dataset.yaml`."""
        classes = {
            row["class"]: {"images": row["images"], "pixels": row["pixels"], "objects": row["objects"]}
            for row in self.rows()
        }
        return {
            "images": self.total,
            "good": self.good,
            "background_pixels": int(self.pixels[0]),
            "unknown_pixels": int(self.pixels[-1]),
            "classes": classes,
        }


def part_rows(split: Split, counts: dict[str, LabelCount], class_names: list[str]) -> list[dict[str, Any]]:
    """One row a split part: its name, images, good ones, and images per class."""
    rows = []
    for part, ids in split.parts.items():
        sums = Statistics(class_names)
        for sample_id in ids:
            sums.add(counts[sample_id])
        classes = {name: int(sums.images[index]) for index, name in enumerate(class_names, 1)}
        rows.append({"part": part, "images": sums.total, "good": sums.good, "classes": classes})
    return rows


def equal_images(samples: Iterable[Sample]) -> list[list[Sample]]:
    """Groups of two or more samples whose image files are byte for byte the same, in order of their ids."""
    groups: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda sample: sample.id):
        groups.setdefault(sample.sha256, []).append(sample)
    return [group for group in groups.values() if len(group) > 1]
