"""Reader of pixel masks in folders of their own, parallel to the images' folders."""

from __future__ import annotations

from collections.abc import Iterable

from defectctl.errors import InputError
from defectctl.formats.base import Listing, RawSample, RawSource, ReadOptions
from defectctl.formats.masks.colour_tables import (
    Colour,
    class_names,
    colour_values,
    find_table,
    place_values,
    plain_name,
)
from defectctl.formats.masks.mask_stored import AUTO, COLOUR_FLAG, stored_values
from defectctl.formats.readers.good_folders import lone_good, settle_good
from defectctl.formats.readers.names import class_of, order_classes, part_of_folders, set_list_parts, settle_parts
from defectctl.formats.readers.pairing import Pairing, pair_folders, unmatched_findings
from defectctl.formats.readers.peek import spread
from defectctl.imaging.reader import ImageError

NAME = "mask-folders"
DESCRIPTION = "images and masks in parallel folders with the same names (images/1.jpg, masks/1.png)"
SCORE = 0.93
_LOOKS = 200


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
    good = lone_good(listing, pairing.lone_images, options, ignored := set(ignored))
    kept = {sample.id for sample in good}
    pairing.lone_images = [file for file in pairing.lone_images if file not in kept]
    findings = unmatched_findings(pairing)
    samples = [
        RawSample(
            file,
            listing.root / file,
            listing.root / mask,
            part=part_of_folders(file),
            class_name=class_of(file, options, ignored),
        )
        for file, mask in pairing.pairs.items()
    ]
    samples = sorted(settle_good(samples, options, findings) + good, key=lambda sample: sample.id)
    if good:
        layout += f"; {len(good)} without a mask in folders of good parts"
    set_list_parts(listing, samples, findings)
    layout += settle_parts(samples, findings)
    found = {sample.class_name: sample.id for sample in reversed(samples) if sample.class_name}
    classes = order_classes(found, options)
    source = RawSource(name, layout, listing.root, samples, classes, findings=findings, knows_masks=True)
    name_values(listing, source, options)
    return source


def name_values(listing: Listing, source: RawSource, options: ReadOptions) -> None:
    """Take the meaning of mask values from the user's colours, else from a table of colours or numbers in the folder.

    Raises:
        InputError: the table is broken, or names colours while the masks hold numbers in no order that is certain.
    """
    if options.mask_values:
        if any(value & COLOUR_FLAG for value in options.mask_values):
            source.class_values = dict(options.mask_values)
        return
    table = find_table(listing)
    if table is None:
        return
    if table.numbers:
        source.class_values = {value: plain_name(name) for value, name in table.numbers.items()}
    elif _hold_colours(source, table.colours):
        source.class_values = colour_values(table.colours)
    else:
        source.class_values = place_values(table.colours)
        if source.class_values[0] != "background":
            raise InputError(
                f"'{table.file}' names colours, but the masks hold numbers, and its first line is not the background;"
                ' say what each number means, for example --mask-values "0=background,1=scratch"'
            )
    names = class_names(source.class_values)
    if not options.classes and not any(sample.class_name for sample in source.samples):
        source.classes = names
    source.layout += f"; classes named by '{table.file}'"


def _hold_colours(source: RawSource, colours: dict[str, Colour]) -> bool:
    """Whether the masks hold a table's colours, and not numbers: told by the first that holds anything."""
    greys = {red for red, green, blue in colours.values() if red == green == blue}
    for sample in spread([sample for sample in source.samples if sample.mask], _LOOKS):
        try:
            values, kind = stored_values(sample.mask.read_bytes(), sample.id, AUTO)
        except (OSError, ImageError):
            continue
        if kind != "grey":
            return True
        if values.any():
            return set(values[values > 0].tolist()) <= greys
    return True
