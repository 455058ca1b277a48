"""Where an image's pixels lie in the network's input, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Geometry:
    """One image's way into the network's input; all sizes in pixels.

    Attributes:
        width, height: the image's own size after EXIF orientation.
        net_width, net_height: the network's input size.
        inner_width, inner_height: size of the resized image, or of the crop, inside the input.
        left, top: where the resized image begins; the rest of the input is padding.
        crop_left, crop_top: where in the image the part begins that the input shows.
        crop_width, crop_height: size of that part; 0 is all from there to the image's far edge.
    """

    width: int
    height: int
    net_width: int
    net_height: int
    inner_width: int
    inner_height: int
    left: int = 0
    top: int = 0
    crop_left: int = 0
    crop_top: int = 0
    crop_width: int = 0
    crop_height: int = 0

    @classmethod
    def fit(cls, width: int, height: int, net_height: int, net_width: int, mode: str = "resize") -> Geometry:
        """Fit a whole image into the network's input.

        Args:
            mode: `resize` keeps the aspect ratio and pads around the centre; `stretch` fills the input.
        """
        if mode == "stretch":
            return cls(width, height, net_width, net_height, net_width, net_height)
        scale = min(net_width / width, net_height / height)
        inner_width = min(net_width, max(1, round(width * scale)))
        inner_height = min(net_height, max(1, round(height * scale)))
        left, top = (net_width - inner_width) // 2, (net_height - inner_height) // 2
        return cls(width, height, net_width, net_height, inner_width, inner_height, left, top)

    @classmethod
    def tile(cls, width: int, height: int, net_height: int, net_width: int, top: int = 0, left: int = 0) -> Geometry:
        """Show the part of the image that begins at (`top`, `left`) at its own resolution.

        The part ends at the image's edge where the input is larger; it is then padded around the centre.
        """
        inner_width, inner_height = min(net_width, width - left), min(net_height, height - top)
        return cls(
            width,
            height,
            net_width,
            net_height,
            inner_width,
            inner_height,
            (net_width - inner_width) // 2,
            (net_height - inner_height) // 2,
            left,
            top,
            inner_width,
            inner_height,
        )

    @property
    def scale_x(self) -> float:
        """Network pixels per image pixel, horizontally."""
        return self.inner_width / self._seen_width

    @property
    def scale_y(self) -> float:
        """Network pixels per image pixel, vertically."""
        return self.inner_height / self._seen_height

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the network's input that hold the image."""
        return slice(self.top, self.top + self.inner_height), slice(self.left, self.left + self.inner_width)

    @property
    def seen(self) -> tuple[slice, slice]:
        """Rows and columns of the image that the input shows."""
        rows = slice(self.crop_top, self.crop_top + self._seen_height)
        return rows, slice(self.crop_left, self.crop_left + self._seen_width)

    def to_network(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Box `xyxy` from image pixels to network pixels; what the input does not show lies outside it."""
        x1, y1, x2, y2 = box
        return (
            (x1 - self.crop_left) * self.scale_x + self.left,
            (y1 - self.crop_top) * self.scale_y + self.top,
            (x2 - self.crop_left) * self.scale_x + self.left,
            (y2 - self.crop_top) * self.scale_y + self.top,
        )

    def to_image(self, boxes: ArrayLike) -> NDArray[np.float32]:
        """Boxes `(..., 4)` `xyxy` from network to image pixels, clipped to the part of the image the input shows."""
        rows, columns = self.seen
        low, high = np.float32([columns.start, rows.start] * 2), np.float32([columns.stop, rows.stop] * 2)
        offset, scale = np.float32([self.left, self.top] * 2), np.float32([self.scale_x, self.scale_y] * 2)
        return np.clip((np.asarray(boxes, np.float32) - offset) / scale + low, low, high)

    @property
    def _seen_width(self) -> int:
        return self.crop_width or self.width - self.crop_left

    @property
    def _seen_height(self) -> int:
        return self.crop_height or self.height - self.crop_top
