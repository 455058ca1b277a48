"""Reader of pixel masks beside their images, told by a suffix or by another ending."""

from __future__ import annotations

from defectctl.errors import InputError
from defectctl.formats.base import Listing, RawSource, ReadOptions
from defectctl.formats.readers.mask_folders import mask_source
from defectctl.formats.readers.pairing import pair_suffixes

NAME = "mask-suffix"
DESCRIPTION = "masks beside the images with a common suffix (a.jpg, a_label.bmp) or another ending (a.jpg, a.png)"
SCORE = 0.88


def recognise(listing: Listing) -> float:
    """Sure where most image files have a partner in their own folder and one of the two is a mask."""
    return SCORE * pair_suffixes(listing).surety


def read(listing: Listing, options: ReadOptions) -> RawSource:
    """Match every image with the mask beside it; official parts come from folder names or lists of names."""
    pairing = pair_suffixes(listing)
    if not pairing.pairs:
        raise InputError(
            f"no masks lie beside the images of '{listing.root}'; name them with a common suffix (a.jpg, a_mask.png) "
            "or choose another --format"
        )
    image, mask = pairing.families[0]
    layout = f"masks '*{mask}' beside the images" + (f" '*{image}'" if image else "") + ", matched by name"
    return mask_source(NAME, layout, listing, pairing, options)
