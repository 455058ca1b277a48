"""VOC segmentation: palette masks, void is unknown, lists of names, CVAT's label map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defectctl.errors import InputError
from defectctl.formats.base import ReadOptions
from defectctl.formats.masks.colour_tables import read_label_map
from defectctl.formats.masks.mask_values import COLOUR, INDEX, MaskSurvey, decide_coding, file_values
from defectctl.formats.readers import voc_masks
from defectctl.formats.registry import list_folder, recognise

PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] + [0, 0, 0] * 251 + [224, 224, 192]


NAMES = ("JPEGImages", "SegmentationClass", "SegmentationObject")


def make(root: Path, names=NAMES, lists="ImageSets/Segmentation") -> None:
    for folder in (*names, lists):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for i in range(6):
        noise = np.random.default_rng(i).integers(60, 200, (24, 32), dtype=np.uint8)
        Image.fromarray(noise).save(root / names[0] / f"{i}.jpg")
        for folder, values in zip(names[1:], ((1, 2, 2), (1, 2, 3)), strict=False):
            mask = np.zeros((24, 32), np.uint8)
            for row, value in enumerate(values):
                mask[row * 6 + 2 : row * 6 + 5, 4:9] = value
            mask[20:22] = 255
            image = Image.fromarray(mask)
            image.putpalette(PALETTE)
            image.save(root / folder / f"{i}.png")
    (root / lists / "train.txt").write_text("0\n1\n2\n", encoding="utf-8")
    (root / lists / "val.txt").write_text("3\n", encoding="utf-8")
    (root / lists / "trainval.txt").write_text("0\n1\n2\n3\n", encoding="utf-8")
    (root / lists / "test.txt").write_text("4\n5\n", encoding="utf-8")


def read(root: Path, **options):
    listing = list_folder(root)
    assert recognise(listing).NAME == "voc-masks"
    return voc_masks.read(listing, ReadOptions(**options))


@pytest.mark.parametrize("names", [NAMES, ("a", "b", "c"), ("z", "y", "x")])
def test_class_masks_and_official_parts_under_any_name(tmp_path, names):
    make(tmp_path, names, "lists")
    source = read(tmp_path)
    assert {s.mask.parent.name for s in source.samples} == {names[1]}
    assert [s.part for s in source.samples] == ["train"] * 3 + ["val"] + ["test"] * 2
    assert source.class_values == {255: "unknown"}
    assert [(f.file, f.problem) for f in source.findings] == [(names[2], "unused-images")]


def test_most_images_may_be_without_mask(tmp_path):
    make(tmp_path)
    for i in range(100, 120):
        Image.fromarray(np.random.default_rng(i).integers(60, 200, (24, 32), dtype=np.uint8)).save(
            tmp_path / "JPEGImages" / f"{i}.jpg"
        )
    source = read(tmp_path)
    assert len(source.samples) == 6
    assert sum(f.problem == "no-mask" and f.dropped for f in source.findings) == 20


def test_boxes_beside_the_masks_are_mentioned(tmp_path):
    make(tmp_path)
    (tmp_path / "Annotations").mkdir()
    for i in range(6):
        (tmp_path / "Annotations" / f"{i}.xml").write_text("<annotation></annotation>", encoding="utf-8")
    assert "unused-boxes" in {f.problem for f in read(tmp_path).findings}


def test_label_map_names_palette_indices(tmp_path):
    make(tmp_path)
    text = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nscratch:0,128,0::\npit:128,0,0::\n"
    (tmp_path / "labelmap.txt").write_text(text, encoding="utf-8")
    source = read(tmp_path)
    assert source.classes == ["scratch", "pit"]
    assert apply_to(source, 0)[[2, 8, 14, 20], 5].tolist() == [2, 1, 1, 255]  # indices 1, 2, 2 and void


def apply_to(source, number):
    """One of the source's masks as class indices, by the same two passes as `prepare`."""
    reading = COLOUR if max(source.class_values) > 65535 else INDEX
    survey = MaskSurvey()
    for sample in source.samples:
        survey.add(sample.id, *file_values(sample.mask.read_bytes(), sample.id, reading))
    coding = decide_coding(survey, source.classes, source.class_values, False, reading)
    return coding.apply(source.samples[number].mask.read_bytes(), "")


def test_label_map_names_colours_of_colour_pictures(tmp_path):
    """CVAT's export: pure blue (0x0000ff) is a colour and not the number 255."""
    make(tmp_path, NAMES[:2])
    table = np.array([[0, 0, 0], [0, 0, 255], [51, 221, 255]], np.uint8)
    for path in (tmp_path / "SegmentationClass").iterdir():
        mask = np.zeros((24, 32), np.uint8)
        mask[2:5, 4:9], mask[8:11, 4:9] = 1, 2
        Image.fromarray(table[mask]).save(path)
    text = "background:0,0,0::\ndent:0,0,255::\npit:51,221,255::\n"
    (tmp_path / "labelmap.txt").write_text(text, encoding="utf-8")
    source = read(tmp_path)
    assert source.classes == ["dent", "pit"] and apply_to(source, 5)[[0, 3, 9], 5].tolist() == [0, 1, 2]


def test_label_map_names_places_where_masks_hold_numbers(tmp_path):
    make(tmp_path, NAMES[:2])
    for path in (tmp_path / "SegmentationClass").iterdir():
        Image.fromarray(np.pad(np.full((8, 8), 2, np.uint8), 8)).save(path)
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\nscratch:0,128,0::\npit:128,0,0::\n", encoding="utf-8")
    source = read(tmp_path)
    assert source.class_values == {0: "background", 1: "scratch", 2: "pit", 255: "unknown"}


def test_a_broken_label_map_is_refused():
    for text in ("pit:1,2\n", "pit:1,2,3::\npit:4,5,6::\n", "pit:1,2,3::\ndent:1,2,3::\n"):
        with pytest.raises(InputError, match=r"labelmap\.txt"):
            read_label_map(text, "labelmap.txt")


def test_grey_masks_are_not_taken_for_voc(tmp_path):
    """255 in a grey 0/255 mask is the defect, never "unknown"."""
    make(tmp_path, ("JPEGImages", "SegmentationClass"))
    for path in (tmp_path / "SegmentationClass").iterdir():
        Image.fromarray(np.pad(np.full((8, 8), 255, np.uint8), 8)).save(path)
    assert recognise(list_folder(tmp_path)).NAME == "mask-folders"


def test_a_folder_without_masks_is_refused(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(InputError, match="class masks"):
        voc_masks.read(list_folder(tmp_path), ReadOptions())
