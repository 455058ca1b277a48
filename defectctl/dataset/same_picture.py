"""Tells from all pixels of two images, laid over each other, whether they are one picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from defectctl.imaging.prints import to_levels

DARKEST, LIGHTEST = 3, 252
"""Pixels outside may have been clipped when the brightness was changed; they are not compared."""
GAINS = (0.4, 2.5)
"""Contrast of one picture over the other's."""
EXACT = 0.5
"""Mean absolute difference in 8-bit grey levels up to which pictures need no fine structure to be the same."""
MOST_BLOCK = 8.0
"""Mean difference, in 8-bit grey levels, of any block of 8x8 pixels, at most."""
LEAST_FINE = 0.2
"""Correlation of the fine structure, at least: of re-encoded copies it was at least 0.25, of different pictures of the
same steel 0.00 ± 0.02."""
TELLING = 1.0
"""Standard deviation of fine structure, in 8-bit grey levels, under which coarser structure is asked."""
_WINDOWS = (7, 21, 63)
_FEWEST = 256


def difference(one: NDArray, other: NDArray) -> float | None:
    """Mean absolute difference of two pictures in 8-bit grey levels, or None where they are not the same picture.

    The same picture may be brighter, of other contrast and re-encoded. Then nowhere a patch is left over that one
    shows and the other does not, and the fine structure, noise included, goes with the other's: that tells a copy
    from a second photograph of the same place or of the same kind of surface.

    Args:
        one, other: `(H, W)` uint8, uint16 or float in 0..255, in the same pose. Other shapes are never the same.
    """
    if one.shape != other.shape:
        return None
    if one.dtype == other.dtype and np.array_equal(one, other):
        return 0.0
    one, other = to_levels(one), to_levels(other)
    seen = (one > DARKEST) & (one < LIGHTEST) & (other > DARKEST) & (other < LIGHTEST)
    count = int(np.count_nonzero(seen))
    if count < _FEWEST:
        return None
    weight = seen.astype(np.float32)
    one, other = (_centred(pixels, weight, count) for pixels in (one, other))
    energies = float((one * one).sum()), float((other * other).sum())
    gain = float((one * other).sum()) / max(energies[1], 1e-9)
    if not GAINS[0] <= gain <= GAINS[1]:
        return None
    left = (one - np.float32(gain) * other) * np.float32(max(1, 1 / gain))
    if _largest_block(left) > MOST_BLOCK:
        return None
    mean = float(np.abs(left).sum()) / count
    exact = mean <= EXACT and float((left * left).sum()) <= 0.25 * min(energies)
    return mean if exact or _goes_together(one, other, weight, count) else None


def _centred(pixels: NDArray[np.float32], weight: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Without the mean of the pixels that count; 0 at the others."""
    return (pixels - np.float32((pixels * weight).sum(dtype=np.float64) / count)) * weight


def _largest_block(left: NDArray[np.float32]) -> float:
    import cv2

    height, width = (max(1, side // 8) for side in left.shape)
    return float(np.abs(cv2.resize(left, (width, height), interpolation=cv2.INTER_AREA)).max())


def _goes_together(
    one: NDArray[np.float32], other: NDArray[np.float32], weight: NDArray[np.float32], count: int
) -> bool:
    """Whether the finest structure that both show more than a trace of correlates."""
    import cv2

    for window in _WINDOWS:
        if min(one.shape) < window:
            return False
        shares = np.maximum(cv2.blur(weight, (window, window)), np.float32(1e-3))
        fine = [(part - cv2.blur(part, (window, window)) / shares) * weight for part in (one, other)]
        energies = [float((part * part).sum()) for part in fine]
        if min(energies) >= count * TELLING**2:
            return float((fine[0] * fine[1]).sum()) >= LEAST_FINE * np.sqrt(energies[0] * energies[1])
    return False
