"""Masks beside their images: the suffix or the other ending is found from the names."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from defectctl.formats.base import Listing, ReadOptions
from defectctl.formats.readers import mask_suffix
from defectctl.formats.registry import list_folder, recognise


def save_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(60, 200, (24, 32), dtype=np.uint8)).save(path)


def save_mask(path: Path) -> None:
    Image.fromarray(np.pad(np.full((8, 8), 255, np.uint8), ((8, 8), (12, 12)))).save(path)


def read(root: Path, **options):
    listing = list_folder(root)
    assert recognise(listing).NAME == "mask-suffix"
    return mask_suffix.read(listing, ReadOptions(**options))


ENDINGS = ["_label.bmp", "_mask.png", "-gt.png", " seg.png", "M.png", ".png", ".mask.tif", "_q.png"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_suffix_is_found_from_the_names(tmp_path, ending):
    for folder in range(3):
        for i in range(4):
            save_image(tmp_path / f"k{folder}" / f"Part{i}.jpg", i)
            save_mask(tmp_path / f"k{folder}" / f"Part{i}{ending}")
    source = read(tmp_path)
    assert [s.id for s in source.samples] == [f"k{folder}/Part{i}.jpg" for folder in range(3) for i in range(4)]
    assert all(s.mask.name == f"{s.image.stem}{ending}" and s.mask.parent == s.image.parent for s in source.samples)
    assert not source.findings and source.knows_masks


def test_images_may_have_a_suffix_too(tmp_path):
    for i in range(5):
        save_image(tmp_path / f"{i}_rgb.png", i)
        save_mask(tmp_path / f"{i}_anno.png")
    pairs = [(s.id, s.mask.name) for s in read(tmp_path).samples]
    assert pairs == [(f"{i}_rgb.png", f"{i}_anno.png") for i in range(5)]


def test_parts_and_lone_files(tmp_path):
    for part in ("train", "valid", "test"):
        for i in range(3):
            save_image(tmp_path / part / f"{i}.jpg", i)
            save_mask(tmp_path / part / f"{i}_m.png")
    save_image(tmp_path / "train" / "9.jpg", 9)
    save_mask(tmp_path / "train" / "8_m.png")
    source = read(tmp_path)
    assert sorted(s.part for s in source.samples) == ["test"] * 3 + ["train"] * 3 + ["val"] * 3
    assert {(f.file, f.problem) for f in source.findings} == {("train/9.jpg", "no-mask"), ("train/8_m.png", "no-image")}


def test_classes_from_the_folder(tmp_path):
    for name in ("pit", "crack"):
        for i in range(3):
            save_image(tmp_path / name / f"{i}.jpg", i)
            save_mask(tmp_path / name / f"{i}_m.png")
    source = read(tmp_path, classes_from="folder")
    assert source.classes == ["crack", "pit"] and source.samples[0].class_name == "crack"


def test_copies_in_another_format_are_no_masks(tmp_path):
    for i in range(4):
        save_image(tmp_path / f"{i}.jpg", i)
        save_image(tmp_path / f"{i}.png", i)
    assert mask_suffix.recognise(list_folder(tmp_path)) == 0


def test_four_times_the_names_take_about_four_times_the_work(tmp_path, growth):
    for i in range(0, 40_000, 100):
        (tmp_path / f"im_{i}.jpg").touch()  # unreadable: names decide

    def read_names(count):
        files = [PurePosixPath(f"im_{i}{end}") for i in range(count) for end in (".jpg", "_label.png")]
        assert len(mask_suffix.read(Listing(tmp_path, sorted(files)), ReadOptions()).samples) == count

    assert growth(read_names, 10_000, 40_000) < 8  # 16 if it were quadratic
