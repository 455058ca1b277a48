"""Guesses worth telling the user after `prepare`: class names hidden in file names, masks that look inverted."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from defectctl.errors import InputError
from defectctl.formats.base import RawSource, ReadOptions
from defectctl.formats.masks.mask_values import MaskCoding
from defectctl.formats.readers.good_folders import is_good
from defectctl.formats.readers.names import class_of

_PREFIX = re.compile(r"([^\W\d_]+)[ _-]?\d+")
_FEWEST_IMAGES = 5
_MOST_CLASSES = 20


def prefix_hint(source: RawSource, coding: MaskCoding) -> str | None:
    """A hint at `--classes-from prefix` where binary masks' images are named like `In_1`, `Pa_1`, `Sc_1`."""
    if coding.one_class or len(coding.classes) != 1:
        return None
    stems = [PurePosixPath(sample.id).stem for sample in source.samples]
    prefixes = Counter(match.group(1) for match in map(_PREFIX.fullmatch, stems) if match)
    frequent = {prefix for prefix, count in prefixes.items() if count >= _FEWEST_IMAGES}
    covered = sum(prefixes[prefix] for prefix in frequent)
    if not 2 <= len(frequent) <= _MOST_CLASSES or covered < 0.95 * len(stems):
        return None
    names = ", ".join(sorted(frequent))
    return f"the image names begin with {names}: --classes-from prefix makes these the classes"


def folder_hint(source: RawSource, coding: MaskCoding) -> str | None:
    """A hint at `--classes-from folder` where binary masks lie in folders like `MT_Crack/Imgs`, `MT_Free/Imgs`."""
    if coding.one_class or len(coding.classes) != 1:
        return None
    try:
        own = [class_of(sample.id, ReadOptions(classes_from="folder")) for sample in source.samples if sample.mask]
    except InputError:
        return None
    names = {name for name in own if name and not is_good(name)}
    if not 2 <= len(names) <= _MOST_CLASSES or any(letter.isdigit() for name in names for letter in name):
        return None  # numbered folders are parts or days
    return f"the folders are called {', '.join(sorted(names))}: --classes-from folder makes these the classes"


def class_hint(source: RawSource, coding: MaskCoding) -> str | None:
    """Where the classes of binary masks may be found: in the prefixes of the names, else in the folders."""
    return prefix_hint(source, coding) or folder_hint(source, coding)


def inverted_hint(pixels: NDArray[np.int64]) -> str | None:
    """A warning where defects cover more than half of all mask pixels; `pixels` as in `LabelCount`."""
    known, defects = int(pixels[:-1].sum()), int(pixels[1:-1].sum())
    if not known or defects * 2 <= known:
        return None
    return f"defects cover {defects / known:.0%} of the mask pixels: if masks are inverted, say so with --mask-values"
