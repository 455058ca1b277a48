"""Parallel folders of images and masks: recognised by contents and stems, whatever the folders are called."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from defectctl.errors import InputError
from defectctl.formats.base import Listing, ReadOptions
from defectctl.formats.readers import mask_folders
from defectctl.formats.registry import list_folder, recognise

RNG = np.random.default_rng(0)


def save_image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(60, 200, (24, 32), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def save_mask(path: Path, value: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((24, 32), np.uint8)
    mask[4:9, 5:20] = value
    Image.fromarray(mask).save(path)


def read(root: Path, **options):
    listing = list_folder(root)
    assert recognise(listing).NAME == "mask-folders"
    return mask_folders.read(listing, ReadOptions(**options))


@pytest.mark.parametrize("names", [("images", "masks"), ("a", "b"), ("b", "a"), ("Source Images", "Ground truth")])
@pytest.mark.parametrize("ending", [".bmp", ".PNG", ".jpg"])
def test_two_folders_in_any_name(tmp_path, names, ending):
    for i in range(4):
        save_image(tmp_path / names[0] / f"In_{i}{ending}", i)
        save_mask(tmp_path / names[1] / f"In_{i}.png")
    source = read(tmp_path)
    assert [sample.id for sample in source.samples] == [f"{names[0]}/In_{i}{ending}" for i in range(4)]
    assert [sample.mask.name for sample in source.samples] == [f"In_{i}.png" for i in range(4)]
    assert source.knows_masks and not source.knows_boxes and not source.findings
    assert names[0] in source.layout and names[1] in source.layout


@pytest.mark.parametrize("parts", [("training", "test"), ("train", "testing"), ("Train", "TEST"), ("trn", "tst2017")])
@pytest.mark.parametrize("order", ["images/{part}/{name}", "{part}/images/{name}"])
def test_official_parts_from_sub_folders(tmp_path, parts, order):
    for number, part in enumerate(parts):
        for i in range(3):
            save_image(tmp_path / order.format(part=part, name=f"{number}{i}.jpg"), i)
            save_mask(tmp_path / order.replace("images", "labels").format(part=part, name=f"{number}{i}.png"))
    source = read(tmp_path)
    assert [sample.part for sample in source.samples].count("train") == 3
    assert [sample.part for sample in source.samples].count("test") == 3


def test_the_same_stems_in_train_and_test_do_not_mix(tmp_path):
    for part in ("train", "test"):
        for i in range(3):
            save_image(tmp_path / f"{part}_images" / f"{i}.png", i)
            save_mask(tmp_path / f"{part}_masks" / f"{i}.png")
    source = read(tmp_path)
    assert {s.image.parent.name.split("_")[0] == s.mask.parent.name.split("_")[0] for s in source.samples} == {True}
    assert sorted(s.part for s in source.samples) == ["test"] * 3 + ["train"] * 3


def test_a_single_part_counts_as_unsplit(tmp_path):
    for i in range(3):
        save_image(tmp_path / "images/test" / f"{i}.png", i)
        save_mask(tmp_path / "masks/test" / f"{i}.png")
    source = read(tmp_path)
    assert [s.part for s in source.samples] == [None] * 3
    assert "unsplit" in source.layout


def test_lists_of_names_give_official_parts(tmp_path):
    for i in range(4):
        save_image(tmp_path / "x" / f"{i}.png", i)
        save_mask(tmp_path / "y" / f"{i}.png")
    (tmp_path / "train.txt").write_text("0\n1.png\n9\n2\n", encoding="utf-8")
    (tmp_path / "test.txt").write_text("x/2.png\n", encoding="utf-8-sig")
    source = read(tmp_path)
    assert [s.part for s in source.samples] == ["train", "train", "test", None]
    assert {(f.file, f.problem) for f in source.findings} == {
        ("train.txt", "no-image"),
        ("x/2.png", "in-two-parts"),
        ("x/3.png", "no-part"),
    }


def test_a_suffix_in_the_mask_folder(tmp_path):
    for i in (1, 10, 11):
        save_image(tmp_path / "a" / f"{i}_rgb.png", i)
        save_mask(tmp_path / "b" / f"{i}_gt.png")
    assert [s.mask.name for s in read(tmp_path).samples] == ["10_gt.png", "11_gt.png", "1_gt.png"]


def test_masks_in_a_folder_below_the_images(tmp_path):
    for i in range(3):
        save_image(tmp_path / f"{i}.png", i)
        save_mask(tmp_path / "sub" / f"{i}.png")
    assert [s.id for s in read(tmp_path).samples] == ["0.png", "1.png", "2.png"]


def test_unmatched_and_unused_files_are_told(tmp_path):
    for i in range(4):
        save_image(tmp_path / "a" / f"{i}.png", i)
        save_mask(tmp_path / "b" / f"{i}.png")
    save_image(tmp_path / "a" / "lone.png")
    save_mask(tmp_path / "b" / "widow.png")
    save_image(tmp_path / "c" / "else.png")
    assert {(f.file, f.problem, f.dropped) for f in read(tmp_path).findings} == {
        ("a/lone.png", "no-mask", True),
        ("b/widow.png", "no-image", True),
        ("c", "unused-images", True),
    }


def test_classes_from_prefix_and_folder(tmp_path):
    for name in ("rolled-in_scale", "Pa"):
        for i in range(3):
            save_image(tmp_path / "img" / name.upper() / f"{name}_{i}.png", i)
            save_mask(tmp_path / "seg" / name.upper() / f"{name}_{i}.png", 255)
    assert read(tmp_path, classes_from="prefix").classes == ["Pa", "rolled-in_scale"]
    assert read(tmp_path, classes_from="folder").classes == ["PA", "ROLLED-IN_SCALE"]
    assert read(tmp_path, classes_from="prefix", classes=("rolled-in_scale", "Pa")).classes == ["rolled-in_scale", "Pa"]
    with pytest.raises(InputError, match="--classes"):
        read(tmp_path, classes_from="prefix", classes=("Pa",))


def test_classes_from_folder_without_folders_is_refused(tmp_path):
    for i in range(2):
        save_image(tmp_path / "img" / f"{i}.png", i)
        save_mask(tmp_path / "seg" / f"{i}.png")
    with pytest.raises(InputError, match="classes-from folder"):
        read(tmp_path, classes_from="folder")


def test_two_folders_of_photographs_are_no_masks(tmp_path):
    for i in range(4):
        save_image(tmp_path / "images" / f"{i}.png", i)
        save_image(tmp_path / "masks" / f"{i}.png", i + 9)
    assert mask_folders.recognise(list_folder(tmp_path)) == 0
    with pytest.raises(InputError, match="parallel"):
        mask_folders.read(list_folder(tmp_path), ReadOptions())


def test_four_times_the_names_take_about_four_times_the_work(tmp_path, growth):
    for i in range(0, 20_000, 1_000):
        for part in ("train", "test"):
            save_image(tmp_path / f"a/{part}/s_{i}.png", i)
            save_mask(tmp_path / f"b/{part}/s_{i}.png")

    def read_names(count):
        folders = [f"{top}/{part}" for top in "ab" for part in ("train", "test")]
        files = [PurePosixPath(f"{folder}/s_{i}.png") for folder in folders for i in range(count)]
        assert len(mask_folders.read(Listing(tmp_path, sorted(files)), ReadOptions()).samples) == 2 * count

    assert growth(read_names, 5_000, 20_000) < 8  # 16 if it were quadratic
