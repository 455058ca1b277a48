"""The image reader against Pillow, hand-made files and broken ones."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from defectctl.errors import InputError
from defectctl.imaging.pixel_rule import PixelRule
from defectctl.imaging.reader import ImageError, decode_image, decode_stored, inspect_image, read_image

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (10, 12), dtype=np.uint8)
RGB = RNG.integers(0, 256, (10, 12, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (10, 12, 4), dtype=np.uint8)
SMOOTH = np.repeat(np.repeat(RNG.integers(40, 220, (5, 6, 3), dtype=np.uint8), 32, 0), 32, 1)


def saved(image: Image.Image | np.ndarray, kind: str, **options) -> bytes:
    """`image` as a file of `kind`, written by Pillow."""
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(pixels: np.ndarray, order: str = "<", bits: int = 16, sample_format: int = 1, **tags: int) -> bytes:
    """An uncompressed single-strip grey TIFF, written by hand from the TIFF 6.0 specification."""
    raw = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    height, width = pixels.shape
    entries = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: tags.get("photometric", 1),
        273: 8,
        274: tags.get("turn", 1),
        277: 1,
        278: height,
        279: len(raw),
        339: sample_format,
    }
    file = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(raw)) + raw
    file += struct.pack(order + "H", len(entries))
    for tag, value in sorted(entries.items()):
        file += struct.pack(order + "HHII", tag, 4, 1, value)
    return file + b"\0\0\0\0"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {"quality": 95}), ("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})]
)
def test_exif_orientation_is_applied_once_as_pillow_does(kind, options, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    data = saved(SMOOTH, kind, exif=exif, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    found = decode_image(data)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= (3 if kind == "JPEG" else 0)
    info = inspect_image(data)
    assert (info.height, info.width, info.turned) == (*expected.shape[:2], orientation != 1)
    assert decode_image(data, "grey").shape == expected.shape[:2]


def test_exif_orientation_turns_the_pixels_by_hand():
    exif = Image.Exif()
    exif[274] = 6  # "row 0 is the right-hand side": shown after a quarter turn clockwise
    data = saved(np.array([[1, 2, 3], [4, 5, 6]], np.uint8), "PNG", exif=exif)
    assert decode_image(data, "grey").tolist() == [[4, 1], [5, 2], [6, 3]]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_sixteen_bit_tiff_is_turned_once(order, turn):
    pixels = np.arange(120, dtype=np.uint16).reshape(10, 12) * 500
    expected = np.rot90(pixels, {1: 0, 3: 2, 6: -1, 8: 1}[turn])
    assert np.array_equal(decode_image(tiff(pixels, order, turn=turn), "grey"), expected)


def test_twelve_bit_ramp_keeps_all_its_levels():
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    data = cv2.imencode(".png", ramp)[1].tobytes()
    stretched = decode_image(data, "grey", PixelRule(white16=4095))
    assert stretched.dtype == np.uint16
    assert len(np.unique(stretched)) == 4096
    assert (stretched.min(), stretched.max()) == (0, 65535)
    assert np.array_equal(stretched, np.rint(ramp * (65535 / 4095)).astype(np.uint16))
    info = inspect_image(data)
    assert (info.bits, info.channels, info.maximum) == (16, 1, 4095)
    assert np.array_equal(decode_image(data, "grey"), ramp)


def test_rule_clips_outside_its_range_and_leaves_eight_bits_alone():
    pixels = np.array([[0, 100, 150, 200, 65535]], np.uint16)
    data = cv2.imencode(".png", pixels)[1].tobytes()
    assert decode_image(data, "grey", PixelRule(100, 200)).tolist() == [[0, 0, 32768, 65535, 65535]]
    assert np.array_equal(decode_image(saved(GREY, "PNG"), "grey", PixelRule(100, 200)), GREY)
    with pytest.raises(InputError, match="white16"):
        decode_image(data, "grey", PixelRule(200, 200))


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_sixteen_bit_colour_keeps_order_and_drops_alpha(ending):
    pixels = RNG.integers(0, 65536, (10, 12, 4), dtype=np.uint16)
    for stored in (pixels, pixels[..., :3].copy()):
        data = cv2.imencode(ending, stored)[1].tobytes()
        assert np.array_equal(decode_image(data), stored[..., 2::-1])


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("TIFF", {}), ("BMP", {}), ("WEBP", {"lossless": True, "exact": True})]
)
def test_alpha_is_dropped_not_multiplied(kind, options):
    data = saved(RGBA, kind, **options)
    assert np.array_equal(decode_image(data), RGBA[..., :3])
    assert inspect_image(data).alpha


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_with_alpha(kind):
    pixels = RNG.integers(0, 256, (10, 12, 2), dtype=np.uint8)
    assert np.array_equal(decode_image(saved(Image.fromarray(pixels, "LA"), kind), "grey"), pixels[..., 0])


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_palette_is_looked_up(kind):
    image = Image.fromarray(RNG.integers(0, 5, (10, 12), dtype=np.uint8))
    image.putpalette([0, 0, 0, 10, 200, 30, 200, 10, 10, 9, 9, 9, 77, 1, 2])
    data = saved(image, kind)
    assert np.array_equal(decode_image(data), np.asarray(image.convert("RGB")))
    assert inspect_image(data).palette
    if kind == "PNG":
        clear = saved(image, kind, transparency=1)
        assert np.array_equal(decode_image(clear), np.asarray(image.convert("RGB")))
        assert inspect_image(clear).alpha


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_one_bit_becomes_black_and_white(kind):
    image = Image.fromarray(GREY > 128)
    assert np.array_equal(decode_image(saved(image, kind), "grey"), np.where(GREY > 128, 255, 0))
    assert inspect_image(saved(image, kind)).bits == 1


@pytest.mark.parametrize("bits", [8, 16])
def test_white_is_zero_tiff_is_inverted(bits):
    pixels = np.arange(120).reshape(10, 12).astype(np.uint8 if bits == 8 else np.uint16)
    found = decode_image(tiff(pixels, bits=bits, photometric=0), "grey")
    assert np.array_equal(found, 2**bits - 1 - pixels.astype(int))


def test_grey_and_colour_of_each_other():
    assert np.array_equal(decode_image(saved(GREY, "PNG")), np.repeat(GREY[..., None], 3, 2))
    same = np.repeat(GREY[..., None], 3, 2)
    for data in (saved(same, "PNG"), saved(same, "BMP"), saved(same, "PPM")):
        assert np.array_equal(decode_image(data, "grey"), GREY)
    luma = np.asarray(Image.fromarray(RGB).convert("L")).astype(int)
    assert np.abs(decode_image(saved(RGB, "PNG"), "grey") - luma).max() <= 1
    assert decode_image(saved(GREY, "JPEG")).shape == (10, 12, 3)
    jpeg = saved(SMOOTH, "JPEG")
    expected = np.asarray(Image.open(io.BytesIO(jpeg)).convert("L")).astype(int)
    assert np.abs(decode_image(jpeg, "grey") - expected).max() <= 3
    with pytest.raises(ValueError, match="colour"):
        decode_image(jpeg, "bgr")


def test_cmyk_jpeg_has_the_colours_pillow_gives():
    data = saved(Image.new("CMYK", (16, 16), (10, 100, 200, 50)), "JPEG", quality=95)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(decode_image(data) - expected).max() <= 2


def test_plain_grey_formats():
    assert decode_stored(b"P2\n# a comment\n2 2\n255\n1 2 3 4\n").tolist() == [[1, 2], [3, 4]]
    twelve = b"P5 4 1 4095\n" + np.array([0, 1, 2048, 4095], ">u2").tobytes()
    assert decode_stored(twelve).tolist() == [[0, 1, 2048, 4095]]
    assert inspect_image(twelve).maximum == 4095


WHOLE = {
    "jpeg": saved(SMOOTH, "JPEG"),
    "progressive": saved(SMOOTH, "JPEG", progressive=True),
    "png": saved(SMOOTH, "PNG"),
    "bmp": saved(SMOOTH, "BMP"),
    "tiff": saved(SMOOTH, "TIFF"),
    "lzw": saved(SMOOTH, "TIFF", compression="tiff_lzw"),
    "webp": saved(SMOOTH, "WEBP"),
    "ppm": saved(SMOOTH, "PPM"),
    "jp2": saved(SMOOTH, "JPEG2000"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_cut_off_files_are_refused_silently(kind, capfd):
    whole = WHOLE[kind]
    assert decode_image(whole).shape == SMOOTH.shape
    for length in (1, 3, 12, 40, len(whole) // 4, len(whole) // 2, len(whole) - 40, len(whole) - 2):
        with pytest.raises(ImageError):
            decode_image(whole[:length], name="part.img")
    assert capfd.readouterr().err == ""


def test_jpeg_with_exif_thumbnail_is_still_seen_to_be_cut_off():
    exif = Image.Exif()
    exif[37500] = b"\xff\xd8 thumbnail \xff\xd9"
    data = saved(SMOOTH, "JPEG", exif=exif)
    assert decode_image(data).shape == SMOOTH.shape
    with pytest.raises(ImageError, match="cut off"):
        decode_image(data[: len(data) * 2 // 3])


@pytest.mark.parametrize("colour", ["rgb", "grey"])
def test_jpeg_with_lost_data_before_its_end_marker_is_no_half_grey_picture(colour):
    noisy = np.random.default_rng(1).integers(0, 256, (160, 192, 3), dtype=np.uint8)
    whole = saved(noisy, "JPEG")
    with pytest.raises(ImageError, match="missing inside"):
        decode_image(whole[: len(whole) // 2] + b"\xff\xd9", colour)
    flat = Image.new("RGB", (64, 64), (128, 128, 128))
    assert (decode_image(saved(flat, "JPEG"), colour) == 128).all()
    assert (decode_image(saved(flat, "JPEG", progressive=True), colour) == 128).all()


def test_damaged_png_is_refused_and_odd_profiles_pass_silently(capfd):
    data = bytearray(WHOLE["png"])
    data[len(data) // 2] ^= 1
    with pytest.raises(ImageError, match="damaged"):
        decode_image(bytes(data))
    assert np.array_equal(decode_image(saved(RGB, "PNG", icc_profile=b"\0" * 200)), RGB)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"a text file, whatever its name", "no image"),
        (b"GIF89a" + bytes(40), "no image"),
        (b"BM" + bytes(200), "size 0x0"),
        (b"\xff\xd8\xff\xe0", "cut off"),
        (b"II*\0" + bytes(60), "TIFF header"),
        (tiff(np.ones((4, 4), np.float32), bits=32, sample_format=3), "floating-point"),
        (tiff(np.ones((4, 4), np.int16), sample_format=2), "signed"),
        (tiff(np.ones((4, 4), np.uint32), bits=32), "32-bit"),
    ],
)
def test_what_is_no_usable_image_says_why(data, reason, capfd):
    for read in (decode_image, inspect_image):
        with pytest.raises(ImageError, match=reason) as caught:
            read(data, name="folder/part.png")
        assert "folder/part.png" in str(caught.value)
        assert "folder/part.png" not in caught.value.reason
        assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_any_alphabet_in_the_path(tmp_path: Path):
    path = tmp_path / "Поверхность 钢 ä" / "деталь 1.png"
    path.parent.mkdir()
    path.write_bytes(saved(RGB, "PNG"))
    assert np.array_equal(read_image(path), RGB)
    with pytest.raises(ImageError, match="missing"):
        read_image(path.with_name("missing.png"))


def test_random_bytes_never_crash():
    rng = np.random.default_rng(3)
    for kind in ("jpeg", "png", "bmp", "tiff", "webp", "ppm", "jp2"):
        for _ in range(15):
            data = bytearray(WHOLE[kind])
            for place in rng.integers(0, min(len(data), 200), 4):
                data[place] = rng.integers(256)
            try:
                assert decode_image(bytes(data)).dtype in (np.uint8, np.uint16)
            except ImageError as error:
                assert error.reason
