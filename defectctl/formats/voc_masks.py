"""Reader of Pascal VOC segmentation: images, palette masks whose index is the class, name lists, CVAT's label map."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from defectctl.errors import InputError
from defectctl.formats.base import Finding, Listing, RawSource, ReadOptions
from defectctl.formats.mask_folders import mask_source
from defectctl.formats.names import decode_text
from defectctl.formats.pairing import Pairing, pair_folders
from defectctl.formats.peek import has_coloured_palette, spread

NAME = "voc-masks"
DESCRIPTION = "Pascal VOC segmentation (JPEGImages, SegmentationClass palette PNGs, ImageSets/Segmentation/*.txt)"
SCORE = 0.96
VOID = 255
"""Palette index of VOC's "void": a border or an object nobody judged."""

Colour = tuple[int, int, int]


def recognise(listing: Listing) -> float:
    """Sure where folders pair up as images and masks, and a coloured palette or a label map says what masks mean."""
    pairing = pair_folders(listing)
    if not pairing.pairs:
        return 0.0
    if not _label_map_file(listing) and not _coloured(listing, pairing):
        return 0.0
    return SCORE * len(pairing.pairs) / (len(pairing.pairs) + len(pairing.lone_masks))


def read(listing: Listing, options: ReadOptions) -> RawSource:
    """Match images with their class masks; 255 is unknown; CVAT's `labelmap.txt`, if there, names the classes."""
    pairing = pair_folders(listing)
    if not pairing.pairs:
        raise InputError(
            f"no two folders of '{listing.root}' hold images and class masks of the same names (JPEGImages/1.jpg, "
            "SegmentationClass/1.png)"
        )
    image, mask = pairing.families[0]
    ignored = {folder for family in pairing.families for side in family for folder in side.split("/")}
    layout = f"images in '{image or '.'}' with palette masks in '{mask or '.'}', {VOID} is unknown"
    source = mask_source(NAME, layout, listing, pairing, options, ignored)
    _name_values(listing, source, options)
    boxes = sum(file.suffix.lower() == ".xml" for file in listing.files)
    if boxes:
        text = f"{boxes} XML files hold boxes, which the masks replace; --format voc-boxes reads the boxes instead"
        source.findings.append(Finding(".", "unused-boxes", text))
    return source


def _coloured(listing: Listing, pairing: Pairing) -> bool:
    return all(has_coloured_palette(listing.root / mask) for mask in spread(list(pairing.pairs.values()), 3))


def _label_map_file(listing: Listing) -> str | None:
    return next((str(file) for file in listing.files if file.name.casefold() == "labelmap.txt"), None)


def _name_values(listing: Listing, source: RawSource, options: ReadOptions) -> None:
    file = _label_map_file(listing)
    if file is None or options.mask_values:
        source.class_values = {VOID: "unknown"}
        return
    colours = read_label_map(decode_text((listing.root / file).read_bytes()), file)
    names = [name for name in colours if name != "background"]
    if not options.classes:
        source.classes = names
    source.class_values = {VOID: "unknown"}
    for sample in spread(source.samples):
        if (stored := _stored(sample.mask)) is not None:
            source.class_values = value_names(colours, *stored)
            break
    source.layout += f"; classes named by '{file}'"


def read_label_map(text: str, file: str) -> dict[str, Colour]:
    """Class name -> RGB colour from CVAT's `label:r,g,b:parts:actions` lines.

    Raises:
        InputError: a line is not of that form.
    """
    colours: dict[str, Colour] = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, rest = line.partition(":")
        numbers = rest.split(":")[0].split(",")
        if not name.strip() or len(numbers) != 3 or not all(n.strip().isdigit() and int(n) < 256 for n in numbers):
            raise InputError(f"'{file}' has the line '{line.strip()}', which is not of the form name:red,green,blue::")
        colours[name.strip()] = (int(numbers[0]), int(numbers[1]), int(numbers[2]))
    return colours


def value_names(colours: dict[str, Colour], mode: str, palette: list[Colour]) -> dict[int, str]:
    """Stored value -> class name.

    Args:
        colours: class name -> RGB, in the label map's order.
        mode: how the masks are stored: `P`, by the index of the class's colour in the palette; `L` and the like, by
            the place in the label map; `RGB` and the like, by colour as `0xRRGGBB`.
        palette: of mode `P`, else empty.
    """
    if mode.startswith("RGB"):
        return {(r << 16) | (g << 8) | b: name for name, (r, g, b) in colours.items()}
    if mode != "P":
        return {**dict(enumerate(colours)), VOID: "unknown"}
    values: dict[int, str] = {}
    for name, colour in colours.items():
        if colour in palette:
            values[palette.index(colour)] = name
    values.setdefault(VOID, "unknown")
    return values


def _stored(path: Path) -> tuple[str, list[Colour]] | None:
    """Pillow's mode and the palette of a mask file; None where it cannot be read (told later, with the reason)."""
    try:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            flat = image.getpalette("RGB") if image.mode == "P" else None
            return image.mode, [tuple(flat[i : i + 3]) for i in range(0, len(flat), 3)] if flat else []
    except (OSError, ValueError, SyntaxError):
        return None
