"""Whether a raw folder holds finer truth than labels of whole images: pixel masks, or a file for each image."""

from __future__ import annotations

from defectctl.formats.base import Listing
from defectctl.formats.readers.names import stem_of
from defectctl.formats.readers.pairing import pair_folders, pair_suffixes

BESIDE_FINER_TRUTH = 0.25
"""Factor on the score of a reader of image labels where it does."""


def holds_finer_truth(listing: Listing) -> bool:
    """Whether images pair up with pixel masks, or half of them have another file of their name (outlines, boxes)."""
    images = {str(file) for file in listing.images()}
    stems = {stem_of(file).casefold() for file in images}
    beside = {stem_of(str(file)).casefold() for file in listing.files if str(file) not in images}
    if 2 * len(stems & beside) >= len(stems):
        return True
    return bool(pair_suffixes(listing).pairs or pair_folders(listing).pairs)
