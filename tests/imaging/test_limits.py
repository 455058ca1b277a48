"""Images that are too large are refused by their header, before memory is asked for."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from defectctl.imaging import limits
from defectctl.imaging.reader import ImageError, decode_image, decode_stored, inspect_image


def bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes whose header promises so many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("read", [decode_image, decode_stored, inspect_image])
def test_more_than_500_megapixels_are_refused_before_they_are_unpacked(read) -> None:
    tracemalloc.start()
    with pytest.raises(ImageError, match=r"25000x20001 pixels \(500 Mpx\), more than the limit of 500 Mpx"):
        read(bomb(25000, 20001))
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    with pytest.raises(ImageError) as refused:
        read(bomb(100, 100))
    assert "limit" not in refused.value.reason, "this one is cut off"


def test_the_limit_is_a_number_of_pixels_that_can_be_raised_and_lowered() -> None:
    data = cv2.imencode(".png", np.zeros((100, 200), np.uint8))[1].tobytes()
    assert decode_image(data, "grey", max_mpx=0.02).shape == (100, 200)
    with pytest.raises(ImageError, match=r"limit of 0\.0199 Mpx"):
        decode_image(data, "grey", max_mpx=0.0199)
    with pytest.raises(ImageError) as refused:
        decode_image(bomb(40000, 40000), max_mpx=2000)
    assert "limit of" not in refused.value.reason


def test_pillows_own_limit_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    grey = np.full((64, 64, 3), 128, np.uint8)  # looks as if data were missing, so Pillow reads it as well
    data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    assert decode_image(data).shape == (64, 64, 3)


def test_opencv_is_told_only_where_its_own_limit_is_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENCV_IO_MAX_IMAGE_PIXELS", raising=False)
    environment: dict[str, str] = {}
    monkeypatch.setattr(limits.os, "environ", environment)
    limits.let_opencv_decode(500)
    assert environment == {}
    limits.let_opencv_decode(2000)
    assert int(environment["OPENCV_IO_MAX_IMAGE_PIXELS"]) >= 2_000_000_000
