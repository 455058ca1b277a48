"""Reader of Pascal VOC segmentation: images, palette masks whose index is the class, name lists, CVAT's label map."""

from __future__ import annotations

from defectctl.errors import InputError
from defectctl.formats.base import Finding, Listing, RawSource, ReadOptions
from defectctl.formats.masks.colour_tables import colour_key
from defectctl.formats.masks.mask_stored import COLOUR_FLAG
from defectctl.formats.readers.mask_folders import mask_source
from defectctl.formats.readers.pairing import Pairing, pair_folders
from defectctl.formats.readers.peek import has_coloured_palette, spread

NAME = "voc-masks"
DESCRIPTION = "Pascal VOC segmentation (JPEGImages, SegmentationClass palette PNGs, ImageSets/Segmentation/*.txt)"
SCORE = 0.96
VOID = 255
"""Palette index of VOC's "void": a border or an object nobody judged."""
VOID_COLOUR = (224, 224, 192)
"""Its colour in VOC's palette."""


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
    if source.class_values is None:
        source.class_values = {VOID: "unknown"}
    elif any(value & COLOUR_FLAG for value in source.class_values):
        source.class_values.setdefault(colour_key(VOID_COLOUR), "unknown")
    else:
        source.class_values.setdefault(VOID, "unknown")
    boxes = sum(file.suffix.lower() == ".xml" for file in listing.files)
    if boxes:
        text = f"{boxes} XML files hold boxes, which the masks replace; --format voc-boxes reads the boxes instead"
        source.findings.append(Finding(".", "unused-boxes", text))
    return source


def _coloured(listing: Listing, pairing: Pairing) -> bool:
    return all(has_coloured_palette(listing.root / mask) for mask in spread(list(pairing.pairs.values()), 3))


def _label_map_file(listing: Listing) -> str | None:
    return next((str(file) for file in listing.files if file.name.casefold() == "labelmap.txt"), None)
