"""The measures of saliency papers: MAE, weighted F, S and E of a defect map against "any defect" in the true mask.

All take the defect probability as it is, byte / 255: the saliency toolboxes first stretch each map to 0..1, which would
turn a map that is sure of nothing into one that is sure. Where a map spans 0..255 the two are the same.

MAE and E-measure know pixels only by how many there are of each level, so they come from the histograms of an
`ImageTable` and leave unknown pixels out. Weighted F and S look at where pixels lie; a hole in the truth would move
distances and centroids, so an image with any unknown pixel has neither (NaN) and is left out of the mean.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from defectctl.metrics.region_overlap import window_around
from defectctl.metrics.table import ImageTable

LEVELS = np.arange(256)
FAR = 270
"""Pixels from the foreground at which 2 - 0.5^(d / 5) is 2 in float64."""

BLOCK_ROWS = 1024
"""Rows worked on at a time, so that what is held besides the result stays below some 20 MB."""


def saliency_metrics(
    table: ImageTable, weighted_f: np.ndarray | None = None, s_measure: np.ndarray | None = None
) -> dict[str, float | None]:
    """Means over the images, None where no image has a value.

    Args:
        weighted_f, s_measure: `(N,)` float64, `weighted_f_measure` and `structure_measure` of each row, NaN where an
            image has none.

    Returns:
        `mae` (less is better), `weighted_f`, `s_measure`, `e_mean`, `e_max`, `e_adaptive`. `e_max` is the highest
        point of the images' mean curve, one threshold for all of them, as the papers report it; the mean of each
        image's own maximum would be higher.
    """
    values = image_saliency(table)
    curves = e_curves(table.positives, table.negatives)
    known = ~np.isnan(curves[:, 0])
    return {
        "mae": _mean(values["mae"]),
        "weighted_f": _mean(weighted_f),
        "s_measure": _mean(s_measure),
        "e_mean": _mean(values["e_mean"]),
        "e_max": float(curves[known].mean(axis=0).max()) if known.any() else None,
        "e_adaptive": _mean(values["e_adaptive"]),
    }


def image_saliency(table: ImageTable) -> dict[str, np.ndarray]:
    """`mae`, `e_mean`, `e_max` and `e_adaptive` of each image, `(N,)` float64, NaN where no pixel is counted.

    MAE = mean of |S - G| over the pixels (Perazzi et al., "Saliency Filters", CVPR 2012, equation 9). E-measure as in
    `e_curves`: its mean and maximum over the 256 thresholds, and its value at the adaptive threshold, twice the map's
    mean (Achanta et al., "Frequency-tuned Salient Region Detection", CVPR 2009), at most 255 and at least 1, so that
    an empty map stays empty.
    """
    pixels = table.positives.sum(axis=1) + table.negatives.sum(axis=1)
    counted = np.maximum(pixels, 1)
    error = table.positives @ (255 - LEVELS) + table.negatives @ LEVELS
    twice = 2 * ((table.positives + table.negatives) @ LEVELS)
    threshold = np.clip(-(-twice // counted), 1, 255)
    curves = e_curves(table.positives, table.negatives)
    return {
        "mae": np.where(pixels > 0, error / (255.0 * counted), np.nan),
        "e_mean": curves.mean(axis=1),
        "e_max": curves.max(axis=1),
        "e_adaptive": curves[np.arange(len(curves)), threshold],
    }


def e_curves(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """E-measure of each image at each threshold t = 0..255, where a pixel is foreground if its level is at least t.

    Fan et al., "Enhanced-alignment Measure for Binary Foreground Map Evaluation", IJCAI 2018, equations 1 to 4: with
    a = G - mean(G) and b = F - mean(F) of truth and map, alignment x = 2ab / (a² + b²), the measure is the mean over
    the pixels of (1 + x)² / 4. Where the truth is empty it is the share of pixels that are background in the map,
    where the truth is all foreground the share of foreground, as in the authors' program. That program divides the
    sum by the pixels less one, the paper and this function by the pixels, so that a perfect map scores 1.

    Args:
        positives, negatives: `(N, 256)` int64 counts of the levels over true defect and true background.

    Returns:
        `(N, 256)` float64, 0..1; NaN in the rows without pixels.
    """
    blocks = range(0, len(positives), BLOCK_ROWS)
    done = [_e_block(positives[i : i + BLOCK_ROWS], negatives[i : i + BLOCK_ROWS]) for i in blocks]
    return np.concatenate([np.zeros((0, 256)), *done])


def _e_block(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    hits, alarms = (counts[:, ::-1].cumsum(axis=1)[:, ::-1] for counts in (positives, negatives))
    true, false = hits[:, :1], alarms[:, :1]
    pixels = true + false
    share = np.maximum(pixels, 1)
    truth_mean, map_mean = true / share, (hits + alarms) / share
    total = np.zeros(hits.shape)
    for counts, truth, said in ((hits, 1, 1), (alarms, 0, 1), (true - hits, 1, 0), (false - alarms, 0, 0)):
        a, b = truth - truth_mean, said - map_mean
        whole = a**2 + b**2
        aligned = np.divide(2 * a * b, whole, out=np.zeros_like(whole), where=whole > 0)
        total += counts * (1 + aligned) ** 2 / 4
    values = np.where(true == 0, 1 - map_mean, np.where(false == 0, map_mean, total / share))
    return np.where(pixels > 0, values, np.nan)


def structure_columns(truth: np.ndarray, defect: np.ndarray, unknown: int) -> tuple[float, float]:
    """`weighted_f_measure` and `structure_measure` of one image, `(NaN, NaN)` where it has unknown pixels.

    Args:
        truth: `(H, W)` uint8 class index.
        defect: `(H, W)` uint8 defect byte.
        unknown: its pixels left out of the counts, as in `ImageTable`.
    """
    if unknown or not truth.size:
        return math.nan, math.nan
    foreground = truth > 0
    return weighted_f_measure(defect, foreground), structure_measure(defect, foreground)


def weighted_f_measure(defect: np.ndarray, truth: np.ndarray, beta_squared: float = 1.0) -> float:
    """Weighted F-measure, (1 + β²) P R / (β² P + R), 0..1; NaN where the truth is empty, for recall is undefined.

    Margolin et al., "How to Evaluate Foreground Maps?", CVPR 2014, equations 9 to 16: the error of a foreground pixel
    is at most the Gaussian mean of the errors around it (a miss beside hits weighs less), that of a background pixel
    counts 2 - 0.5^(d / 5) times at a distance of d pixels from the foreground. With the weighted errors E, TP = sum of
    1 - E over the foreground, FP = sum of E over the background, P = TP / (TP + FP), R = TP / foreground.
    As in the authors' program the Gaussian has σ = 5 in a window of 7 × 7, a background pixel within it lends the
    error of the foreground pixel nearest to it, and beyond the image's edge there is no error.

    Args:
        defect: `(H, W)` uint8.
        truth: `(H, W)` bool.
    """
    area = int(np.count_nonzero(truth))
    if not area:
        return math.nan
    window = window_around(truth | (defect > 0), margin=3)
    defect, truth = defect[window], truth[window]
    error = np.where(truth, 255 - defect, defect) / 255.0
    hits = area - float(_softened(error, truth).sum())
    outside = ~truth
    alarms = float((error * _weights(truth))[outside].sum())
    recall, precision = hits / area, hits / (hits + alarms) if hits > 0 else 0.0
    both = beta_squared * precision + recall
    return (1 + beta_squared) * precision * recall / both if both > 0 else 0.0


def _softened(error: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Errors of the foreground pixels, in rows, each at most the Gaussian mean of the errors around it."""
    from scipy.ndimage import correlate1d, distance_transform_edt

    reach = 3
    near = window_around(truth, margin=reach)
    error, truth = error[near], truth[near]
    nearest = distance_transform_edt(~truth, return_distances=False, return_indices=True)
    smooth = error[nearest[0], nearest[1]]
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * 5.0**2))
    for axis in (0, 1):
        smooth = correlate1d(smooth, kernel / kernel.sum(), axis=axis, mode="constant")
    return np.minimum(error, smooth)[truth]


def _weights(truth: np.ndarray) -> np.ndarray:
    """`(H, W)` float64, 2 - 0.5^(d / 5) at the distance d from the foreground."""
    import cv2

    weights = np.full(truth.shape, 2.0)
    near = window_around(truth, margin=FAR)
    away = cv2.distanceTransform((~truth[near]).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # The square of a distance between pixels is a whole number: rounding it undoes the transform's float32.
    squares = np.minimum(np.rint(away * away).astype(np.intp), FAR**2)
    weights[near] = np.take(_weights_by_square(), squares)
    return weights


@cache
def _weights_by_square() -> np.ndarray:
    return 2 - 0.5 ** (np.sqrt(np.arange(FAR**2 + 1)) / 5)


def structure_measure(defect: np.ndarray, truth: np.ndarray) -> float:
    """S-measure, 0..1: half how alike the objects are, half how alike the four blocks around the centroid are.

    Fan et al., "Structure-measure: A New Way to Evaluate Foreground Maps", ICCV 2017: S = (S_object + S_region) / 2.
    S_object = m O(map over the foreground) + (1 - m) O(1 - map over the background), m the share of foreground,
    O(x) = 2 mean / (mean² + 1 + deviation) with the sample deviation. S_region is the mean of SSIM over the blocks
    into which the centroid of the truth cuts the image, SSIM = 4 mx my cov / ((mx² + my²) (varx + vary)).
    As in the authors' program, whose numbers papers report, blocks weigh by their area (the text says: by the
    foreground in them), a block in which map and truth are both constant counts 1, a negative sum counts 0, and an
    empty truth gives 1 - mean of the map, a full one its mean.

    Args:
        defect: `(H, W)` uint8, not empty.
        truth: `(H, W)` bool.
    """
    area = int(np.count_nonzero(truth))
    if area in (0, truth.size):
        mean = int(defect.sum()) / defect.size / 255
        return mean if area else 1 - mean
    window = window_around(truth)
    held = truth[window]
    row, column = (_centre(np.count_nonzero(held, axis=1 - axis), window[axis].start, area) for axis in (0, 1))
    blocks = []
    for rows in (slice(None, row), slice(row, None)):
        for columns in (slice(None, column), slice(column, None)):
            levels, own = defect[rows, columns], truth[rows, columns]
            foreground = np.bincount(levels[own], minlength=256)
            blocks.append(np.array([np.bincount(levels.ravel(), minlength=256) - foreground, foreground]))
    background, foreground = np.sum(blocks, axis=0)
    share = area / truth.size
    objects = share * _object_likeness(foreground) + (1 - share) * _object_likeness(background[::-1])
    regions = sum(block.sum() / truth.size * _ssim(*block) for block in blocks if block.any())
    return max(0.5 * objects + 0.5 * regions, 0.0)


def _centre(counts: np.ndarray, start: int, area: int) -> int:
    """Rows (or columns) up to and with the centroid's, halves rounded up, from the foreground in each from `start`."""
    weighted = int(counts @ np.arange(start + 1, start + 1 + len(counts)))
    return (2 * weighted + area) // (2 * area)


def _object_likeness(counts: np.ndarray) -> float:
    """O(x) of the levels counted here, `(256,)`, not all 0."""
    pixels, total, squares = (int(counts @ LEVELS**power) for power in (0, 1, 2))
    mean = total / pixels / 255
    variance = (pixels * squares - total**2) / (pixels * (pixels - 1)) if pixels > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + math.sqrt(variance) / 255)


def _ssim(background: np.ndarray, foreground: np.ndarray) -> float:
    """SSIM of a block from its levels over background and foreground; whole numbers, so that 0 is 0."""
    both = background + foreground
    pixels, x, xx = (int(both @ LEVELS**power) for power in (0, 1, 2))
    y, xy = 255 * int(foreground.sum()), 255 * int(foreground @ LEVELS)
    yy = 255 * y
    covariance = pixels * xy - x * y
    variances = (pixels * xx - x * x) + (pixels * yy - y * y)
    means = x * x + y * y
    if x and y and covariance:
        return 4 * x * y * covariance / (means * variances)
    return 0.0 if means * variances else 1.0


def _mean(values: Any) -> float | None:
    if values is None or np.isnan(values).all():
        return None
    return float(np.nanmean(values))
