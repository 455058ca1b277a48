"""The words of the on-disk dataset: Sample, Object, Known, Source, Split, Dataset."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from defectctl.imaging.pixel_rule import PixelRule

UNKNOWN = 255
"""Mask value of a pixel whose class nobody knows; losses and metrics leave it out."""

MAX_CLASSES = 254
"""Defect classes that fit beside background (0) and unknown (255) in a uint8 mask."""

Box = tuple[float, float, float, float]
"""`(x1, y1, x2, y2)` in float pixel edges from 0, half-open, after EXIF orientation."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a sample's labels speak of. A class outside is neither present nor absent.

    Attributes:
        mask: class indices (1..K) for which the mask speaks; background in it means "none of these".
        boxes: class indices for which the boxes are complete.
        image: whether it is known if the part is good or defective.
    """

    mask: tuple[int, ...] = ()
    boxes: tuple[int, ...] = ()
    image: bool = False


@dataclass(slots=True)
class Object:
    """One labelled defect: class index (1..K), box, and whether it is a crowd region (left out of box scores)."""

    label: int
    box: Box
    crowd: bool = False


@dataclass(slots=True)
class Sample:
    """One image on disk and all that is known of it.

    Attributes:
        id: the image's path below its source with extension, POSIX, unique when case is folded.
        image: path of the image relative to the dataset's root, POSIX.
        width, height: pixels after EXIF orientation.
        sha256: hash of the image file's bytes.
        source: name of the `Source` it came from.
        mask: path of the mask relative to the root, or None (a good part, or no mask known: see `known`).
        mask_sha256: hash of the mask file's bytes, or None.
        objects: labelled objects; empty where none are known or where the mask's components are the objects.
        label: image label where that is all there is: "good", "defective", or a class name; else None.
        group: parts that must stay on one side of every split share it; None stands alone.
        twins: name of the family of near-duplicates (turned, mirrored, encoded again) that the image belongs to, the
            first id of the family; None where it has none, or none were looked for.
        overlaps: name of the set of images that show parts of one another (crops of one photograph), the first id of
            it; None where it has none, or none were looked for.
        pasted_from: ids of images with which this one shares parts and which it would tie together (a mosaic pasted of
            them, mostly): it can only train.
        known: overrides the source's `known` where it differs, else None.
        present: classes of which the mask holds pixels, ascending, so that no mask need be opened to tell; empty where
            there is no mask file; None where the dataset is of a version that did not record it.
        has_unknown: whether the mask holds pixels that nobody knows (255); only told beside `present`.
    """

    id: str
    image: str
    width: int
    height: int
    sha256: str
    source: str
    mask: str | None = None
    mask_sha256: str | None = None
    objects: list[Object] = field(default_factory=list)
    label: str | None = None
    group: str | None = None
    twins: str | None = None
    overlaps: str | None = None
    pasted_from: tuple[str, ...] = ()
    known: Known | None = None
    present: tuple[int, ...] | None = None
    has_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """One raw folder that went into the dataset: the recognised format, the default `known`, the pixel rule."""

    name: str
    format: str
    known: Known
    pixels: PixelRule = PixelRule()


@dataclass(frozen=True, slots=True)
class ClassInfo:
    """A defect class: its name and the RGB colour (0..255) that palettes and overlays give it."""

    name: str
    colour: tuple[int, int, int]


@dataclass(slots=True)
class Split:
    """Named lists of sample ids, e.g. parts `train`, `val`, `test`; ids in no part are unused."""

    name: str
    maker: str
    seed: int | None
    parts: dict[str, list[str]]
    fingerprint: str = ""


@dataclass(slots=True)
class Dataset:
    """A checked dataset on disk, as `dataset.yaml` and `samples.jsonl` describe it.

    `classes[0]` is defect class 1; background (0) is not listed. `made_from` is the signature of the files and options
    that it was prepared from, None where it has none.
    """

    root: Path
    name: str
    classes: list[ClassInfo]
    samples: list[Sample]
    sources: dict[str, Source]
    fingerprint: str
    splits: list[str]
    default_split: str
    counts: dict[str, Any] = field(default_factory=dict)
    made_from: str | None = None

    @property
    def class_names(self) -> list[str]:
        """Names of the defect classes, index 1 first."""
        return [c.name for c in self.classes]

    def known(self, sample: Sample) -> Known:
        """What is known of `sample`: its own statement, else its source's."""
        return sample.known or self.sources[sample.source].known

    def image_path(self, sample: Sample) -> Path:
        """Absolute path of the sample's image."""
        return self.root / sample.image

    def mask_path(self, sample: Sample) -> Path | None:
        """Absolute path of the sample's mask, or None."""
        return self.root / sample.mask if sample.mask else None

    def pixel_rule(self, sample: Sample) -> PixelRule:
        """The rule by which the sample's stored pixels become 8- or 16-bit full-scale values."""
        return self.sources[sample.source].pixels
