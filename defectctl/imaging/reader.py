"""The one image reader of every command: file bytes to RGB or grey pixels, upright, on full scale."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile

from defectctl.errors import InputError
from defectctl.imaging import tiff_header
from defectctl.imaging.headers import Header, ImageError, png_pixels_only, read_header
from defectctl.imaging.limits import MAX_MPX
from defectctl.imaging.pixel_rule import PixelRule

__all__ = [
    "ImageError",
    "ImageInfo",
    "decode_image",
    "decode_stored",
    "inspect_image",
    "inspect_pixels",
    "read_image",
    "turn_upright",
]

# What OpenCV has to say about a broken file goes into the ImageError, not onto the user's screen as C++ log lines.
if hasattr(cv2, "setLogLevel"):
    cv2.setLogLevel(0)  # OpenCV 4
else:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # OpenCV 5

_STORED = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION
_LUMA = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
_PLAIN_RULE = PixelRule()
_FILLED_IN = 128
"""What libjpeg puts where data is missing: the middle of the range, in luma and both chroma channels."""
COLOURS = ("rgb", "grey")


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What a readable image file holds.

    Attributes:
        width, height: pixels after EXIF orientation.
        bits: bits of one stored sample (of the index in palette files).
        channels: stored channels including alpha; 1 for palettes.
        palette, alpha: whether colours are looked up, whether there is transparency (dropped).
        turned: whether the EXIF orientation turns or mirrors the stored pixels.
        maximum: largest value over all pixels and colours, in the file's own 8 or 16-bit scale.
    """

    width: int
    height: int
    bits: int
    channels: int
    palette: bool
    alpha: bool
    turned: bool
    maximum: int


def read_image(path: Path, colour: str = "rgb", rule: PixelRule = _PLAIN_RULE) -> NDArray:
    """Read an image file, whatever alphabet its path is written in; see `decode_image`.

    Raises:
        ImageError: the file is missing, unreadable or broken.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(error.strerror or str(error), str(path)) from error
    return decode_image(data, colour, rule, str(path))


def decode_image(
    data: bytes, colour: str = "rgb", rule: PixelRule = _PLAIN_RULE, name: str = "", max_mpx: float = MAX_MPX
) -> NDArray:
    """Turn the bytes of an image file into pixels.

    Palettes are looked up, alpha is dropped, 1-bit pictures become 0/255, the EXIF orientation is applied once,
    16-bit files are stretched to 0..65535 by `rule`.

    Args:
        data: the whole file.
        colour: "rgb" or "grey" (ITU-R BT.601 luma).
        rule: which stored range of a 16-bit file is full scale.
        name: how errors call the file.
        max_mpx: larger images, in million pixels, are refused before they are decoded.

    Returns:
        `(H, W, 3)` RGB or `(H, W)` grey, C-contiguous; uint8, or uint16 for files of more than 8 bits.

    Raises:
        ImageError: empty, no image, cut off, damaged, too large, or with floating-point pixels.
    """
    if colour not in COLOURS:
        raise ValueError(f"colour must be one of {COLOURS}, not {colour!r}")
    header, pixels = _decode(data, name, colour == "grey", max_mpx)
    pixels = _to_grey(pixels) if colour == "grey" else _to_rgb(pixels)
    if pixels.dtype == np.uint16:
        pixels = _stretch(pixels, rule)
    return turn_upright(pixels, header.orientation)


def inspect_image(data: bytes, name: str = "") -> ImageInfo:
    """Decode an image wholly, to be sure that it can be, and say what it holds.

    Raises:
        ImageError: as `decode_image`.
    """
    return inspect_pixels(data, name)[0]


def inspect_pixels(data: bytes, name: str = "") -> tuple[ImageInfo, NDArray]:
    """What `inspect_image` and `decode_stored` return, for one decoding.

    Raises:
        ImageError: as `decode_image`.
    """
    header, pixels = _decode(data, name)
    width, height = header.upright_size
    info = ImageInfo(
        width,
        height,
        header.bits,
        header.channels,
        header.palette,
        header.alpha,
        header.orientation != 1,
        int(pixels.max()),
    )
    return info, turn_upright(pixels if pixels.ndim == 2 else _to_rgb(pixels), header.orientation)


def decode_stored(data: bytes, name: str = "") -> NDArray:
    """Decode without pixel rule or colour choice: `(H, W)` grey or `(H, W, 3)` RGB, upright, uint8 or uint16.

    Raises:
        ImageError: as `decode_image`.
    """
    header, pixels = _decode(data, name)
    return turn_upright(pixels if pixels.ndim == 2 else _to_rgb(pixels), header.orientation)


def turn_upright(pixels: NDArray, orientation: int) -> NDArray:
    """Apply an EXIF orientation (1..8, EXIF 2.32 section 4.6.4) to `(H, W)` or `(H, W, C)` pixels."""
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _decode(data: bytes, name: str, luma: bool = False, max_mpx: float = MAX_MPX) -> tuple[Header, NDArray]:
    """Header and stored pixels: grey `(H, W)` or BGR `(H, W, 3)`, not yet turned."""
    try:
        header = read_header(data)
        _refuse_giant(header, max_mpx)
        # Of a JPEG the luma alone is cheaper; other kinds go through one conversion for every bit depth.
        pixels = _opencv(_bare(data, header), _LUMA if luma and header.kind == "JPEG" else _STORED)
        _check(pixels, header)
        if header.kind == "JPEG" and (pixels[-4:, -4:] == _FILLED_IN).all():
            _refuse_gap(data)
    except ImageError as error:
        raise ImageError(error.reason, name) from error
    return header, cv2.bitwise_not(pixels) if header.negative else pixels


def _refuse_giant(header: Header, max_mpx: float) -> None:
    mpx = header.width * header.height / 1e6
    if mpx > max_mpx:
        size = f"{header.width}x{header.height} pixels ({mpx:.4g} Mpx)"
        raise ImageError(f"it has {size}, more than the limit of {max_mpx:g} Mpx (predict --max-mpx raises it)")


def _bare(data: bytes, header: Header) -> bytes:
    """The file without what would change its pixels in some versions of OpenCV, or make its codecs print warnings.

    Of a PNG only the chunks that carry pixels stay. A TIFF loses its orientation (OpenCV turns these whatever its
    flags say), its 0-is-white (inverted for 8 bits, not for 16), and the mark by which colours are multiplied with
    alpha; the first two are done here instead.
    """
    if header.kind == "PNG":
        return png_pixels_only(data)
    if header.kind == "TIFF" and (header.orientation != 1 or header.negative or header.alpha):
        changes = {tiff_header.ORIENTATION: 1, tiff_header.EXTRA_SAMPLES: 1}
        return tiff_header.with_values(data, changes | ({tiff_header.PHOTOMETRIC: 1} if header.negative else {}))
    return data


def _refuse_gap(data: bytes) -> None:
    """Raise where libjpeg ran out of data before the end marker and filled the rest of the picture with grey 128.

    A picture may end in that very grey. To tell, more data is put before the end marker: a complete picture does not
    take it, one with a gap changes. Pillow decodes here because OpenCV lets libjpeg print about it; its own limit of
    size is passed by, since ours was kept.
    """
    end = data.rfind(b"\xff\xd9")
    try:
        with (
            JpegImageFile(io.BytesIO(data)) as stored,
            JpegImageFile(io.BytesIO(data[:end] + bytes(range(1, 255)) * 8 + data[end:])) as longer,
        ):
            same = stored.tobytes() == longer.tobytes()
    except OSError as error:
        raise ImageError(f"the file is damaged ({error})") from error
    if not same:
        raise ImageError("the file is damaged (data is missing inside)")


def _opencv(data: bytes, flags: int) -> NDArray:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"the decoder refuses it ({error.err or error.func})") from error
    if pixels is None:
        raise ImageError("the file is damaged or of a variant that cannot be decoded")
    return pixels


def _check(pixels: NDArray, header: Header) -> None:
    if pixels.shape[:2] != (header.height, header.width):
        found = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise ImageError(f"it decodes to {found} pixels but its header says {header.width}x{header.height}")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"its pixels are {pixels.dtype}; save it with 8 or 16-bit unsigned pixels")


def _to_rgb(pixels: NDArray) -> NDArray:
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB if pixels.ndim == 2 else cv2.COLOR_BGR2RGB)


def _to_grey(pixels: NDArray) -> NDArray:
    return pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)


def _stretch(pixels: NDArray[np.uint16], rule: PixelRule) -> NDArray[np.uint16]:
    return pixels if rule == _PLAIN_RULE else _stretch_table(rule)[pixels]


@lru_cache(maxsize=16)
def _stretch_table(rule: PixelRule) -> NDArray[np.uint16]:
    """Stored value -> full-scale value, 65536 entries."""
    if rule.white16 <= rule.black16:
        raise InputError(f"pixel rule: white16 ({rule.white16}) must be greater than black16 ({rule.black16})")
    scaled = (np.arange(65536, dtype=np.float64) - rule.black16) * (65535 / (rule.white16 - rule.black16))
    return np.clip(np.rint(scaled), 0, 65535).astype(np.uint16)
