"""Makes matplotlib figures that need no screen, with fonts for class names in any alphabet, and writes them as PNG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from defectctl.fileio import write_bytes

FALLBACK_FONTS = ("Noto Sans CJK SC", "Microsoft YaHei", "SimHei", "PingFang SC", "Malgun Gothic", "Yu Gothic")
"""Fonts with East Asian letters, of which those that are installed are used where DejaVu Sans has no glyph."""


@contextmanager
def png_figure(path: Path, width: float, height: float, formulas: bool = False) -> Iterator[Figure]:
    """Yield an empty figure of `width` x `height` inches and write it to `path` as PNG, atomically, when it is drawn.

    It touches no display and leaves matplotlib's settings as they were. Without `formulas` a `$` in a file's or a
    class's name is a dollar sign, not the beginning of a formula.
    """
    settings = {"font.family": list(_fonts()), "text.parse_math": formulas}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # a name in an alphabet without an installed font is drawn as boxes; that is worth no line per letter
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width, height), dpi=110, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", bbox_inches="tight", pad_inches=0.1)
        write_bytes(path, buffer.getvalue())


@cache
def _fonts() -> tuple[str, ...]:
    installed = set(font_manager.get_font_names())
    return ("DejaVu Sans", *(name for name in FALLBACK_FONTS if name in installed))
