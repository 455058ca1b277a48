"""Real label files whose stored values are easily misread."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from defectctl.imaging.masks import read_mask
from defectctl.imaging.reader import inspect_image

DATA = Path(__file__).parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real data sets are not here")


def test_kolektor_crack_of_palette_index_2_is_read_through_the_palette():
    mask = read_mask((DATA / "KolektorSDD" / "kos20" / "Part4_label.bmp").read_bytes())
    assert mask.kind == "grey"
    assert np.unique(mask.values).tolist() == [0, 85, 255]
    assert (mask.values == 85).sum() == 2
    assert (mask.values == 255).sum() > 100


def test_neu_seg_masks_hold_class_indices():
    files = sorted((DATA / "NEU_Seg" / "annotations" / "test").glob("*.png"))[:50]
    masks = [read_mask(file.read_bytes()) for file in files]
    assert set(np.unique(np.concatenate([mask.values.ravel() for mask in masks])).tolist()) <= {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("pattern", "channels"),
    [
        ("NEU-DET/IMAGES/*_10?.jpg", 3),
        ("SD-saliency-900/Source Images/*_10?.bmp", 1),
        ("KolektorSDD/kos0?/*.jpg", 1),
        ("corrosion/test/*.jpg", 3),
    ],
)
def test_images_of_the_sets_are_whole(pattern, channels):
    files = sorted(DATA.glob(pattern))[:40]
    assert files
    for file in files:
        info = inspect_image(file.read_bytes(), file.name)
        assert (info.bits, info.channels) == (8, channels)
