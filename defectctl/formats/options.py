"""What the user may say of a preparation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from defectctl.formats.base import ReadOptions


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What the user said of one raw folder: the reader to use (None: recognised), and what the folder cannot tell."""

    format: str | None = None
    read: ReadOptions = field(default_factory=ReadOptions)


@dataclass(frozen=True, slots=True)
class PrepareOptions:
    """What the user said beside the paths.

    Attributes:
        format: reader to use, or None to recognise the layout.
        read: what the folders cannot tell.
        name: the dataset's name; None takes the output folder's.
        seed: of random splits, and of validation parts taken from training.
        link: leave the images where they are.
        replace: whether a dataset already in the output folder makes way.
        of_source: source name (see `source_handles`) -> its own `format` and `read` instead.
        join: "name" or "content" makes one sample of the same photograph in several sources; None keeps them apart.
        maps: class renames, `OLD=NEW` or `SOURCE:OLD=NEW`.
        folds: file of cross-validation folds, see `read_fold_file`.
        group_by: regular expression on ids; its first group names the sample's group.
        exclude: patterns of ids (as below their source) to leave out, `GLOB` or `SOURCE:GLOB`.
        parts: look for images that show parts of one another, too.
        distrust: make boxes with hardly any mask in them unknown in the mask.
        resplit, kfold, calibration: see `SplitWishes`.
    """

    format: str | None = None
    read: ReadOptions = field(default_factory=ReadOptions)
    name: str | None = None
    seed: int = 0
    link: bool = False
    replace: bool = False
    of_source: Mapping[str, SourceOptions] = field(default_factory=dict)
    join: str | None = None
    maps: tuple[str, ...] = ()
    folds: Path | None = None
    group_by: str | None = None
    exclude: tuple[str, ...] = ()
    parts: bool = False
    distrust: bool = False
    resplit: bool = False
    kfold: int | None = None
    calibration: float = 0.0
