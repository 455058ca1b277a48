"""Random changes to a training batch, on the device, images, masks and boxes alike.

Every image draws its own parameters from a CPU generator, so that the draws do not depend on the device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from defectctl.dataset.types import UNKNOWN
from defectctl.loading.network_input import PAD_LEVEL


class Augment:
    """The preset's `augment` list, as the schema checked and completed it, ready to apply.

    Turns and mirrors are exact pixel moves. `rotate` and `scale` are applied together as one resampling; the mask
    moves by nearest neighbour. A quarter turn of an input that is not square becomes a half turn. `copy_paste` is left
    out here: it is done where images are loaded.

    Args:
        items: the preset's `augment`.
        reflect: what lies beyond the image's edge after a resampling: its mirror image, or grey of which the mask
            knows nothing. Where boxes are learned it must be grey: a mirrored defect has no box.
    """

    def __init__(self, items: Sequence[dict[str, Any]], reflect: bool = True) -> None:
        self.reflect = reflect
        self.steps: dict[str, dict[str, float]] = {
            name: value if isinstance(value, dict) else {"p": value}
            for item in items
            for name, value in item.items()
            if name != "copy_paste"
        }

    def __call__(
        self, images: Tensor, masks: Tensor, boxes: list[Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Change a batch.

        Args:
            images: `(N, C, H, W)` float in 0..1.
            masks: `(N, H, W)` uint8.
            boxes: per image `(M, 4)` `xyxy` in the same pixels.
            generator: CPU generator that all draws come from.

        Returns:
            The three, changed; boxes may now reach beyond the input, and are on no account fewer.
        """
        if not self.steps:
            return images, masks, boxes
        images, masks, boxes = images.clone(), masks.clone(), list(boxes)
        for row in range(images.shape[0]):
            matrix = self._move(images, masks, row, generator)
            boxes[row] = _move_boxes(boxes[row], matrix)
        return self._photometric(images, generator), masks, boxes

    def _draw(self, name: str, generator: torch.Generator) -> tuple[bool, float]:
        """Whether the step applies to this image, and a number in [0, 1) for it; always two draws."""
        applies, value = torch.rand(2, generator=generator).tolist()
        step = self.steps.get(name)
        return step is not None and applies < step["p"], value

    def _move(self, images: Tensor, masks: Tensor, row: int, generator: torch.Generator) -> Tensor:
        """Mirror, turn and resample one image and its mask in place; return the 3x3 pixel matrix of the move."""
        height, width = images.shape[2:]
        image, mask, matrix = images[row], masks[row], torch.eye(3)
        if self._draw("hflip", generator)[0]:
            image, mask = image.flip(2), mask.flip(1)
            matrix = torch.tensor([[-1.0, 0, width], [0, 1, 0], [0, 0, 1]]) @ matrix
        if self._draw("vflip", generator)[0]:
            image, mask = image.flip(1), mask.flip(0)
            matrix = torch.tensor([[1.0, 0, 0], [0, -1, height], [0, 0, 1]]) @ matrix
        applies, value = self._draw("rot90", generator)
        if applies:
            turns = int(value * 4) if height == width else 2 * int(value * 2)
            image, mask = torch.rot90(image, turns, (1, 2)), torch.rot90(mask, turns, (0, 1))
            matrix = _quarter_turns(turns, height, width) @ matrix
        resample = self._resampling(generator, height, width)
        if resample is not None:
            image, mask = _warp(image, mask, resample, self.reflect)
            matrix = resample @ matrix
        images[row], masks[row] = image, mask
        return matrix

    def _resampling(self, generator: torch.Generator, height: int, width: int) -> Tensor | None:
        rotates, angle = self._draw("rotate", generator)
        scales, zoom = self._draw("scale", generator)
        if not rotates and not scales:
            return None
        radians = math.radians(self.steps["rotate"]["degrees"] * (2 * angle - 1)) if rotates else 0.0
        factor = 1.0
        if scales:
            low, high = self.steps["scale"]["low"], self.steps["scale"]["high"]
            factor = low * (high / low) ** zoom  # even in the logarithm: halving is as likely as doubling
        cos, sin = factor * math.cos(radians), factor * math.sin(radians)
        x, y = width / 2, height / 2
        return torch.tensor([[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y], [0.0, 0, 1]])

    def _photometric(self, images: Tensor, generator: torch.Generator) -> Tensor:
        for row in range(images.shape[0]):
            applies, value = self._draw("brightness", generator)
            if applies:
                images[row] += self.steps["brightness"]["amount"] * (2 * value - 1)
            applies, value = self._draw("contrast", generator)
            if applies:
                mean = images[row].mean()
                images[row] = (images[row] - mean) * (1 + self.steps["contrast"]["amount"] * (2 * value - 1)) + mean
            if self._draw("blur", generator)[0]:
                images[row] = F.avg_pool2d(F.pad(images[row][None], (1, 1, 1, 1), mode="reflect"), 3, 1)[0]
            applies, value = self._draw("noise", generator)
            if applies:
                noise = torch.randn(images.shape[1:], generator=generator).to(images.device)
                images[row] += self.steps["noise"]["amount"] * value * noise
        return images.clamp_(0, 1)


def _quarter_turns(turns: int, height: int, width: int) -> Tensor:
    """The 3x3 pixel matrix of counter-clockwise quarter turns; an odd number is for square inputs only."""
    half = torch.tensor([[-1.0, 0, width], [0, -1, height], [0, 0, 1]])
    quarter = torch.tensor([[0.0, 1, 0], [-1, 0, width], [0, 0, 1]])
    return {0: torch.eye(3), 1: quarter, 2: half, 3: half @ quarter}[turns]


def _warp(image: Tensor, mask: Tensor, matrix: Tensor, reflect: bool) -> tuple[Tensor, Tensor]:
    """Resample by the 3x3 matrix that moves pixel coordinates forward."""
    height, width = mask.shape
    # grid_sample wants the input position of each output position, on axes from -1 to 1: the inverse move between them.
    to_pixels = torch.tensor([[width / 2, 0, width / 2], [0, height / 2, height / 2], [0.0, 0, 1]])
    theta = (torch.linalg.inv(to_pixels) @ torch.linalg.inv(matrix) @ to_pixels)[:2].to(image.device)
    grid = F.affine_grid(theta[None], [1, 1, height, width], align_corners=False)
    edge = "reflection" if reflect else "zeros"
    # Grey and 255 are what padding is made of: shifted to 0, they are what "zeros" puts beyond the edge.
    image = F.grid_sample(image[None] - PAD_LEVEL, grid, mode="bilinear", padding_mode=edge, align_corners=False)[0]
    labels = F.grid_sample(
        UNKNOWN - mask[None, None].float(), grid, mode="nearest", padding_mode=edge, align_corners=False
    )
    return image + PAD_LEVEL, (UNKNOWN - labels[0, 0]).round().clamp(0, UNKNOWN).to(torch.uint8)


def _move_boxes(boxes: Tensor, matrix: Tensor) -> Tensor:
    """Boxes around the moved corners, not clipped."""
    if not len(boxes):
        return boxes
    x1, y1, x2, y2 = boxes.cpu().unbind(1)
    corners = torch.stack([torch.stack([x, y, torch.ones_like(x)], 1) for x in (x1, x2) for y in (y1, y2)], 1)
    moved = corners @ matrix.T
    return torch.cat([moved[..., :2].amin(1), moved[..., :2].amax(1)], 1).to(boxes)
