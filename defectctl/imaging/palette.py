"""The colours that palettes, overlays and plots give to classes: fixed, distinct, safe for the colour-blind first."""

from __future__ import annotations

import colorsys
from functools import lru_cache

Colour = tuple[int, int, int]
"""`(red, green, blue)`, each 0..255."""

UNKNOWN_COLOUR: Colour = (224, 224, 224)
"""Neutral light grey of pixels whose class nobody knows (mask value 255)."""

# M. Okabe and K. Ito, "Color Universal Design" (2008), in an order that tells the first few apart best on grey metal;
# their black is left out because it is the background here.
_OKABE_ITO: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (213, 94, 0),
    (204, 121, 167),
    (240, 228, 66),
    (0, 114, 178),
)
_GOLDEN_RATIO = 0.618033988749895


def class_colours(count: int) -> list[Colour]:
    """Return the colours of the first `count` classes, class 1 first.

    The list for `n` classes begins with the list for `n - 1`, no colour comes twice, and none is black (background)
    or a neutral grey (unknown).
    """
    return list(_all_colours()[:count]) if count <= len(_all_colours()) else _generate(count)


@lru_cache(maxsize=1)
def _all_colours() -> tuple[Colour, ...]:
    return tuple(_generate(254))


def _generate(count: int) -> list[Colour]:
    """The seven safe colours, then hues a golden section of the circle apart in changing saturation and brightness."""
    colours = list(_OKABE_ITO[:count])
    seen = set(colours)
    step = 0
    while len(colours) < count:
        step += 1
        hue = (0.05 + step * _GOLDEN_RATIO) % 1.0
        saturation, value = (0.9, 0.65, 0.45)[step % 3], (0.95, 0.75, 0.55)[(step // 3) % 3]
        red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
        if (red, green, blue) not in seen:
            seen.add((red, green, blue))
            colours.append((red, green, blue))
    return colours
