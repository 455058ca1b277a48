"""Masks whose classes are colours, soft-edged, smeared, transparent or of 16 bits: read where certain, else refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from defectctl.errors import InputError
from defectctl.formats.base import ReadOptions
from defectctl.formats.masks.colour_tables import find_table, read_class_csv
from defectctl.formats.masks.mask_values import parse_mask_values
from defectctl.formats.prepare import PrepareOptions, prepare
from defectctl.formats.registry import list_folder
from defectctl.imaging.masks import decode_index

TABLE = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)


def two_classes() -> np.ndarray:
    mask = np.zeros((48, 64), np.uint8)
    mask[8:16, 8:20], mask[30:36, 30:40] = 1, 2
    return mask


def one_class(value=255) -> np.ndarray:
    return (two_classes() == 1).astype(np.uint8) * np.uint8(value)


def make(root: Path, mask, ending=".png", folders=("images", "masks"), names=("{}", "{}"), **how) -> Path:
    for i in range(3):
        for folder in folders:
            (root / folder).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(i).integers(40, 215, (48, 64, 3), np.uint8)
        Image.fromarray(noise).save(root / folders[0] / f"{names[0].format(i)}.png")
        image = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
        image.save(root / folders[1] / f"{names[1].format(i)}{ending}", **how)
    return root


def result_of(raw: Path, tmp_path: Path, **options):
    return prepare(raw, tmp_path / "out", PrepareOptions(read=ReadOptions(**options)))


def written(tmp_path: Path, result) -> np.ndarray:
    """The first sample's mask as the dataset holds it."""
    path = next(iter(sorted((tmp_path / "out" / "masks").rglob("*.png"))))
    return decode_index(path.read_bytes())


def test_colours_on_the_command_line(tmp_path):
    raw = make(tmp_path / "raw", TABLE[two_classes()])
    values = parse_mask_values("0=background,#FF0000=scratch,0x0000ff=pit")
    result = result_of(raw, tmp_path, mask_values=values)
    assert result.dataset.class_names == ["scratch", "pit"]
    np.testing.assert_array_equal(written(tmp_path, result), two_classes())


def test_pure_blue_is_not_the_number_255(tmp_path):
    raw = make(tmp_path / "raw", TABLE[one_class(2)])
    result_of(raw, tmp_path, mask_values=parse_mask_values("#00f=pit"))
    np.testing.assert_array_equal(written(tmp_path, None), one_class(1))


@pytest.mark.parametrize("text", ["#ff0000=a,1=b", "#ff00=a", "#gg0000=a", "1=a,1=b"])
def test_broken_colours_are_refused(text):
    with pytest.raises(InputError, match="mask-values"):
        parse_mask_values(text)


def test_colours_without_a_table_are_listed_with_their_share(tmp_path):
    raw = make(tmp_path / "raw", TABLE[two_classes()])
    with pytest.raises(InputError) as caught:
        result_of(raw, tmp_path)
    text = str(caught.value)
    # 8 x 12 = 96 and 6 x 10 = 60 of 3072 pixels
    assert "#ff0000 3.125%, #0000ff 1.953%" in text and "#000000 94.922%" in text
    assert "#000000=background,#ff0000=class-1,#0000ff=class-2" in text and "class_dict.csv" in text


def test_an_unnamed_colour_is_refused(tmp_path):
    raw = make(tmp_path / "raw", TABLE[two_classes()])
    with pytest.raises(InputError, match=r"masks/0\.png.*#0000ff.*cover 1\.953%"):
        result_of(raw, tmp_path, mask_values=parse_mask_values("#ff0000=scratch"))


def test_black_and_one_colour_are_binary(tmp_path):
    result = result_of(make(tmp_path / "raw", TABLE[one_class(1)]), tmp_path)
    assert result.dataset.class_names == ["defect"] and any("#ff0000" in note for note in result.notes)
    np.testing.assert_array_equal(written(tmp_path, result), one_class(1))


@pytest.mark.parametrize("head", ["name,r,g,b", "name; r; g; b", "class_name\tred\tgreen\tblue"])
@pytest.mark.parametrize("palette", [False, True])
def test_class_dict_in_the_manner_of_camvid(tmp_path, head, palette):
    mask = Image.fromarray(TABLE[two_classes()])
    if palette:  # the indices of a palette file are of no matter: its colours count
        mask = mask.quantize(8)
    mark = next(mark for mark in ",;\t" if mark in head)
    lines = [head, *(mark.join(cells) for cells in (("Void", *"000"), ("pit", *"00", "255"), ("dent", "255", *"00")))]
    raw = tmp_path / "raw"
    for part in ("train", "val", "test"):
        make(raw, mask, folders=(part, f"{part}_labels"), names=(part + "{}", part + "{}_L"))
    (raw / "class_dict.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    result = result_of(raw, tmp_path)
    assert result.dataset.class_names == ["pit", "dent"] and "class_dict.csv" in result.layout
    assert [row["images"] for row in result.parts] == [3, 3, 3] and not result.findings
    mask = written(tmp_path, result)
    assert [int(mask[y, x]) for y, x in ((0, 0), (10, 10), (32, 32))] == [255, 2, 1]


def test_tables_of_numbers_and_their_contradictions(tmp_path):
    """Roboflow's masks beside the images, with `_classes.csv` in every part."""
    raw = tmp_path / "raw"
    for part in ("train", "test"):
        make(raw, two_classes(), folders=(part, part), names=(part + "{}", part + "{}_mask"))
        text = "Pixel Value, Class\n0, background\n1, pit\n2, dent\n"
        (raw / part / "_classes.csv").write_text(text, encoding="utf-8")
    assert result_of(raw, tmp_path).dataset.class_names == ["pit", "dent"]
    (raw / "train" / "_classes.csv").write_text("Pixel Value, Class\n1, crack\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"test/_classes\.csv.*train/_classes\.csv"):
        find_table(list_folder(raw))


@pytest.mark.parametrize("line", ["pit,1,2", "pit,1,2,256", "pit,a,b,c", ",1,2,3"])
def test_a_broken_class_dict_is_refused(line):
    with pytest.raises(InputError, match=r"d\.csv"):
        read_class_csv(f"name,r,g,b\n{line}\n", "d.csv")


def test_other_tables_are_none(tmp_path):
    assert read_class_csv("file,class\na.png,pit\n", "labels.csv") is None


@pytest.mark.parametrize("thickness", [2, 3])
def test_soft_edges_of_thin_defects_are_thresholded(tmp_path, thickness):
    line = np.zeros((48, 64), np.uint8)
    cv2.line(line, (5, 5), (50, 30), 255, thickness, cv2.LINE_AA)
    result = result_of(make(tmp_path / "raw", line), tmp_path)
    np.testing.assert_array_equal(written(tmp_path, result), line > 127)
    assert any("over 127" in note for note in result.notes)


def test_many_numbers_with_an_inside_are_no_soft_edges(tmp_path):
    mask = np.zeros((48, 64), np.uint8)
    mask[30:46, 10:60] = 255
    for number in range(10):
        mask[4:10, 4 + 6 * number : 9 + 6 * number] = 20 + 20 * number
    with pytest.raises(InputError, match="--mask-values"):
        result_of(make(tmp_path / "raw", mask), tmp_path)


def test_binary_jpeg_with_a_stated_mapping(tmp_path):
    raw = make(tmp_path / "raw", one_class(), ".jpg", quality=85)
    result = result_of(raw, tmp_path, mask_values={0: "background", 255: "scratch"})
    assert result.dataset.class_names == ["scratch"] and any("over 127" in note for note in result.notes)
    assert (written(tmp_path, result) != one_class(1)).mean() < 0.01


@pytest.mark.parametrize("mask", [two_classes(), two_classes() * np.uint8(100), TABLE[one_class(1)]])
@pytest.mark.parametrize("classes", [(), ("a", "b")])
def test_jpeg_of_several_classes_or_colours_is_refused(tmp_path, mask, classes):
    with pytest.raises(InputError, match=r"'masks/0\.jpg' is a JPEG.*PNG"):
        result_of(make(tmp_path / "raw", mask, ".jpg", quality=90), tmp_path, classes=classes)


def drawn(colour: int, alpha: int) -> np.ndarray:
    on = one_class(1)
    return np.dstack([np.full((48, 64, 3), colour, np.uint8), on * np.uint8(alpha)])


@pytest.mark.parametrize(
    "mask",
    [
        drawn(255, 255),  # white on transparent white
        drawn(0, 255),  # black on transparent black
        drawn(255, 100),  # a half transparent overlay
        np.dstack([TABLE[one_class(1)], one_class()]),  # red on transparent black
        np.dstack([one_class()] * 3 + [np.full((48, 64), 255, np.uint8)]),  # opaque everywhere
        np.dstack([one_class()] * 3 + [np.zeros((48, 64), np.uint8)]),  # an alpha channel that was never filled
        np.dstack([one_class(), one_class()]),  # grey with alpha
    ],
)
def test_transparent_pixels_are_background(tmp_path, mask):
    result = result_of(make(tmp_path / "raw", mask), tmp_path)
    np.testing.assert_array_equal(written(tmp_path, result), one_class(1))


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (two_classes().astype(np.uint16) * 300, "600, above the 254.*300=class-1,600=class-2"),
        ((np.arange(96 * 160) // 32).astype(np.uint16).reshape(96, 160), "479 values up to 479.*single objects"),
    ],
)
def test_16_bit_numbers_are_refused_with_a_way_out(tmp_path, mask, says):
    raw = make(tmp_path / "raw", mask)
    with pytest.raises(InputError, match=says):
        prepare(raw, tmp_path / "out", PrepareOptions(format="mask-folders"))


def test_named_16_bit_numbers_are_read(tmp_path):
    raw = make(tmp_path / "raw", two_classes().astype(np.uint16) * 300)
    result = result_of(raw, tmp_path, mask_values={300: "pit", 600: "dent"})
    np.testing.assert_array_equal(written(tmp_path, result), two_classes())
