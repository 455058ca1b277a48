"""Decoded images and masks of a dataset: each file checked against its hash when read, cached while memory lasts."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from defectctl.dataset.types import Dataset, Sample
from defectctl.errors import InputError
from defectctl.fileio import sha256_bytes
from defectctl.imaging.masks import decode_index
from defectctl.imaging.reader import decode_image

DEFAULT_CACHE_BYTES = 2 << 30


class PictureStore:
    """Reads samples' images and masks; safe to use from several threads.

    Nothing is ever evicted: an epoch visits every sample once, so that a cache that throws out the oldest entry
    would throw out just what comes next. What does not fit is decoded anew each time.

    Args:
        dataset: where the files lie.
        colour: `rgb` or `grey`, the model's input.
        cache_bytes: memory for decoded arrays; 0 caches nothing.
    """

    def __init__(self, dataset: Dataset, colour: str, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self.dataset = dataset
        self.colour = colour
        self._room = cache_bytes
        self._cache: dict[tuple[str, str], np.ndarray] = {}
        self._lock = threading.Lock()

    def picture(self, sample: Sample) -> np.ndarray:
        """The image: `(H, W, 3)` RGB or `(H, W)` grey, uint8, or uint16 stretched to 0..65535.

        Raises:
            InputError: the file is missing, unreadable, or not the one that was prepared.
        """
        return self._cached(("image", sample.id), lambda: self._decode_picture(sample))

    def mask(self, sample: Sample) -> np.ndarray | None:
        """The mask `(H, W)` uint8; all background for a part whose mask is known to be empty; None where unknown."""
        if sample.mask is None:
            if not self.dataset.known(sample).mask:
                return None
            return np.zeros((sample.height, sample.width), np.uint8)
        return self._cached(("mask", sample.id), lambda: self._decode_mask(sample))

    def _decode_picture(self, sample: Sample) -> np.ndarray:
        data = self._read(sample.image, sample.sha256)
        picture = decode_image(data, self.colour, self.dataset.pixel_rule(sample), sample.image)
        if picture.shape[:2] != (sample.height, sample.width):
            height, width = picture.shape[:2]
            raise InputError(
                f"image '{sample.image}' of dataset '{self.dataset.root}' is {width}x{height}, "
                f"not {sample.width}x{sample.height} as prepared; run `defectctl prepare` again"
            )
        return picture

    def _decode_mask(self, sample: Sample) -> np.ndarray:
        assert sample.mask is not None
        mask = decode_index(self._read(sample.mask, sample.mask_sha256), sample.mask)
        if mask.shape != (sample.height, sample.width):
            raise InputError(
                f"mask '{sample.mask}' of dataset '{self.dataset.root}' has another size than its image; "
                "run `defectctl prepare` again"
            )
        return mask

    def _read(self, relative: str, sha256: str | None) -> bytes:
        path = self.dataset.root / relative
        try:
            data = path.read_bytes()
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"'{path}' cannot be read: {reason}; run `defectctl prepare` again") from error
        if sha256 is not None and sha256_bytes(data) != sha256:
            raise InputError(
                f"'{path}' is not the file that was prepared (its hash differs); "
                "put the original back or run `defectctl prepare` again"
            )
        return data

    def _cached(self, key: tuple[str, str], decode: Callable[[], np.ndarray]) -> np.ndarray:
        found = self._cache.get(key)
        if found is not None:
            return found
        array = decode()
        with self._lock:
            if key not in self._cache and array.nbytes <= self._room:
                self._room -= array.nbytes
                self._cache[key] = array
        return array
