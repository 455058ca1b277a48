"""What the report of a prepared dataset tells, ready to be drawn."""

from __future__ import annotations

from dataclasses import dataclass, field

from defectctl.dataset.survey import Survey

MOST_LINES = 200
"""Findings of one problem that are told; the others are counted."""


@dataclass(slots=True)
class ClassRow:
    """One class: colour RGB 0..255, images with it, mask pixels and their share (None: no mask speaks), objects."""

    name: str
    colour: tuple[int, int, int]
    images: int
    pixels: int
    share: float | None
    objects: int


@dataclass(slots=True)
class PartRow:
    """One part of a split: its images, by what is known of them, and the images with each class."""

    name: str
    images: int
    good: int
    defective: int
    unknown: int
    classes: list[int]


@dataclass(slots=True)
class SplitTable:
    """One split; `leaks` counts images with a copy in another part, `unused` those in no part."""

    name: str
    maker: str
    parts: list[PartRow]
    leaks: int
    unused: int


@dataclass(slots=True)
class PartLevels:
    """Brightness and contrast of a part's images, 0..255: smallest, quartiles and largest of each."""

    part: str
    images: int
    brightness: tuple[float, ...]
    contrast: tuple[float, ...]


@dataclass(slots=True)
class Examples:
    """Pictures of one class (or of good parts, without colour): caption and JPEG or PNG of each."""

    title: str
    colour: tuple[int, int, int] | None
    pictures: list[tuple[str, bytes]]


@dataclass(slots=True)
class FindingLine:
    """One finding with its picture, where it has one."""

    file: str
    text: str
    dropped: bool
    picture: bytes | None = None


@dataclass(slots=True)
class FindingGroup:
    """All findings of one problem: how many there are, how many left something out, and the first `MOST_LINES`."""

    problem: str
    count: int
    dropped: int
    lines: list[FindingLine]


@dataclass(slots=True)
class PageData:
    """All that the page tells.

    Attributes:
        layout: what was recognised, in words.
        notes: decisions to know of.
        levels: of the parts of the default split, `splits[0]`.
        sizes: `(width, height, images)`, most frequent first.
        findings: most urgent first.
    """

    name: str
    fingerprint: str
    images: int
    good: int
    defective: int
    unknown: int
    layout: str
    notes: list[str]
    classes: list[ClassRow]
    survey: Survey
    splits: list[SplitTable]
    levels: list[PartLevels]
    sizes: list[tuple[int, int, int]]
    examples: list[Examples] = field(default_factory=list)
    findings: list[FindingGroup] = field(default_factory=list)
