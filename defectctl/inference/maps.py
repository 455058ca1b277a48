"""One picture's result in its own pixels, and the way there from mask logits: resize, crop, decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from defectctl.imaging.geometry import Geometry
from defectctl.inference.detections import FoundBoxes, as_array

if TYPE_CHECKING:
    import torch
    from torch import Tensor

UPSAMPLE_VALUES = 1 << 26
"""Logits held at full size at once (256 MB in float32); larger groups are brought back in parts."""


@dataclass(slots=True)
class Maps:
    """One picture's result; maps lie on the runner's device, at the picture's own size: tensors or arrays.

    Attributes:
        class_map: `(H, W)` uint8, class index, 0 background; all 0 where the model delivers no mask.
        defect: `(H, W)` uint8, round(255 * (1 - P(background))); all 0 where the model delivers no mask.
        has_mask: whether the model delivers a mask.
        probability: that the part is defective, 0..1, by the model's decision; None where it has none.
        boxes: the boxes found; None where the model detects none.
    """

    class_map: Tensor | np.ndarray
    defect: Tensor | np.ndarray
    has_mask: bool = True
    probability: float | None = None
    boxes: FoundBoxes | None = None

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """`class_map` and `defect` as arrays in the processor's memory."""
        return as_array(self.class_map), as_array(self.defect)


def empty_maps(height: int, width: int, device: torch.device) -> Maps:
    """The maps of a model that delivers no mask."""
    import torch

    nothing = torch.zeros((height, width), dtype=torch.uint8, device=device)
    return Maps(nothing, nothing, has_mask=False)


def maps_from_logits(
    logits: Tensor, geometries: list[Geometry], activation: str = "softmax", pixel_threshold: float | None = None
) -> list[Maps]:
    """Bring logits `(N, 1 + classes, h, w)` back to each image's own pixels and decide there.

    The order is fixed for every command: bilinear to the network's input size, crop the padding, bilinear to the
    image's own size (both `align_corners=False`), then activation and decision. Images of one geometry go together.

    Args:
        pixel_threshold: as in `decide`.
    """
    found: dict[int, Maps] = {}
    for geometry in dict.fromkeys(geometries):
        members = [i for i, other in enumerate(geometries) if other == geometry]
        values = logits.shape[1] * max(geometry.width * geometry.height, geometry.net_width * geometry.net_height)
        step = max(1, UPSAMPLE_VALUES // values)
        for start in range(0, len(members), step):
            part = members[start : start + step]
            chosen = logits if len(part) == len(geometries) else logits[part]
            full = _to_image(chosen, geometry)
            defects = defect_byte(background(full, activation))
            classes = decide(full, defects, pixel_threshold)
            found.update({i: Maps(classes[n], defects[n]) for n, i in enumerate(part)})
    return [found[i] for i in range(len(geometries))]


def decide(scores: Tensor, defect: Tensor, pixel_threshold: float | None = None) -> Tensor:
    """The class of every pixel, `(..., H, W)` uint8.

    Args:
        scores: `(..., 1 + classes, H, W)`, logits or anything that rises with them, such as probabilities.
        defect: `(..., H, W)` uint8, the defect byte.
        pixel_threshold: P(defect) from which a pixel is a defect, of the most probable defect class, whatever its
            background says; None: the most probable class, background among them.
    """
    if pixel_threshold is None:
        return scores.argmax(dim=-3).byte()
    level = pixel_level(pixel_threshold)
    if scores.shape[-3] == 2:
        return (defect >= level).byte()
    # Indexing `...` keeps a view: the planes of the defect classes are read where they lie.
    classes = scores[..., 1:, :, :].argmax(dim=-3).byte().add_(1)
    return classes.masked_fill_(defect < level, 0)


def pixel_level(pixel_threshold: float) -> int:
    """The defect byte, 1..255, from which a pixel is a defect at a threshold in 0..1.

    Thresholds are stored as level / 255; rounding gives the level back where the division left a rest.
    """
    return max(1, round(pixel_threshold * 255))


def probabilities(logits: Tensor, activation: str) -> Tensor:
    """Logits `(N, 1 + classes, h, w)` to probabilities of the same shape: softmax over dimension 1, or sigmoid."""
    return logits.sigmoid() if activation == "sigmoid" else logits.softmax(dim=1)


def background(logits: Tensor, activation: str) -> Tensor:
    """P(background) `(N, h, w)` alone: what `probabilities` has in its first plane, without the others."""
    if activation == "sigmoid":
        return logits[:, 0].sigmoid()
    return (logits[:, 0] - logits.logsumexp(dim=1)).exp()


def defect_byte(background_probability: Tensor) -> Tensor:
    """round(255 * (1 - P(background))), uint8."""
    return ((1 - background_probability) * 255).round_().clamp_(0, 255).byte()


def resize_logits(logits: Tensor, height: int, width: int) -> Tensor:
    """Bilinear to another size, `align_corners=False`; as it is where it has that size already."""
    if logits.shape[-2:] == (height, width):
        return logits
    from torch.nn import functional

    return functional.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)


def _to_image(logits: Tensor, geometry: Geometry) -> Tensor:
    logits = resize_logits(logits, geometry.net_height, geometry.net_width)
    rows, columns = geometry.inside
    return resize_logits(logits[:, :, rows, columns], geometry.height, geometry.width)
