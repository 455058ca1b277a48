"""Reader of pixel masks in folders of their own, parallel to the images' folders."""

from __future__ import annotations

from collections.abc import Iterable

from defectctl.errors import InputError
from defectctl.formats.base import Listing, RawSample, RawSource, ReadOptions
from defectctl.formats.names import class_of, order_classes, part_of_folders, set_list_parts, settle_parts
from defectctl.formats.pairing import Pairing, pair_folders, unmatched_findings

NAME = "mask-folders"
DESCRIPTION = "images and masks in parallel folders with the same names (images/1.jpg, masks/1.png)"
SCORE = 0.93


def recognise(listing: Listing) -> float:
    """Sure where most image files pair up between two folder trees of which one holds masks."""
    return SCORE * pair_folders(listing).surety


def read(listing: Listing, options: ReadOptions) -> RawSource:
    """Match every image with the mask of its name; official parts come from folder names or lists of names."""
    pairing = pair_folders(listing)
    if not pairing.pairs:
        raise InputError(
            f"no two folders of '{listing.root}' hold images and masks of the same names; put them into parallel "
            "folders (images/1.jpg, masks/1.png) or choose another --format"
        )
    where = " and ".join(f"'{image or '.'}' with masks in '{mask or '.'}'" for image, mask in pairing.families)
    ignored = {folder for family in pairing.families for side in family for folder in side.split("/")}
    return mask_source(NAME, f"images in {where}, matched by name", listing, pairing, options, ignored)


def mask_source(
    name: str, layout: str, listing: Listing, pairing: Pairing, options: ReadOptions, ignored: Iterable[str] = ()
) -> RawSource:
    """The source that a pairing of images and masks makes; shared by the readers of pixel masks.

    Args:
        ignored: folder names that never name a class (`--classes-from folder`).
    """
    findings = unmatched_findings(pairing)
    samples = [
        RawSample(
            file,
            listing.root / file,
            listing.root / mask,
            part=part_of_folders(file),
            class_name=class_of(file, options, ignored),
        )
        for file, mask in sorted(pairing.pairs.items())
    ]
    set_list_parts(listing, samples, findings)
    layout += settle_parts(samples, findings)
    found = {sample.class_name: sample.id for sample in reversed(samples) if sample.class_name}
    classes = order_classes(found, options)
    return RawSource(name, layout, listing.root, samples, classes, findings=findings, knows_masks=True)
