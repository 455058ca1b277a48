"""Predicts pictures at their own resolution: overlapping tiles through the network, blended back without seams.

Where tiles overlap, the weighted mean of their probabilities is taken, not of their logits: logits have no bound, so
that one tile which is very sure at its edge, where it sees no surroundings, would outvote its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from defectctl.config.schema import InputConfig
from defectctl.imaging.geometry import Geometry
from defectctl.imaging.tiles import Tile, blend_weights, tile_grid
from defectctl.inference.base_runner import RawOutput
from defectctl.inference.detections import FoundBoxes, candidates, choose
from defectctl.inference.maps import Maps, decide, defect_byte, empty_maps, probabilities, resize_logits
from defectctl.loading.network_input import PAD_LEVEL, normalise


def tiled_maps(
    pictures: Sequence[np.ndarray],
    config: InputConfig,
    device: torch.device,
    run: Callable[[Tensor], RawOutput],
    at_once: int,
    activation: str = "softmax",
    overlap: float = 0.6,
    pixel_threshold: float | None = None,
) -> list[Maps]:
    """Predict pictures of any size by tiles of the network's input size.

    A picture smaller than a tile is padded around its centre with the grey of `resize` mode; nothing is scaled. A
    part's probability is the largest of its tiles; the boxes of all tiles go through one non-maximum suppression.

    Args:
        pictures: `(H, W)` or `(H, W, 3)`, uint8 or full-scale uint16.
        run: the network on normalised inputs `(n, C, h, w)`.
        at_once: inputs a pass; tiles of several pictures share one.
        overlap: intersection over union above which the lower-scored of two boxes is dropped.
        pixel_threshold: as in `maps.decide`, on the blended probabilities.
    """
    canvases = [_Canvas(picture, config, device) for picture in pictures]
    tiles = ((canvas, tile) for canvas in canvases for tile in canvas.tiles)
    weights = torch.from_numpy(blend_weights(*config.size)).to(device)
    while group := list(islice(tiles, at_once)):
        inputs = torch.stack([canvas.cut(tile) for canvas, tile in group])
        raw = run(normalise(inputs, config).contiguous(memory_format=torch.channels_last))
        planes = None
        if raw.logits is not None:
            planes = probabilities(resize_logits(raw.logits, *config.size), activation)
        for number, (canvas, tile) in enumerate(group):
            if planes is not None:
                canvas.add_planes(tile, planes[number], weights)
            if raw.probabilities is not None:
                canvas.chances.append(raw.probabilities[number])
            if raw.boxes is not None:
                canvas.boxes.append(candidates(raw.boxes[number], canvas.geometry(tile)))
            if tile is canvas.tiles[-1]:
                canvas.finish(overlap, pixel_threshold)
    return [canvas.maps for canvas in canvases if canvas.maps is not None]


@dataclass(slots=True)
class _Canvas:
    """One picture while its tiles come in; its pixels and sums lie on the device from its first tile to its last."""

    picture: np.ndarray
    config: InputConfig
    device: torch.device
    tiles: list[Tile] = field(init=False)
    chances: list[Tensor] = field(default_factory=list)
    boxes: list[FoundBoxes] = field(default_factory=list)
    maps: Maps | None = None
    _pixels: Tensor | None = None
    _sums: Tensor | None = None
    _weight: Tensor | None = None

    def __post_init__(self) -> None:
        self.tiles = tile_grid(*self._padded_size, *self.config.size, self.config.overlap)

    @property
    def _padded_size(self) -> tuple[int, int]:
        height, width = self.picture.shape[:2]
        return max(height, self.config.size[0]), max(width, self.config.size[1])

    @property
    def _margin(self) -> tuple[int, int]:
        """Padding above and left of the picture."""
        (height, width), (tall, wide) = self.picture.shape[:2], self._padded_size
        return (tall - height) // 2, (wide - width) // 2

    def geometry(self, tile: Tile) -> Geometry:
        """Which part of the picture the tile shows, and where."""
        height, width = self.picture.shape[:2]
        return Geometry.tile(width, height, *self.config.size, tile.top, tile.left)

    def cut(self, tile: Tile) -> Tensor:
        """The tile `(C, h, w)` float32 in 0..1."""
        if self._pixels is None:
            self._pixels = self._load()
        height, width = self.config.size
        return self._pixels[:, tile.top : tile.top + height, tile.left : tile.left + width]

    def _load(self) -> Tensor:
        scale = 65535.0 if self.picture.dtype == np.uint16 else 255.0
        pixels = torch.from_numpy(np.ascontiguousarray(self.picture)).to(self.device).float().div_(scale)
        pixels = pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1)
        if pixels.shape[1:] == self._padded_size:
            return pixels
        padded = torch.full((len(pixels), *self._padded_size), PAD_LEVEL, device=self.device)
        padded[(slice(None), *self._inside)] = pixels
        return padded

    @property
    def _inside(self) -> tuple[slice, slice]:
        (height, width), (above, before) = self.picture.shape[:2], self._margin
        return slice(above, above + height), slice(before, before + width)

    def add_planes(self, tile: Tile, planes: Tensor, weights: Tensor) -> None:
        """Add a tile's probabilities `(1 + classes, h, w)`, weighted."""
        if self._sums is None or self._weight is None:
            self._sums = torch.zeros((len(planes), *self._padded_size), device=self.device)
            self._weight = torch.zeros(self._padded_size, device=self.device)
        height, width = self.config.size
        place = (slice(tile.top, tile.top + height), slice(tile.left, tile.left + width))
        self._sums[(slice(None), *place)] += planes * weights
        self._weight[place] += weights

    def finish(self, overlap: float, pixel_threshold: float | None) -> None:
        """Decide, and let go of what lies on the device."""
        if self._sums is None or self._weight is None:
            self.maps = empty_maps(*self.picture.shape[:2], self.device)
        else:
            sums = self._sums[(slice(None), *self._inside)]
            defect = defect_byte(sums[0] / self._weight[self._inside])
            self.maps = Maps(decide(sums, defect, pixel_threshold), defect)
        if self.chances:
            self.maps.probability = float(torch.stack(self.chances).max())
        if self.boxes:
            self.maps.boxes = choose(self.boxes, overlap)
        self._pixels = self._sums = self._weight = None
