"""Masks: stored values by kind of file, and our own index masks there and back."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from defectctl.imaging.masks import decode_index, encode_mask, read_mask
from defectctl.imaging.palette import UNKNOWN_COLOUR, class_colours
from defectctl.imaging.reader import ImageError, decode_image

INDICES = np.random.default_rng(0).integers(0, 3, (20, 30), dtype=np.uint8)


def saved(image: Image.Image | np.ndarray, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def with_palette(indices: np.ndarray, colours: list[tuple[int, int, int]]) -> Image.Image:
    image = Image.fromarray(indices)
    image.putpalette([part for colour in colours for part in colour])
    return image


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_coloured_palette_gives_indices(kind):
    mask = read_mask(saved(with_palette(INDICES, [(0, 0, 0), (128, 0, 0), (0, 128, 0)]), kind))
    assert mask.kind == "index"
    assert np.array_equal(mask.values, INDICES)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_grey_palette_is_looked_up(kind):
    mask = read_mask(saved(with_palette(INDICES, [(0, 0, 0), (85, 85, 85), (255, 255, 255)]), kind))
    assert mask.kind == "grey"
    assert np.array_equal(mask.values, np.array([0, 85, 255])[INDICES])


def test_colours_of_unused_entries_do_not_matter():
    image = with_palette(INDICES % 2, [(0, 0, 0), (255, 255, 255), (255, 0, 0)])
    assert np.array_equal(read_mask(saved(image, "PNG")).values, (INDICES % 2) * 255)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_one_bit_masks_are_0_and_255(kind):
    mask = read_mask(saved(Image.fromarray(INDICES > 0), kind))
    assert mask.kind == "grey"
    assert np.array_equal(mask.values, (INDICES > 0) * 255)


def test_grey_masks_of_8_and_16_bits_keep_their_values():
    assert np.array_equal(read_mask(saved(INDICES, "PNG")).values, INDICES)
    wide = INDICES.astype(np.uint16) * 1000
    mask = read_mask(saved(wide, "PNG"))
    assert mask.values.dtype == np.uint16
    assert np.array_equal(mask.values, wide)


def test_grey_stored_as_colour_is_grey_and_real_colours_are_kept():
    grey = read_mask(saved(np.repeat(INDICES[..., None], 3, 2), "PNG"))
    assert (grey.kind, grey.colours) == ("grey", None)
    assert np.array_equal(grey.values, INDICES)
    table = np.array([(0, 0, 0), (250, 10, 20), (0, 0, 200)], np.uint8)
    colour = read_mask(saved(table[INDICES], "PNG"))
    assert colour.kind == "colour"
    assert np.array_equal(colour.colours, table[INDICES])
    assert not colour.values.any()


def test_jpeg_mask_is_smeared_grey_even_when_stored_as_colour():
    blocks = np.kron(np.eye(4, dtype=np.uint8) * 255, np.ones((16, 16), np.uint8))
    for pixels in (blocks, np.repeat(blocks[..., None], 3, 2)):
        mask = read_mask(saved(pixels, "JPEG", quality=60))
        assert mask.kind == "grey"
        assert np.array_equal(mask.values > 127, blocks > 127)


def test_mask_is_turned_like_its_image():
    exif = Image.Exif()
    exif[274] = 8
    image = with_palette(INDICES, [(0, 0, 0), (128, 0, 0), (0, 128, 0)])
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(read_mask(saved(image, kind, exif=exif)).values, np.rot90(INDICES))


def test_own_masks_there_and_back_with_every_class_and_unknown():
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    colours = class_colours(254)
    data = encode_mask(mask, colours)
    assert np.array_equal(decode_index(data), mask)
    shown = decode_image(data).reshape(256, 3)
    assert shown[0].tolist() == [0, 0, 0]
    assert [tuple(colour) for colour in shown[1:255].tolist()] == colours
    assert tuple(shown[255].tolist()) == UNKNOWN_COLOUR


@pytest.mark.parametrize("mask", [np.zeros((3, 5), np.uint8), np.full((1, 1), 255, np.uint8), INDICES.T, INDICES[::2]])
def test_own_masks_of_few_values_and_odd_layout(mask):
    assert np.array_equal(decode_index(encode_mask(mask, class_colours(2))), mask)


def test_broken_masks_name_the_file():
    whole = encode_mask(INDICES, class_colours(2))
    for data in (b"", b"text", whole[: len(whole) // 2]):
        for read in (read_mask, decode_index):
            with pytest.raises(ImageError, match="m/part\\.png"):
                read(data, "m/part.png")
    with pytest.raises(ImageError, match="index mask"):
        decode_index(saved(np.zeros((4, 4, 3), np.uint8), "PNG"), "rgb.png")
