"""How large an image may be before it is refused instead of decoded."""

from __future__ import annotations

import os

MAX_MPX = 500.0
"""Million pixels of the largest image that is decoded: a file of kilobytes can unpack to more memory than there is."""

_OPENCV_MPX = 1 << 10
"""OpenCV itself stops at 2 ** 30 pixels, unless its environment says otherwise when it is loaded."""


def let_opencv_decode(max_mpx: float) -> None:
    """Raise OpenCV's own limit where `max_mpx` lies above it; to be called before OpenCV is imported."""
    if max_mpx > _OPENCV_MPX:
        os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(int(max_mpx * 1e6) + 1))
