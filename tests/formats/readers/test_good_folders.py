"""Folders of good parts, the class by folder or prefix, and names that differ in case only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defectctl.errors import InputError
from defectctl.formats.base import ReadOptions
from defectctl.formats.hints import folder_hint
from defectctl.formats.masks.mask_values import MaskCoding
from defectctl.formats.readers.good_folders import is_good
from defectctl.formats.registry import list_folder, recognise

TILES = ("MT_Blowhole", "MT_Break", "MT_Crack", "MT_Fray", "MT_Free", "MT_Uneven")
DEFECTS = [name for name in TILES if name != "MT_Free"]


def save(path: Path, pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 200, (24, 32), dtype=np.uint8)


def square(value: int) -> np.ndarray:
    return np.pad(np.full((8, 8), value, np.uint8), ((8, 8), (12, 12)))


def tiles(root: Path, good_masks: bool = True) -> None:
    """The layout of the Magnetic-tile set."""
    for number, name in enumerate(TILES):
        for i in range(3):
            save(root / name / "Imgs" / f"exp{i}_num_{number}{i}.jpg", picture(10 * number + i))
            if good_masks or name != "MT_Free":
                save(root / name / "Imgs" / f"exp{i}_num_{number}{i}.png", square(255 * (name != "MT_Free")))


def read(root: Path, **options):
    listing = list_folder(root)
    return recognise(listing).read(listing, ReadOptions(**options))


@pytest.mark.parametrize("good_masks", [True, False])
def test_magnetic_tiles(tmp_path, good_masks):
    tiles(tmp_path, good_masks)
    source = read(tmp_path, classes_from="folder")
    assert source.format == "mask-suffix" and source.classes == DEFECTS and not source.findings
    assert len(source.samples) == 18
    for sample in source.samples:
        folder = sample.id.split("/")[0]
        assert sample.class_name == (None if folder == "MT_Free" else folder)
        assert sample.label == ("good" if folder == "MT_Free" and not good_masks else None)
    assert read(tmp_path, classes_from="folder", classes=tuple(reversed(DEFECTS))).classes == DEFECTS[::-1]
    hint = folder_hint(read(tmp_path), MaskCoding(["defect"], np.zeros(1, np.uint8)))
    assert hint is not None and "--classes-from folder" in hint and "MT_Crack" in hint and "MT_Free" not in hint


def test_a_defect_in_a_good_folder_is_left_out_and_told(tmp_path):
    tiles(tmp_path)
    save(tmp_path / "MT_Free" / "Imgs" / "exp0_num_40.png", square(255))
    source = read(tmp_path, classes_from="folder")
    (finding,) = source.findings
    assert (finding.file, finding.problem, finding.dropped) == (
        "MT_Free/Imgs/exp0_num_40.jpg",
        "contradictory",
        True,
    )
    assert len(source.samples) == 17 and source.classes == DEFECTS


def test_a_folder_called_good_with_defects_is_a_class(tmp_path):
    for name in ("free", "pit"):
        for i in range(3):
            save(tmp_path / "images" / name / f"{i}.png", picture(i))
            save(tmp_path / "masks" / name / f"{i}.png", square(255))
    assert read(tmp_path, classes_from="folder").classes == ["free", "pit"]


def test_the_class_by_prefix_and_good_ones(tmp_path):
    for name in ("In", "Pa", "good"):
        for i in range(3):
            save(tmp_path / "images" / f"{name}_{i}.bmp", picture(i))
            save(tmp_path / "masks" / f"{name}_{i}.png", square(0 if name == "good" else 255))
    source = read(tmp_path, classes_from="prefix")
    assert source.classes == ["In", "Pa"] and len(source.samples) == 9


@pytest.mark.parametrize("name", ["good", "OK", "ok_parts", "MT_Free", "normal", "defect-free", "no_defect"])
def test_good_names(name):
    assert is_good(name)


@pytest.mark.parametrize("name", ["not_good", "no_good", "n.ok", "abnormal", "NG", "freeze", "broken", "images"])
def test_other_names(name):
    assert not is_good(name)


def test_a_class_needs_a_folder(tmp_path):
    for i in range(3):
        save(tmp_path / "img" / f"{i}.png", picture(i))
        save(tmp_path / "seg" / f"{i}.png", square(255))
    with pytest.raises(InputError, match="put it into a folder of its class"):
        read(tmp_path, classes_from="folder")


@pytest.mark.parametrize(
    ("image", "mask"),
    [("i/{}.png", "m/{}.png"), ("{}.jpg", "{}.png"), ("{}.jpg", "{}_mask.png"), ("{}/1.jpg", "{}/1_m.png")],
)
def test_names_that_differ_in_case_only_keep_their_own_masks(tmp_path, image, mask):
    (tmp_path / "probe").touch()
    if (tmp_path / "PROBE").exists():
        pytest.skip("this file system does not heed case")
    for seed, name in enumerate(("A", "a", "b", "c")):
        save(tmp_path / image.format(name), picture(seed))
        save(tmp_path / mask.format(name), square(255))
    (tmp_path / "train.txt").write_text("a\nb\n", encoding="utf-8")
    (tmp_path / "test.txt").write_text("A\nc\n", encoding="utf-8")
    source = read(tmp_path)
    found = {s.id: s.mask.relative_to(tmp_path).as_posix() for s in source.samples}
    assert found == {image.format(name): mask.format(name) for name in "Aabc"}
    if "/1" not in image:
        assert {s.id: s.part for s in source.samples} == {
            image.format(name): "test" if name in "Ac" else "train" for name in "Aabc"
        }


@pytest.mark.parametrize("name", ["gut", "intact", "negative", "i.O.", "MT_Free", "defect_free", "ok"])
def test_words_for_good(name):
    assert is_good(name)


@pytest.mark.parametrize("name", ["not ok", "n.i.O.", "MT_Crack", "bad", "positive", "notgood"])
def test_words_that_are_not_for_good(name):
    assert not is_good(name)
