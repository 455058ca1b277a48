"""Near-duplicates in the real data sets: the known copies, all of them, and none besides."""

from __future__ import annotations

from pathlib import Path

import pytest

from defectctl.dataset.near_duplicates import families, find_twins
from defectctl.imaging.prints import image_print
from defectctl.imaging.reader import read_image

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real data sets are not at ../shared/data")


def twins_in(*patterns):
    paths = [path for pattern in patterns for path in sorted(DATA.glob(pattern))]
    prints = [image_print(read_image(path, "grey")) for path in paths]
    return paths, find_twins(prints, lambda index: read_image(paths[index], "grey"))


def names(paths, twins):
    return {(paths[twin.first].stem, paths[twin.second].stem) for twin in twins}


def test_kolektor_has_seventeen_identical_pairs_and_no_view_of_a_neighbour():
    paths, twins = twins_in("KolektorSDD/kos*/Part*.jpg")
    assert len(twins) == 17 and all(twin.pose == 0 and twin.difference == 0 for twin in twins)
    folders = {(paths[twin.first].parent.name, paths[twin.second].parent.name) for twin in twins}
    assert folders == {("kos01", "kos26"), ("kos21", "kos21"), ("kos27", "kos34")}


def test_saliency_and_neu_det_have_a_copy_and_a_turned_copy():
    """The second pair is one photograph, turned and moved by part of a pixel."""
    assert names(*twins_in("SD-saliency-900/Source Images/*.bmp")) == {("Pa_101", "Pa_105"), ("Sc_232", "Sc_247")}
    expected = {("patches_101", "patches_105"), ("scratches_232", "scratches_247")}
    assert names(*twins_in("NEU-DET/IMAGES/*.jpg")) == expected


def test_neu_seg_has_copies_of_810_test_images_in_training():
    paths, twins = twins_in("NEU_Seg/images/training/*.jpg", "NEU_Seg/images/test/*.jpg")
    assert len(paths) == 4470
    leaked = {twin.second for twin in twins if twin.first < 3630 <= twin.second}
    assert len(leaked) == 810
    assert len(twins) == 6804 and max(len(family) for family in families(twins)) <= 16
