"""Predicts pictures by overlapping tiles with numpy: the same steps as `tiling`, without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from defectctl.config.schema import InputConfig, PredictConfig
from defectctl.imaging.geometry import Geometry
from defectctl.imaging.tiles import Tile, blend_weights, tile_grid
from defectctl.inference.array_maps import decide, defect_byte, empty_arrays, probabilities, resize_planes
from defectctl.inference.base_runner import RawOutput
from defectctl.inference.detections import FoundBoxes, candidates, choose
from defectctl.inference.maps import Maps
from defectctl.loading.array_input import normalise_array, to_unit_array
from defectctl.loading.input_rules import PAD_LEVEL


def tiled_array_maps(
    pictures: Sequence[np.ndarray],
    config: InputConfig,
    run: Callable[[np.ndarray], RawOutput],
    at_once: int,
    how: PredictConfig,
    pixel_threshold: float | None = None,
) -> list[Maps]:
    """Predict pictures of any size by tiles of the network's input size; see `tiling.tiled_maps`.

    Args:
        run: the network on normalised inputs `(n, C, h, w)` float32.
        at_once: inputs a pass; tiles of several pictures share one.
        how: activation, and overlap of boxes.
    """
    canvases = [_Canvas(picture, config) for picture in pictures]
    tiles = ((canvas, tile) for canvas in canvases for tile in canvas.tiles)
    weights = blend_weights(*config.size)
    while group := list(islice(tiles, at_once)):
        raw = run(normalise_array(np.stack([canvas.cut(tile) for canvas, tile in group]), config))
        for number, (canvas, tile) in enumerate(group):
            if raw.logits is not None:
                planes = resize_planes(np.asarray(raw.logits[number]), *config.size)
                canvas.add_planes(tile, probabilities(planes, how.activation), weights)
            if raw.probabilities is not None:
                canvas.chances.append(float(raw.probabilities[number]))
            if raw.boxes is not None:
                canvas.boxes.append(candidates(raw.boxes[number], canvas.geometry(tile)))
            if tile is canvas.tiles[-1]:
                canvas.finish(how.box_iou, pixel_threshold)
    return [canvas.maps for canvas in canvases if canvas.maps is not None]


@dataclass(slots=True)
class _Canvas:
    """One picture while its tiles come in; its sums are there from its first tile to its last."""

    picture: np.ndarray
    config: InputConfig
    tiles: list[Tile] = field(init=False)
    chances: list[float] = field(default_factory=list)
    boxes: list[FoundBoxes] = field(default_factory=list)
    maps: Maps | None = None
    _sums: np.ndarray | None = None
    _weight: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.tiles = tile_grid(*self._padded_size, *self.config.size, self.config.overlap)

    @property
    def _padded_size(self) -> tuple[int, int]:
        height, width = self.picture.shape[:2]
        return max(height, self.config.size[0]), max(width, self.config.size[1])

    def geometry(self, tile: Tile) -> Geometry:
        """Which part of the picture the tile shows, and where."""
        height, width = self.picture.shape[:2]
        return Geometry.tile(width, height, *self.config.size, tile.top, tile.left)

    def cut(self, tile: Tile) -> np.ndarray:
        """The tile `(C, h, w)` float32 in 0..1; a picture smaller than a tile is padded around its centre."""
        where = self.geometry(tile)
        part = to_unit_array(self.picture[where.seen])
        planes = part[None] if part.ndim == 2 else part.transpose(2, 0, 1)
        tall = np.full((len(planes), *self.config.size), PAD_LEVEL, np.float32)
        tall[(slice(None), *where.inside)] = planes
        return tall

    def add_planes(self, tile: Tile, planes: np.ndarray, weights: np.ndarray) -> None:
        """Add what a tile's probabilities `(1 + classes, h, w)` say of the picture's pixels, weighted."""
        if self._sums is None or self._weight is None:
            self._sums = np.zeros((len(planes), *self.picture.shape[:2]), np.float32)
            self._weight = np.zeros(self.picture.shape[:2], np.float32)
        where = self.geometry(tile)
        inside, seen = where.inside, where.seen
        self._sums[(slice(None), *seen)] += planes[(slice(None), *inside)] * weights[inside]
        self._weight[seen] += weights[inside]

    def finish(self, overlap: float, pixel_threshold: float | None) -> None:
        """Decide, and let go of the sums."""
        if self._sums is None or self._weight is None:
            self.maps = empty_arrays(*self.picture.shape[:2])
        else:
            defect = defect_byte(self._sums[0] / self._weight)
            self.maps = Maps(decide(self._sums, defect, pixel_threshold), defect)
        if self.chances:
            self.maps.probability = max(self.chances)
        if self.boxes:
            self.maps.boxes = choose(self.boxes, overlap)
        self._sums = self._weight = None
