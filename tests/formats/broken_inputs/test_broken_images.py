"""Broken and unusual image and mask files: used, or left out with a reason; none is lost and none stops the others."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

SOUND = ["images/s0.png", "images/s1.png", "images/s2.png", "images/s3.png"]


def cv(ending, channels=3, kind=np.uint8):
    pixels = np.random.default_rng(9).integers(20, 230, (24, 24, channels)).astype(kind)
    return np.asarray(cv2.imencode(ending, pixels)[1]).tobytes()


def pillow(mode, kind, **options):
    grey = Image.fromarray(np.arange(576, dtype=np.uint16).reshape(24, 24).astype(np.uint8))
    buffer = io.BytesIO()
    grey.convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width, height):
    """A PNG whose header states a size that its few bytes of pixels do not fill."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(600))) + chunk(b"IEND", b"")


def flipped(data, where):
    return data[:where] + bytes([data[where] ^ 0xFF]) + data[where + 1 :]


def float_tiff():
    return cv2.imencode(".tif", np.random.default_rng(9).random((24, 24)).astype(np.float32))[1].tobytes()


def gif():
    frames = [Image.fromarray(np.full((24, 24), level, np.uint8)) for level in (10, 200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


HTML = b"<!DOCTYPE html><html><body>404 not found</body></html>"

UNREADABLE = {
    "truncated-jpeg": ("x.jpg", lambda: cv(".jpg")[:-200], "cut off"),
    "jpeg-without-end": ("x.jpg", lambda: cv(".jpg")[:-2], "cut off"),
    "jpeg-header-only": ("x.jpg", lambda: b"\xff\xd8\xff\xe0\x00", "cut off"),
    "jpeg-with-a-gap": ("x.jpg", lambda: cv(".jpg")[:-400] + b"\xff\xd9", "damaged"),
    "truncated-png": ("x.png", lambda: cv(".png")[:-300], "cut off"),
    "truncated-bmp": ("x.bmp", lambda: cv(".bmp")[:-300], "cut off"),
    "truncated-tiff": ("x.tif", lambda: cv(".tif")[:300], "TIFF header"),
    "truncated-webp": ("x.webp", lambda: cv(".webp")[:-60], "cut off"),
    "tiff-of-8-bytes": ("x.tif", lambda: b"II*\0\x08\0\0\0", "TIFF"),
    "zero-bytes": ("x.png", lambda: b"", "empty"),
    "text-called-png": ("x.png", lambda: b"this is no image\n", "no image"),
    "html-called-jpg": ("x.jpg", lambda: HTML, "no image"),
    "png-with-broken-checksum": ("x.png", lambda: flipped(cv(".png"), 200), "checksum"),
    "png-with-broken-pixels": ("x.png", lambda: png_of(24, 25)[:-12] + chunk(b"IEND", b""), ""),
    "png-stating-60000x60000": ("x.png", lambda: png_of(60000, 60000), ""),
    "png-stating-0x24": ("x.png", lambda: png_of(0, 24), "0x24"),
    "float-tiff": ("x.tif", float_tiff, "save it with 8 or 16-bit"),
    "animated-gif": ("x.gif", gif, ""),
}


def folder_of(kinds, raw, make):
    """A sound folder, and one image of each kind, with a mask, among its images: file name of each kind."""
    make.mask_pairs(raw)
    names = {}
    for kind, (name, data, *_) in kinds.items():
        stem, _, ending = name.rpartition(".")
        names[kind] = f"images/{stem}-{kind}.{ending}"
        make.put(raw / names[kind], data())
        make.put(raw / "masks" / f"{stem}-{kind}.png", make.square())
    return names


def test_unusable_images_are_left_out_with_the_reason(tmp_path, prepare, make):
    names = folder_of(UNREADABLE, tmp_path / "raw", make)
    told = prepare(tmp_path / "raw", "--strict", code=3)
    assert told.samples == SOUND and told.dropped >= set(names.values())
    wrong = {}
    for kind, (_, _, words) in UNREADABLE.items():
        text = told.findings.get((names[kind], "unreadable"))
        if text is None or words not in text:
            wrong[kind] = text
    assert not wrong


@pytest.mark.parametrize("kind", ["truncated-png", "zero-bytes", "html-called-jpg", "float-tiff", "animated-gif"])
def test_one_unusable_image_alone_is_left_out(kind, tmp_path, prepare, make):
    name = folder_of({kind: UNREADABLE[kind]}, tmp_path / "raw", make)[kind]
    told = prepare(tmp_path / "raw")
    assert told.samples == SOUND and name in told.dropped


READABLE = {
    "cmyk-jpeg": ("x.jpg", lambda: pillow("CMYK", "JPEG")),
    "1-bit-png": ("x.png", lambda: pillow("1", "PNG")),
    "1-bit-tiff": ("x.tif", lambda: pillow("1", "TIFF")),
    "palette-png": ("x.png", lambda: pillow("P", "PNG")),
    "rgba-png": ("x.png", lambda: pillow("RGBA", "PNG")),
    "grey-alpha-png": ("x.png", lambda: pillow("LA", "PNG")),
    "16-bit-png": ("x.png", lambda: cv(".png", 1, np.uint16)),
    "16-bit-rgb-tiff": ("x.tif", lambda: cv(".tif", 3, np.uint16)),
    "webp": ("x.webp", lambda: cv(".webp")),
    "jpeg-2000": ("x.jp2", lambda: pillow("RGB", "JPEG2000")),
    "pgm": ("x.pgm", lambda: cv(".pgm", 1)),
    "progressive-jpeg": ("x.jpg", lambda: pillow("RGB", "JPEG", progressive=True)),
    "png-called-jpg": ("x.jpg", lambda: cv(".png")),
    "jpeg-called-bmp": ("x.bmp", lambda: cv(".jpg")),
    "ending-in-capitals": ("X.PNG", lambda: cv(".png")),
}


def test_unusual_images_are_used(tmp_path, prepare, make):
    names = folder_of(READABLE, tmp_path / "raw", make)
    told = prepare(tmp_path / "raw")
    assert sorted(told.samples) == sorted([*SOUND, *names.values()]) and not told.dropped


@pytest.mark.parametrize("upright", [True, False])
def test_an_exif_turn_is_applied_to_the_image_and_its_mask_must_fit_that(upright, tmp_path, prepare, make):
    raw = make.mask_pairs(tmp_path / "raw")
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(np.full((24, 40), 90, np.uint8)).save(buffer, "JPEG", exif=exif)
    make.put(raw / "images" / "x.jpg", buffer.getvalue())
    make.put(raw / "masks" / "x.png", np.zeros((40, 24) if upright else (24, 40), np.uint8))
    told = prepare(raw)
    assert ("images/x.jpg" in told.samples) == upright
    if not upright:
        text = told.finding("masks/x.png", "size-differs")
        assert "40x24" in text and "24x40 after its EXIF turn" in text


def test_masks_of_another_size_or_transposed_are_left_out_with_both_sizes(tmp_path, prepare, make):
    raw = make.mask_pairs(tmp_path / "raw")
    shapes = {"narrow": (24, 23), "double": (48, 48), "dot": (1, 1), "transposed": (24, 30)}
    for kind, shape in shapes.items():
        make.put(raw / "images" / f"x-{kind}.png", np.zeros((30, 24), np.uint8) + 77)
        make.put(raw / "masks" / f"x-{kind}.png", np.zeros(shape, np.uint8))
    told = prepare(raw)
    assert told.samples == SOUND
    for kind, (height, width) in shapes.items():
        text = told.finding(f"masks/x-{kind}.png", "size-differs")
        assert f"{width}x{height}" in text and "24x30" in text and f"masks/x-{kind}.png" in told.dropped


def test_masks_that_cannot_be_read_are_left_out_with_their_images(tmp_path, prepare, make):
    raw = make.mask_pairs(tmp_path / "raw")
    kinds = {"empty": b"", "text": b"no mask", "cut": cv(".png", 1)[:-100], "giant": png_of(60000, 60000)}
    for kind, data in kinds.items():
        make.put(raw / "images" / f"x-{kind}.png", make.picture())
        make.put(raw / "masks" / f"x-{kind}.png", data)
    told = prepare(raw)
    assert told.samples == SOUND
    for kind in kinds:
        assert "left out" in told.finding(f"masks/x-{kind}.png", "unreadable")
        assert f"masks/x-{kind}.png" in told.dropped


@pytest.mark.parametrize("pairs", [4, 12])
def test_one_mask_of_floats_is_left_out(pairs, tmp_path, prepare, make):
    raw = make.mask_pairs(tmp_path / "raw", pairs)
    make.put(raw / "images" / "x.png", make.picture())
    make.put(raw / "masks" / "x.tif", float_tiff())
    told = prepare(raw)
    assert len(told.samples) == pairs and "masks/x.tif" in told.dropped
    assert "floating-point" in told.finding("masks/x.tif", "unreadable")


def test_binary_masks_as_jpeg_are_thresholded_and_it_is_told(tmp_path, prepare, make):
    raw = tmp_path / "raw"
    for i in range(4):
        make.put(raw / "images" / f"s{i}.png", make.picture(i))
        make.put(raw / "masks" / f"s{i}.jpg", make.square())
    told = prepare(raw)
    assert told.samples == SOUND
    assert "over 127 is read as defect" in told.err or told.findings


def test_a_mask_all_255_is_a_defect_everywhere_and_the_doubt_is_told(tmp_path, prepare, make):
    raw = make.mask_pairs(tmp_path / "raw", 2)
    for i in range(4):
        make.put(raw / "images" / f"x{i}.png", make.picture(i))
        make.put(raw / "masks" / f"x{i}.png", np.full((24, 24), 255, np.uint8))
    assert "inverted" in prepare(raw).err


def test_inverted_masks_are_told(tmp_path, prepare, make):
    raw = tmp_path / "raw"
    for i in range(4):
        make.put(raw / "images" / f"s{i}.png", make.picture(i))
        make.put(raw / "masks" / f"s{i}.png", 255 - make.square())
    told = prepare(raw)
    assert told.samples == SOUND and "inverted" in told.err and "--mask-values" in told.err


def test_three_greys_are_refused_with_the_file_and_the_option(tmp_path, prepare, make):
    raw = make.mask_pairs(tmp_path / "raw")
    mask = make.square(128)
    mask[14:20, 2:20] = 200
    make.put(raw / "images" / "x.png", make.picture())
    make.put(raw / "masks" / "x.png", mask)
    err = prepare(raw, code=2).err
    assert "masks/" in err and "0, 128, 200, 255" in err and "--mask-values" in err
    assert prepare(raw, "--mask-values", "0=background,128=dent,200=scratch,255=stain").code == 0


def test_colours_that_nothing_names_are_refused_with_their_list(tmp_path, prepare, make):
    raw = make.mask_pairs(tmp_path / "raw")
    mask = np.zeros((24, 24, 3), np.uint8)
    mask[2:9, 2:9] = (0, 0, 200)
    mask[12:20, 2:9] = (180, 20, 0)
    make.put(raw / "images" / "x.png", make.picture())
    make.put(raw / "masks" / "x.png", mask)
    err = prepare(raw, code=2).err
    assert "masks/x.png" in err and "--mask-values" in err and "c80000" in err.lower()


@pytest.mark.parametrize("pairs", [4, 12])
def test_a_photograph_as_mask_is_refused_by_its_name(pairs, tmp_path, prepare, make):
    raw = make.mask_pairs(tmp_path / "raw", pairs)
    make.put(raw / "images" / "x.png", make.picture())
    make.put(raw / "masks" / "x.png", np.random.default_rng(5).integers(0, 255, (40, 40, 3), np.uint8))
    assert "masks/x.png" in prepare(raw, code=2).err


def test_a_folder_of_nothing_usable_is_one_error_that_names_a_file(tmp_path, prepare, make):
    raw = tmp_path / "raw"
    for i in range(3):
        make.put(raw / "images" / f"s{i}.png", make.encoded(make.picture(i))[:-90])
        make.put(raw / "masks" / f"s{i}.png", make.square())
    assert "images/s0.png" in prepare(raw, code=2).err
