"""Decoded pictures to the network's input tensor, batched on the device: scale to 0..1, resize, pad, normalise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from defectctl.config.schema import InputConfig
from defectctl.dataset.types import UNKNOWN
from defectctl.imaging.geometry import Geometry
from defectctl.loading.input_rules import PAD_LEVEL, fit_picture, full_scale, normalisation

RESIZE_VALUES = 1 << 26
"""Values of original pictures held in float32 at once (256 MB); more are brought to the input's size in parts."""


def to_network(
    pictures: Sequence[np.ndarray], config: InputConfig, device: torch.device
) -> tuple[Tensor, list[Geometry]]:
    """Make the input batch for a network.

    Args:
        pictures: `(H, W, 3)` or `(H, W)` arrays, uint8 or full-scale uint16, any mixture of sizes.
        config: the preset's `input`. In mode `tile` the pictures are tiles, no larger than the input, cut by the
            caller; they are padded and never resized.
        device: where to compute.

    Returns:
        `(N, C, H, W)` float32, normalised, channels-last in memory, and one Geometry an image.
    """
    images, geometries = to_unit(pictures, config, device)
    return normalise(images, config), geometries


def to_unit(
    pictures: Sequence[np.ndarray],
    config: InputConfig,
    device: torch.device,
    geometries: Sequence[Geometry] | None = None,
) -> tuple[Tensor, list[Geometry]]:
    """As `to_network`, with values still in 0..1 (augmentation works on these).

    Args:
        geometries: of the images that the pictures are parts of, where the caller has cut them; None: the pictures
            are the images.
    """
    height, width = config.size
    geometries = [fit_picture(p, config) for p in pictures] if geometries is None else list(geometries)
    channels = 1 if config.colour == "grey" else 3
    batch = torch.full((len(pictures), channels, height, width), PAD_LEVEL, device=device).contiguous(
        memory_format=torch.channels_last
    )
    for rows in _same_kind(pictures):
        stacked = torch.from_numpy(np.stack([pictures[i] for i in rows])).to(device, non_blocking=True)
        images = stacked.float().div_(full_scale(pictures[rows[0]]))
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
        where = geometries[rows[0]]
        images = _resize(images, where.inner_height, where.inner_width)
        batch[(rows, slice(None), *where.inside)] = images
    return batch, geometries


def normalise(images: Tensor, config: InputConfig) -> Tensor:
    """Values 0..1 to what the network was built for: `zero-one` as they are, `imagenet` mean 0 and deviation 1."""
    if config.normalise == "zero-one":
        return images
    channels = images.shape[1]
    mean, std = normalisation(channels)
    shape = (1, channels, 1, 1)
    return (images - images.new_tensor(mean).view(shape)) / images.new_tensor(std).view(shape)


def masks_to_network(
    masks: Sequence[np.ndarray | None], geometries: Sequence[Geometry], device: torch.device
) -> Tensor:
    """Masks to the network's input size by nearest neighbour.

    Args:
        masks: `(H, W)` uint8 of the picture's own size (an image's, or a crop's); None where nothing is known.

    Returns:
        `(N, H, W)` uint8; padding and images without a mask are 255, unknown.
    """
    height, width = geometries[0].net_height, geometries[0].net_width
    batch = torch.full((len(masks), height, width), UNKNOWN, dtype=torch.uint8, device=device)
    for row, (mask, where) in enumerate(zip(masks, geometries, strict=True)):
        if mask is None:
            continue
        tensor = torch.from_numpy(np.ascontiguousarray(mask)).to(device)[None, None]
        if tensor.shape[2:] != (where.inner_height, where.inner_width):
            tensor = F.interpolate(tensor, (where.inner_height, where.inner_width), mode="nearest-exact")
        batch[(row, *where.inside)] = tensor[0, 0]
    return batch


def _same_kind(pictures: Sequence[np.ndarray]) -> list[list[int]]:
    """Indices of pictures that share shape and dtype, as many as memory bears: copied and resized in one go."""
    groups: dict[tuple[tuple[int, ...], np.dtype], list[int]] = {}
    for index, picture in enumerate(pictures):
        groups.setdefault((picture.shape, picture.dtype), []).append(index)
    parts: list[list[int]] = []
    for members in groups.values():
        step = max(1, RESIZE_VALUES // pictures[members[0]].size)
        parts += [members[start : start + step] for start in range(0, len(members), step)]
    return parts


def _resize(images: Tensor, height: int, width: int) -> Tensor:
    if images.shape[2:] == (height, width):
        return images
    # Antialiasing only where pixels are thrown away; when enlarging it changes nothing and costs time.
    shrinks = height < images.shape[2] or width < images.shape[3]
    return F.interpolate(images, (height, width), mode="bilinear", align_corners=False, antialias=shrinks)
