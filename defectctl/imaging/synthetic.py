"""Makes pictures of steel surfaces with defects whose every pixel is known, for the demo, tests and benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from defectctl.fileio import write_bytes
from defectctl.imaging.masks import encode_mask
from defectctl.imaging.palette import class_colours

DEFAULT_CLASSES = ("inclusion", "patches", "scratches")
SMALLEST_SIDE = 16
"""Pixels below which a defect has no room."""

_GOLDEN_RATIO = 0.618033988749895
_TRIES = 20
"""Places tried for one defect before the picture is full."""


@dataclass(frozen=True, slots=True)
class SyntheticSurface:
    """A source of pictures: rolled steel under uneven light, one defect class a shape of its own.

    Light and steel vary more between and across pictures than a defect stands out from its surroundings, and
    defects are darker or lighter than these, so no global grey threshold finds them; their outlines do.

    Attributes:
        seed: another seed is another set of pictures.
        size: `(height, width)` in pixels, at least 16 each.
        classes: names; class `c` is the `c`-th, shapes repeat in larger and larger form from the fourth on.
        good_share: share of pictures without any defect, 0..1, kept to evenly as the index counts up.
        grey16: 16-bit instead of 8-bit pictures, with grey levels between the 8-bit ones.
    """

    seed: int = 0
    size: tuple[int, int] = (200, 200)
    classes: Sequence[str] = DEFAULT_CLASSES
    good_share: float = 0.2
    grey16: bool = False

    def __post_init__(self) -> None:
        if min(self.size) < SMALLEST_SIDE:
            raise ValueError(f"size {self.size} is under {SMALLEST_SIDE} pixels")
        if not 1 <= len(self.classes) <= 254:
            raise ValueError(f"{len(self.classes)} classes; 1 to 254 fit into a mask")

    def sample(self, index: int) -> tuple[NDArray, NDArray[np.uint8]]:
        """Picture `index` and its truth, both `(H, W)`; the same for the same index and settings.

        Returns:
            `(image, mask)`: image uint8 (uint16 with `grey16`), mask uint8 with 0 background and 1..K classes.
        """
        rng = np.random.default_rng([self.seed, index])
        levels = _steel(rng, self.size)
        mask = np.zeros(self.size, np.uint8)
        if not self.is_good(index):
            self._add_defects(rng, index, levels, mask)
        return self._stored(levels), mask

    def clean(self, index: int) -> NDArray:
        """Picture `index` as it would be without its defects: differs from `sample` on the mask and nowhere else."""
        return self._stored(_steel(np.random.default_rng([self.seed, index]), self.size))

    def is_good(self, index: int) -> bool:
        """Whether picture `index` shows a good part."""
        return (index * _GOLDEN_RATIO + self.seed * 0.37) % 1.0 < self.good_share

    def _stored(self, levels: NDArray[np.float32]) -> NDArray:
        return np.rint(levels * 257).astype(np.uint16) if self.grey16 else np.rint(levels).astype(np.uint8)

    def _add_defects(
        self, rng: np.random.Generator, index: int, levels: NDArray[np.float32], mask: NDArray[np.uint8]
    ) -> None:
        """Draw one to three defects; the first one's class goes round so that every class comes equally often."""
        labels = [index % len(self.classes), *rng.integers(len(self.classes), size=rng.integers(0, 3))]
        for label in labels:
            shape, lighter_share = _SHAPES[label % len(_SHAPES)]
            scale = min(self.size) / 200 * (1 + 0.5 * (label // len(_SHAPES) % 4))
            for _ in range(_TRIES):
                region = shape(rng, self.size, scale)
                if region.any() and not cv2.dilate(region.view(np.uint8), np.ones((5, 5), np.uint8))[mask > 0].any():
                    _shade(rng, levels, region, lighter=rng.random() < lighter_share)
                    mask[region] = label + 1
                    break


def make_sample(
    index: int,
    seed: int = 0,
    size: tuple[int, int] = (200, 200),
    classes: Sequence[str] = DEFAULT_CLASSES,
    good_share: float = 0.2,
    grey16: bool = False,
) -> tuple[NDArray, NDArray[np.uint8]]:
    """One picture and its truth: `SyntheticSurface(seed, size, …).sample(index)`."""
    return SyntheticSurface(seed, size, classes, good_share, grey16).sample(index)


def write_raw_folder(
    root: Path,
    count: int,
    seed: int = 0,
    size: tuple[int, int] = (200, 200),
    classes: Sequence[str] = DEFAULT_CLASSES,
    good_share: float = 0.2,
    grey16: bool = False,
) -> None:
    """Write `count` pictures as a raw folder of paired pixel masks: `images/0000.png` and `masks/0000.png`.

    A mask's pixel value is the class index; good parts have an empty mask.
    """
    surface = SyntheticSurface(seed, size, classes, good_share, grey16)
    colours = class_colours(len(classes))
    for index in range(count):
        image, mask = surface.sample(index)
        write_bytes(root / "images" / f"{index:04d}.png", cv2.imencode(".png", image)[1].tobytes())
        write_bytes(root / "masks" / f"{index:04d}.png", encode_mask(mask, colours))


def _smooth_noise(
    rng: np.random.Generator, size: tuple[int, int], sigma_y: float, sigma_x: float
) -> NDArray[np.float32]:
    """Gaussian noise blurred by `sigma` pixels, brought back to mean 0 and standard deviation 1."""
    noise = rng.standard_normal(size, dtype=np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), sigmaX=sigma_x, sigmaY=sigma_y, borderType=cv2.BORDER_REFLECT)
    return (noise - noise.mean()) / max(float(noise.std()), 1e-6)


def _steel(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """Grey levels 55..200 of a flawless surface: uneven light, rolling streaks, mottling, grain."""
    height, width = size
    y, x = np.meshgrid(
        np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32), indexing="ij"
    )
    angle = rng.uniform(0, 2 * np.pi)
    light = rng.uniform(80, 170) + rng.uniform(10, 38) * (np.cos(angle) * x + np.sin(angle) * y)
    light -= rng.uniform(0, 22) * ((x - rng.uniform(-0.5, 0.5)) ** 2 + (y - rng.uniform(-0.5, 0.5)) ** 2)
    scale = min(size) / 200
    streaks = rng.uniform(1.5, 4) * _smooth_noise(rng, size, 0.8, max(20 * scale, 2))
    mottling = rng.uniform(2, 5) * _smooth_noise(rng, size, max(14 * scale, 2), max(14 * scale, 2))
    grain = rng.uniform(2, 4) * _smooth_noise(rng, size, 0.6, 0.6)
    return np.clip(light + streaks + mottling + grain, 55, 200).astype(np.float32)


def _shade(rng: np.random.Generator, levels: NDArray[np.float32], region: NDArray[np.bool_], lighter: bool) -> None:
    """Shift the grey levels of `region` by 11 to 50, less at its rim, in the texture of scale or bare metal."""
    contrast = rng.uniform(32, 50) * (1 if lighter else -1)
    depth = cv2.distanceTransform(np.pad(region.view(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    rim = np.clip(0.55 + 0.25 * depth, 0, 1)
    texture = np.clip(1 - 0.15 * np.abs(_smooth_noise(rng, levels.shape, 1.2, 1.2)), 0.6, 1)
    levels[region] += (contrast * rim * texture)[region]


def _inclusion(rng: np.random.Generator, size: tuple[int, int], scale: float) -> NDArray[np.bool_]:
    """A string of one to four slim beads, pressed in along one direction."""
    height, width = size
    canvas = np.zeros(size, np.uint8)
    direction = rng.normal(90, 15)
    step = np.array([np.cos(np.radians(direction)), np.sin(np.radians(direction))])
    centre = rng.uniform(0.2, 0.8, 2) * (width, height)
    for _ in range(rng.integers(1, 5)):
        axes = (max(2, round(rng.uniform(11, 24) * scale)), max(1, round(rng.uniform(5, 9) * scale)))
        middle = tuple(np.rint(centre).astype(int).tolist())
        cv2.ellipse(canvas, middle, axes, direction + rng.normal(0, 6), 0, 360, 1, -1)
        centre = centre + step * axes[0] * rng.uniform(1.2, 1.9)
    return canvas.astype(bool)


def _patch(rng: np.random.Generator, size: tuple[int, int], scale: float) -> NDArray[np.bool_]:
    """A large island with a ragged coast: where smooth noise outweighs the distance from a centre."""
    height, width = size
    y, x = np.ogrid[:height, :width]
    centre_y, centre_x = rng.uniform(0.15, 0.85, 2) * (height, width)
    radius_y, radius_x = np.maximum(rng.uniform(18, 42, 2) * scale, 2)
    distance = np.sqrt(((y - centre_y) / radius_y) ** 2 + ((x - centre_x) / radius_x) ** 2)
    sigma = max(6 * scale, 1)
    island = (distance + 0.22 * _smooth_noise(rng, size, sigma, sigma) < 1) & (distance < 1.6)
    _, marks, stats, _ = cv2.connectedComponentsWithStats(island.astype(np.uint8), connectivity=8)
    return marks == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA]) if len(stats) > 1 else np.zeros(size, bool)


def _scratch(rng: np.random.Generator, size: tuple[int, int], scale: float) -> NDArray[np.bool_]:
    """One to three thin lines side by side, long and slightly bent."""
    height, width = size
    canvas = np.zeros(size, np.uint8)
    angle = rng.uniform(0, np.pi)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    middle = rng.uniform(0.25, 0.75, 2) * (width, height)
    position = np.linspace(-0.5, 0.5, 24)[:, None]
    bend = rng.normal(0, 9) * scale
    for line in range(rng.integers(1, 4)):
        length = rng.uniform(0.45, 0.9) * min(size)
        shift = (line * rng.uniform(10, 18) * scale) * across + along * rng.normal(0, 10) * scale
        bow = (bend + rng.normal(0, 2) * scale) * (1 - 4 * position**2)
        points = middle + shift + along * position * length + across * bow
        thickness = max(2, round(rng.uniform(4, 7) * scale))
        cv2.polylines(canvas, [np.rint(points).astype(np.int32)], False, 1, thickness)
    return canvas.astype(bool)


_SHAPES = ((_inclusion, 0.3), (_patch, 0.5), (_scratch, 0.7))
"""Shape of each class in turn, and how often it is lighter than its surroundings."""
