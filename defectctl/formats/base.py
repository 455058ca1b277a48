"""What every reader of a foreign annotation format returns, before anything is checked or written."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from defectctl.dataset.types import Box

IMAGE_ENDINGS = (".bmp", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jp2")

UNREAD_ENDINGS = (".gif", ".heic", ".heif", ".avif", ".jxl", ".psd", ".dng", ".dcm", ".npy")
"""Endings of pictures that nothing here reads; such files are told, not passed over."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a person should know about one raw file.

    Attributes:
        file: path below the raw folder, POSIX (or the folder itself, ".").
        problem: stable key, e.g. `unreadable`, `no-mask`, `no-image`, `size-differs`, `odd-mask-values`.
        text: the reason and what was done about it, one sentence.
        dropped: whether an image or an annotation was left out because of it.
    """

    file: str
    problem: str
    text: str
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class Region:
    """The pixels of one annotated object: polygon parts, or a COCO run-length (`rle`), exactly one of them.

    `polygons` are flat `[x1, y1, x2, y2, …]` lists in pixels; a part that lies inside another is a hole.
    """

    polygons: tuple[tuple[float, ...], ...] = ()
    rle: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class RawShape:
    """One annotated object; at least one of `box` and `region` is there."""

    class_name: str
    box: Box | None = None
    region: Region | None = None
    crowd: bool = False


@dataclass(frozen=True, slots=True)
class EmbeddedImage:
    """An image that stands only inside a JSON file, as base64 text under `key`; opened like a file."""

    json: Path
    key: str = "imageData"

    @property
    def name(self) -> str:
        """The name of the file it stands in."""
        return self.json.name

    def read_bytes(self) -> bytes:
        """The image file's bytes.

        Raises:
            OSError: the JSON cannot be read, or holds no base64 text there.
        """
        try:
            return base64.b64decode(json.loads(self.json.read_bytes().decode("utf-8-sig"))[self.key], validate=True)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise OSError(f"the image embedded under '{self.key}' cannot be read ({error})") from error


@dataclass(slots=True)
class RawSample:
    """One image of the raw folder with its annotation, nothing decoded yet.

    Attributes:
        id: path below the raw folder, POSIX, with extension.
        image: the file, or the file that it is embedded in.
        mask: pixel mask file, or None.
        shapes: annotated objects, or None where the format has none for this image.
        class_name: the one class of a binary mask, where prefix or folder tells it.
        label: image label where that is all there is.
        part: official split part, `train`, `val` or `test`.
        stated_size: (width, height) written in the annotation, to be held against the file.
    """

    id: str
    image: Path | EmbeddedImage
    mask: Path | None = None
    shapes: list[RawShape] | None = None
    class_name: str | None = None
    label: str | None = None
    part: str | None = None
    stated_size: tuple[int, int] | None = None


@dataclass(slots=True)
class RawSource:
    """A raw folder as one reader understands it.

    Attributes:
        format: the reader's name.
        layout: one sentence for the user: what was recognised, in this folder's own names.
        root: the raw folder.
        samples: sorted by id.
        classes: class names in order of their index (1 first); empty where only mask values can tell.
        class_values: for pixel masks, stored value -> class name, where the format states it; else None.
        findings: unmatched and contradictory files.
        knows_boxes, knows_masks: whether annotations of these kinds are complete for the classes.
        exclusive: whether a binary mask of one class says that no other class is there either.
    """

    format: str
    layout: str
    root: Path
    samples: list[RawSample]
    classes: list[str] = field(default_factory=list)
    class_values: dict[int, str] | None = None
    findings: list[Finding] = field(default_factory=list)
    knows_boxes: bool = False
    knows_masks: bool = False
    exclusive: bool = False


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the user said on the command line where the folder cannot tell.

    Attributes:
        classes: names in order of the index, or empty.
        classes_from: `prefix` or `folder`, or None.
        mask_values: stored mask value -> class name ("background" and "unknown" are understood), or None; a colour is
            `mask_stored.COLOUR_FLAG | 0xRRGGBB`.
    """

    classes: tuple[str, ...] = ()
    classes_from: str | None = None
    mask_values: dict[int, str] | None = None


@dataclass(slots=True)
class Listing:
    """All files of a raw folder, listed once and handed to every reader.

    Attributes:
        root: the raw folder.
        files: paths below it, POSIX, sorted; hidden files and `Thumbs.db` left out.
    """

    root: Path
    files: list[PurePosixPath]

    def images(self) -> list[PurePosixPath]:
        """The files that end like images (masks among them)."""
        return [f for f in self.files if f.suffix.lower() in IMAGE_ENDINGS]

    def path(self, file: PurePosixPath) -> Path:
        """The file on disk."""
        return self.root / file


class Reader(Protocol):
    """A module of `formats` that reads one family of layouts."""

    NAME: str
    """The name that `--format` takes."""
    DESCRIPTION: str
    """One line for `prepare --help`."""

    def recognise(self, listing: Listing) -> float:
        """How surely the folder is of this format, 0 (not at all) to 1; must look at names and little else."""

    def read(self, listing: Listing, options: ReadOptions) -> RawSource:
        """Read the annotations. Raises InputError where the format's own files are broken beyond use."""
