"""Looks into an image file's own structure: kind, size, depth, EXIF turn, and whether the file is whole."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from defectctl.errors import InputError
from defectctl.imaging import tiff_header
from defectctl.imaging.tiff_header import orientation_of


class ImageError(InputError):
    """An image file cannot be used; `reason` says why without naming the file."""

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(f"image '{name}' cannot be read: {reason}" if name else f"image cannot be read: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself; sizes as stored, before the EXIF turn.

    Attributes:
        kind: "JPEG", "PNG", "BMP", "TIFF", "WebP", "PNM" or "JPEG 2000".
        width, height: stored pixels.
        bits: bits of one stored sample (of the index in palette files).
        channels: stored channels including alpha, 1 for palettes.
        palette, alpha: whether colours are looked up, whether there is transparency.
        orientation: EXIF orientation, 1..8.
        negative: whether 0 is white (TIFF, WhiteIsZero).
    """

    kind: str
    width: int
    height: int
    bits: int
    channels: int
    palette: bool = False
    alpha: bool = False
    orientation: int = 1
    negative: bool = False

    @property
    def upright_size(self) -> tuple[int, int]:
        """`(width, height)` after the EXIF turn."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def read_header(data: bytes) -> Header:
    """Parse the header of an image file and check that the file reaches its own end.

    Raises:
        ImageError: empty, of no known kind, cut off, damaged, or with samples that are no 1 to 16-bit integers.
    """
    if not data:
        raise ImageError("the file is empty")
    for signature, parse in _PARSERS:
        if data.startswith(signature):
            try:
                header = parse(data)
            except (struct.error, IndexError) as error:
                raise ImageError("the file is cut off in its header") from error
            if header.width < 1 or header.height < 1:
                raise ImageError(f"its header gives the size {header.width}x{header.height}")
            return header
    raise ImageError("the content is no image (JPEG, PNG, BMP, TIFF, WebP, PNM, JPEG 2000), whatever the name says")


_CUT_OFF = "the file is cut off (its end is missing)"


def _jpeg(data: bytes) -> Header:
    """ITU-T T.81, annex B: walk the marker segments up to the first scan, then look for the end-of-image marker."""
    position, orientation, frame = 2, 1, None
    while True:
        while data[position] != 0xFF:
            position += 1
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        body = position + 4
        if marker == 0xE1 and data[body : body + 6] == b"Exif\0\0":
            orientation = orientation_of(memoryview(data)[body + 6 : position + 2 + length])
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = struct.unpack_from(">BHHB", data, body)
        elif marker in (0xDA, 0xD9):
            break
        position += 2 + length
    if frame is None:
        raise ImageError("the JPEG file holds no picture")
    # libjpeg fills what is missing with grey and only warns, so a lost end has to be found here.
    if data.rfind(b"\xff\xd9", position) < 0:
        raise ImageError(_CUT_OFF)
    bits, height, width, channels = frame
    if bits != 8:
        raise ImageError(f"{bits}-bit JPEG is not supported; save it as 16-bit PNG or TIFF")
    return Header("JPEG", width, height, bits, channels, orientation=orientation)


_PNG_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind and body `[start, end)` of each chunk up to IEND (PNG specification, third edition, section 5.3)."""
    position, kind = 8, b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise ImageError(_CUT_OFF)
        length, kind = struct.unpack_from(">I4s", data, position)
        body, position = position + 8, position + 12 + length
        if position > len(data):
            raise ImageError(_CUT_OFF)
        yield kind, body, body + length


def _png(data: bytes) -> Header:
    """PNG: the header, and the checksum of every chunk that carries pixels (libpng would print its complaint)."""
    view = memoryview(data)
    orientation, transparent, pixels = 1, False, False
    for kind, body, end in _png_chunks(data):
        sound = zlib.crc32(view[body - 4 : end]) == struct.unpack_from(">I", data, end)[0]
        if kind in _PNG_PIXEL_CHUNKS and not sound:
            raise ImageError(f"the file is damaged (checksum of PNG chunk {kind.decode('latin-1')})")
        pixels = pixels or kind == b"IDAT"
        transparent = transparent or kind == b"tRNS"
        if kind == b"eXIf" and sound:
            orientation = orientation_of(view[body:end])
    if not pixels:
        raise ImageError("the PNG file holds no picture")
    width, height, bits, colour_type = struct.unpack_from(">IIBB", data, 16)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour_type, 0)
    alpha = transparent or colour_type in (4, 6)
    return Header("PNG", width, height, bits, channels, colour_type == 3, alpha, orientation)


def png_pixels_only(data: bytes) -> bytes:
    """Drop the chunks that carry no pixels (colour profile, text, EXIF): libpng prints warnings about odd ones."""
    chunks = list(_png_chunks(data))
    if all(kind in _PNG_PIXEL_CHUNKS for kind, _, _ in chunks):
        return data
    kept = [data[body - 8 : end + 4] for kind, body, end in chunks if kind in _PNG_PIXEL_CHUNKS]
    return data[:8] + b"".join(kept)


def _bmp(data: bytes) -> Header:
    """Windows bitmap: BITMAPCOREHEADER or BITMAPINFOHEADER and its successors."""
    pixels, size = struct.unpack_from("<II", data, 10)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    height = abs(height)
    # Run-length pictures have no size of their own: what the file says of its whole length has to do.
    needed = pixels + (width * bits + 31) // 32 * 4 * height
    if compression in (1, 2):
        (needed,) = struct.unpack_from("<I", data, 2)
    if len(data) < needed:
        raise ImageError(_CUT_OFF)
    palette = bits <= 8
    return Header("BMP", width, height, min(bits, 8), 1 if palette else max(3, bits // 8), palette, bits == 32)


def _tiff(data: bytes) -> Header:
    """TIFF 6.0: the first directory; all its strips or tiles must lie inside the file."""
    try:
        directory = tiff_header.read_directory(data)
    except tiff_header.TiffError as error:
        raise ImageError(f"the TIFF header is broken ({error})") from error
    offsets = directory.all(tiff_header.STRIP_OFFSETS) or directory.all(tiff_header.TILE_OFFSETS)
    sizes = directory.all(tiff_header.STRIP_BYTES) or directory.all(tiff_header.TILE_BYTES)
    if not offsets:
        raise ImageError("the TIFF file holds no picture")
    if any(offset + size > len(data) for offset, size in zip(offsets, sizes, strict=False)):
        raise ImageError(_CUT_OFF)
    bits = directory.first(tiff_header.BITS, 1)
    channels = directory.first(tiff_header.CHANNELS, 1)
    sample_format = directory.first(tiff_header.SAMPLE_FORMAT, 1)
    if sample_format not in (1, 4) or bits > 16:
        name = {2: "signed integers", 3: "floating-point numbers"}.get(sample_format, "integers")
        raise ImageError(f"its pixels are {bits}-bit {name}; save it with 8 or 16-bit unsigned pixels")
    photometric = directory.first(tiff_header.PHOTOMETRIC, 1)
    colours = {2: 3, 5: 4, 6: 3, 8: 3}.get(photometric, 1)
    orientation = directory.first(tiff_header.ORIENTATION, 1)
    return Header(
        "TIFF",
        directory.first(tiff_header.WIDTH, 0),
        directory.first(tiff_header.HEIGHT, 0),
        bits,
        channels,
        photometric == 3,
        channels > colours,
        orientation if 1 <= orientation <= 8 else 1,
        photometric == 0,
    )


def _webp(data: bytes) -> Header:
    """WebP container specification: RIFF chunks VP8, VP8L, VP8X and EXIF."""
    if data[8:12] != b"WEBP":
        raise ImageError("the content is a RIFF file but no WebP image")
    if struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
        raise ImageError(_CUT_OFF)
    size, alpha, orientation, position = (0, 0), False, 1, 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        body = position + 8
        if kind == b"VP8 ":
            packed = struct.unpack_from("<HH", data, body + 6)
            size = (packed[0] & 0x3FFF, packed[1] & 0x3FFF)
        elif kind == b"VP8L":
            (packed_bits,) = struct.unpack_from("<I", data, body + 1)
            size = ((packed_bits & 0x3FFF) + 1, (packed_bits >> 14 & 0x3FFF) + 1)
            alpha = alpha or bool(packed_bits >> 28 & 1)
        elif kind == b"ALPH":
            alpha = True
        elif kind == b"EXIF":
            exif = memoryview(data)[body : body + length]
            orientation = orientation_of(exif[6:] if bytes(exif[:6]) == b"Exif\0\0" else exif)
        position = body + length + (length & 1)
    return Header("WebP", *size, 8, 4 if alpha else 3, alpha=alpha, orientation=orientation)


def _pnm(data: bytes) -> Header:
    """Netpbm PBM, PGM and PPM, plain (P1 to P3) and raw (P4 to P6)."""
    form = data[1] - ord("0")
    numbers: list[int] = []
    position, wanted = 2, 2 if form in (1, 4) else 3
    while len(numbers) < wanted:
        while data[position : position + 1].isspace():
            position += 1
        if data[position] == ord("#"):
            position = data.index(b"\n", position) if b"\n" in data[position:] else len(data)
            continue
        start = position
        while data[position : position + 1].isdigit():
            position += 1
        if start == position:
            raise ImageError("the Netpbm header is broken")
        numbers.append(int(data[start:position]))
    width, height = numbers[:2]
    bits = 1 if form in (1, 4) else numbers[2].bit_length()
    if bits > 16:
        raise ImageError(f"its pixels have {bits} bits; save it with 8 or 16-bit pixels")
    channels = 3 if form in (3, 6) else 1
    row = (width + 7) // 8 if form == 4 else width * channels * (2 if bits > 8 else 1)
    if form >= 4 and len(data) < position + 1 + row * height:
        raise ImageError(_CUT_OFF)
    return Header("PNM", width, height, bits, channels)


def _jpeg2000(data: bytes) -> Header:
    """ISO/IEC 15444-1, annex A.5.1: the SIZ segment of the codestream, alone or inside a JP2 container."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or data.rfind(b"\xff\xd9", start) < 0:
        raise ImageError(_CUT_OFF)
    right, bottom, left, top = struct.unpack_from(">IIII", data, start + 8)
    (channels,) = struct.unpack_from(">H", data, start + 40)
    bits = (data[start + 42] & 0x7F) + 1
    if bits > 16:
        raise ImageError(f"its pixels have {bits} bits; save it with 8 or 16-bit pixels")
    return Header("JPEG 2000", right - left, bottom - top, bits, channels, alpha=channels in (2, 4))


_PARSERS: tuple[tuple[bytes | tuple[bytes, ...], Callable[[bytes], Header]], ...] = (
    (b"\xff\xd8\xff", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"BM", _bmp),
    ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _tiff),
    (b"RIFF", _webp),
    ((b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"), _pnm),
    ((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"), _jpeg2000),
)
