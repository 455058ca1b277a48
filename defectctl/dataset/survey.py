"""What a dataset's images and defects look like in numbers: measured image by image, gathered in bounded memory."""

from __future__ import annotations

import hashlib
import heapq
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from defectctl.dataset.types import UNKNOWN, Object
from defectctl.imaging.pixel_rule import PixelRule
from defectctl.imaging.reader import ImageInfo

GRID = 32
"""Cells of a position grid along each side of the image."""

EXAMPLES = 4
"""Example images kept of every class."""

GOOD = 0
"""Under this number, which is background's elsewhere, the good parts' examples stand."""

MASKS, BOXES = "masks", "boxes"
"""Where a defect's size was measured: a connected patch of a mask, or a labelled box."""

SHARE_UNIT = 1 << 30
"""Shares of the image are counted in this many parts."""

_EXACT_BITS = 7
"""Values of up to so many bits are counted one by one, larger ones by their first so many bits (1.6 % apart)."""


@dataclass(slots=True)
class ImageFacts:
    """What was measured on one image.

    Attributes:
        width, height: pixels after EXIF orientation.
        brightness, contrast: mean and standard deviation of the grey levels, 0..255; of images of more than 8 bits as
            stored, 65535 being 255 (see `Survey.levels`).
        kind: what the file holds.
        patches: `(n, 4)` int64: class, area, width, height of each 8-connected patch of the mask, pixels.
        boxes: `(m, 4)` int64: the same of labelled boxes whose class the mask does not speak of, rounded.
        cover: class -> `(GRID, GRID)` float32, share of each cell of the image that the class covers.
    """

    width: int
    height: int
    brightness: float
    contrast: float
    kind: ImageInfo
    patches: NDArray[np.int64]
    boxes: NDArray[np.int64]
    cover: dict[int, NDArray[np.float32]] = field(default_factory=dict)


def measure(
    pixels: NDArray,
    kind: ImageInfo,
    mask: NDArray[np.uint8] | None = None,
    objects: Iterable[Object] = (),
    masked: Collection[int] = (),
) -> ImageFacts:
    """Measure one image while its pixels are at hand.

    Args:
        pixels: `(H, W)` grey or `(H, W, 3)` RGB, uint8 or uint16, upright.
        kind: of the image file.
        mask: `(H, W)` uint8, 0 background, 1..254 classes, 255 unknown; None where it is empty or there is none.
        objects: labelled objects; crowd regions are passed over.
        masked: classes of which the mask speaks; their boxes add nothing.
    """
    brightness, contrast = _grey_levels(pixels)
    height, width = pixels.shape[:2]
    facts = ImageFacts(width, height, brightness, contrast, kind, *(np.empty((0, 4), np.int64) for _ in range(2)))
    if mask is not None:
        facts.patches = _measure_mask(mask, facts.cover)
    boxes = []
    for thing in objects:
        if thing.crowd or thing.label in masked:
            continue
        x1, y1, x2, y2 = thing.box
        boxes.append((thing.label, round((x2 - x1) * (y2 - y1)), round(x2 - x1), round(y2 - y1)))
        inside = np.outer(_overlap(y1, y2, height), _overlap(x1, x2, width)).astype(np.float32)
        facts.cover[thing.label] = np.maximum(facts.cover.get(thing.label, np.float32(0)), inside)
    facts.boxes = np.array(boxes, np.int64).reshape(-1, 4)
    return facts


def _grey_levels(pixels: NDArray) -> tuple[float, float]:
    import cv2

    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels
    mean, deviation = cv2.meanStdDev(grey)
    unit = 257 if pixels.dtype == np.uint16 else 1
    return float(mean[0, 0]) / unit, float(deviation[0, 0]) / unit


def _measure_mask(mask: NDArray[np.uint8], cover: dict[int, NDArray[np.float32]]) -> NDArray[np.int64]:
    """The patches of every class; their cover goes into `cover`.

    `find_components` also numbers patches in a lasting order and maps them. Here neither is needed.
    """
    import cv2

    found = []
    held = cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel()[1:UNKNOWN]  # OpenCV 4 and 5 shape it differently
    for label in (np.flatnonzero(held) + 1).tolist():
        region = (mask == label).view(np.uint8)
        left, top, width, height = cv2.boundingRect(region)
        inside = np.ascontiguousarray(region[top : top + height, left : left + width])
        # Labels of 16 bits take a third of the time; there are never more of them than pixels.
        bits = cv2.CV_16U if cv2.countNonZero(inside) < 65535 else cv2.CV_32S
        stats = cv2.connectedComponentsWithStats(inside, connectivity=8, ltype=bits)[2][1:]
        rows = np.full((len(stats), 4), label, np.int64)
        rows[:, 1:] = stats[:, [cv2.CC_STAT_AREA, cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
        found.append(rows)
        cover[label] = _covered(inside, left, top, mask.shape)
    return np.concatenate(found) if found else np.empty((0, 4), np.int64)


def _covered(inside: NDArray[np.uint8], left: int, top: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Share of each cell of the whole image that a region covers, exact for images of any size.

    The integral image, read between its nodes, is the area left and above of any point.
    """
    import cv2

    height, width = shape
    sums = cv2.integral(inside).astype(np.float64)
    rows = _between(sums, np.linspace(0, height, GRID + 1) - top)
    corners = _between(rows.T, np.linspace(0, width, GRID + 1) - left).T
    cells = np.diff(np.diff(corners, axis=0), axis=1) / (height / GRID * width / GRID)
    return np.clip(cells, 0, 1).astype(np.float32)


def _between(values: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of `values` at fractional places, held at both ends."""
    places = np.clip(places, 0, len(values) - 1)
    low = np.minimum(places.astype(np.intp), len(values) - 2)
    share = (places - low)[:, None]
    return values[low] * (1 - share) + values[low + 1] * share


def _overlap(start: float, end: float, length: int) -> NDArray[np.float64]:
    """Share of each of `GRID` equal pieces of `0..length` that lies between `start` and `end`."""
    edges = np.clip(np.linspace(0, length, GRID + 1), start, end)
    return np.diff(edges) / (length / GRID)


class LogHistogram:
    """Counts of whole numbers from 0 to 2**62, exact up to 127 and 1.6 % wide beyond; memory does not grow with them.

    Attributes:
        total, smallest, largest: of all values added; exact, 0 while there is none.
    """

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.total = self.smallest = self.largest = 0

    def add(self, values: NDArray[np.int64]) -> None:
        """Count `values`, `(n,)` int64, none below 0."""
        if not len(values):
            return
        low, high = int(values.min()), int(values.max())
        self.smallest = min(self.smallest, low) if self.total else low
        self.largest = max(self.largest, high)
        self.total += len(values)
        for value in values.tolist():
            shift = max(value.bit_length() - _EXACT_BITS, 0)
            # How far it was shifted and its leading bits, in one number that rises with the value.
            self.counts[(shift << _EXACT_BITS) + (value >> shift)] += 1

    def bars(self) -> list[tuple[float, int]]:
        """`(value, count)` in rising order; the value is the middle of those counted together."""
        result = []
        for number in sorted(self.counts):
            shift, leading = number >> _EXACT_BITS, number & ((1 << _EXACT_BITS) - 1)
            result.append(((leading << shift) + ((1 << shift) - 1) / 2, self.counts[number]))
        return result

    def quantile(self, share: float) -> float:
        """The smallest value that at least `share` (0..1) of the values do not exceed; 0 where there is none."""
        if share <= 0:
            return self.smallest
        left = share * self.total
        for value, count in self.bars():
            left -= count
            if left <= 0:
                return min(max(value, self.smallest), self.largest)
        return self.largest


@dataclass(slots=True)
class DefectSizes:
    """Sizes of one class's defects.

    Attributes:
        areas: pixels.
        sides: the shorter side of the upright box around each, pixels.
        shares: area over the image's, in `SHARE_UNIT` parts.
    """

    areas: LogHistogram = field(default_factory=LogHistogram)
    sides: LogHistogram = field(default_factory=LogHistogram)
    shares: LogHistogram = field(default_factory=LogHistogram)


class Survey:
    """Gathers `ImageFacts`. Beside an image's id and two numbers, its memory depends on the number of classes alone.

    Brightness and contrast are kept by image because the splits are known only after the last one.

    Attributes:
        images: how many were added.
        sizes: (`MASKS` or `BOXES`, class) -> sizes of its defects.
        cover: `(1 + classes, GRID, GRID)` float64, covered shares of the cells summed over images; [0] holds the sum
            over all classes.
        covering: `(1 + classes,)` int64, images that added to each of them.
        kinds: `(bits, channels, palette, alpha, turned)` -> number of image files.
    """

    def __init__(self, classes: int) -> None:
        self.images = 0
        self.sizes: dict[tuple[str, int], DefectSizes] = {}
        self.cover = np.zeros((1 + classes, GRID, GRID))
        self.covering = np.zeros(1 + classes, np.int64)
        self.kinds: Counter[tuple[int, int, bool, bool, bool]] = Counter()
        self._rows: dict[str, int] = {}
        self._levels = array("f")
        self._deep: set[str] = set()
        self._examples: dict[int, list[tuple[int, str]]] = {}

    def add(self, sample_id: str, facts: ImageFacts, classes: Iterable[int] = (), good: bool = False) -> None:
        """Add one image.

        Args:
            classes: class indices known to be present, by whatever kind of label.
            good: whether the part is known to have no defect.
        """
        self.images += 1
        kind = facts.kind
        self.kinds[kind.bits, kind.channels, kind.palette, kind.alpha, kind.turned] += 1
        self._rows[sample_id] = len(self._levels)
        self._levels.extend((facts.brightness, facts.contrast))
        if kind.bits > 8:
            self._deep.add(sample_id)
        for where, rows in ((MASKS, facts.patches), (BOXES, facts.boxes)):
            self._add_sizes(where, rows, facts.width * facts.height)
        together = np.zeros((GRID, GRID))
        for label, cover in facts.cover.items():
            self.cover[label] += cover
            self.covering[label] += 1
            together += cover
        if facts.cover:
            self.cover[0] += np.minimum(together, 1)  # boxes of several classes may overlap
            self.covering[0] += 1
        for label in (*classes, *((GOOD,) if good else ())):
            self._offer(label, sample_id)

    def examples(self, label: int) -> list[str]:
        """Up to `EXAMPLES` ids of images with a class (`GOOD`: of good parts); a lasting choice in any order."""
        return sorted(sample_id for _, sample_id in self._examples.get(label, ()))

    def levels(self, ids: Sequence[str], rules: dict[str, PixelRule] | None = None) -> NDArray[np.float64]:
        """Brightness and contrast, 0..255, of the images that were added among `ids`: `(n, 2)`.

        Args:
            rules: id -> rule by which images of more than 8 bits become full scale; others are taken as stored.
        """
        levels = []
        for sample_id in ids:
            row = self._rows.get(sample_id)
            if row is None:
                continue
            brightness, contrast = self._levels[row], self._levels[row + 1]
            rule = (rules or {}).get(sample_id) if sample_id in self._deep else None
            if rule is not None:
                stretch = 65535 / (rule.white16 - rule.black16)
                brightness = min(max((brightness - rule.black16 / 257) * stretch, 0.0), 255.0)
                contrast *= stretch
            levels.append((brightness, contrast))
        return np.array(levels, np.float64).reshape(-1, 2)

    def _add_sizes(self, where: str, rows: NDArray[np.int64], pixels: int) -> None:
        for label in sorted(set(rows[:, 0].tolist())):
            sizes = self.sizes.setdefault((where, label), DefectSizes())
            own = rows[rows[:, 0] == label]
            sizes.areas.add(own[:, 1])
            sizes.sides.add(own[:, 2:].min(axis=1))
            sizes.shares.add(np.rint(own[:, 1] * (SHARE_UNIT / pixels)).astype(np.int64))

    def _offer(self, label: int, sample_id: str) -> None:
        """Keep the ids whose hashes are smallest: a fair draw that depends on nothing but the ids."""
        drawn = int.from_bytes(hashlib.sha256(sample_id.encode("utf-8", "replace")).digest()[:8], "big")
        kept = self._examples.setdefault(label, [])
        heapq.heappush(kept, (-drawn, sample_id))
        if len(kept) > EXAMPLES:
            heapq.heappop(kept)
