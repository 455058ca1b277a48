"""What a user can say about a prediction, read and checked before torch is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from defectctl.errors import InputError, nearest
from defectctl.imaging.limits import MAX_MPX

IMAGE_KINDS = ("masks", "overlays", "defect-maps")
"""What `--write` can name that is one file an image."""
TABLE_KINDS = ("csv", "coco", "summary")
"""What `--write` can name that speaks of all images, written from the journal's rows at the end."""
KINDS = (*IMAGE_KINDS, *TABLE_KINDS)
"""What `--write` can name."""


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """How images are predicted and what is written.

    Attributes:
        write: which of `IMAGE_KINDS`.
        thresholds: `ng` and `ok`, see `postprocess.verdict`; None: the model's. Its pixel threshold stays either way.
        min_area: components with fewer pixels become background; None: the model's.
        batch_size: images at once; None: 8.
        skip_done: go on with the journal in OUT instead of replacing it.
        read_threads, write_threads: threads that decode, and that post-process and encode.
        tables: which of `TABLE_KINDS`.
        max_mpx: larger images, in million pixels, are refused before they are decoded.
    """

    write: tuple[str, ...] = ("masks",)
    thresholds: dict[str, float] | None = None
    min_area: int | None = None
    batch_size: int | None = None
    skip_done: bool = False
    read_threads: int = 2
    write_threads: int = 2
    tables: tuple[str, ...] = ()
    max_mpx: float = MAX_MPX


def parse_kinds(text: str) -> tuple[str, ...]:
    """Read a list such as `masks,overlays`.

    Raises:
        InputError: it is empty or names an unknown kind.
    """
    kinds = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"--write does not know '{kind}'{nearest(kind, list(KINDS))}; choose {', '.join(KINDS)}")
    if not kinds:
        raise InputError(f"--write names nothing; choose {', '.join(KINDS)}")
    return kinds


def of_image(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `KINDS` that are files of one image."""
    return tuple(kind for kind in kinds if kind in IMAGE_KINDS)


def of_tables(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `KINDS` that speak of all images."""
    return tuple(kind for kind in kinds if kind in TABLE_KINDS)


def parse_threshold(text: str | None) -> dict[str, float] | None:
    """Read `0.7` (NG from this score on) or `0.4,0.7` (UNSURE from the first, NG from the second); None stays None.

    Raises:
        InputError: not one or two numbers in 0..1 in rising order.
    """
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 2) or values != sorted(values) or not all(0 <= v <= 1 for v in values):
        raise InputError(
            f"--threshold '{text}' is not understood; give an image score such as 0.7, or two such as 0.4,0.7 "
            "(UNSURE from the first, NG from the second), each in 0..1"
        )
    return {"ng": values[-1]} if len(values) == 1 else {"ok": values[0], "ng": values[1]}
