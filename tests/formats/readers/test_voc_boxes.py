"""VOC detection: corners become half-open from 0, the XML's class counts, contradictions are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defectctl.errors import InputError
from defectctl.formats.base import ReadOptions
from defectctl.formats.readers import voc_boxes
from defectctl.formats.registry import list_folder, recognise


def save_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((50, 100), np.uint8)).save(path)


def save_xml(path: Path, *objects, filename: str | None = None, encoding: str = "utf-8", head: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stated = path.stem + ".jpg" if filename is None else filename
    items = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for name, a, b, c, d in objects
    )
    size = "<size><width>100</width><height>50</height></size>"
    text = f"{head}<annotation><filename>{stated}</filename>{size}{items}</annotation>"
    path.write_bytes(text.encode(encoding))


def read(root: Path, **options):
    listing = list_folder(root)
    assert recognise(listing).NAME == "voc-boxes"
    return voc_boxes.read(listing, ReadOptions(**options))


def problems(source) -> set[tuple[str, str]]:
    return {(finding.file, finding.problem) for finding in source.findings}


@pytest.mark.parametrize("folders", [("IMAGES", "ANNOTATIONS"), ("b", "a"), ("", ""), ("JPEGImages", "Annotations")])
def test_corners_become_half_open_from_0(tmp_path, folders):
    save_image(tmp_path / folders[0] / "crack_1.jpg")
    save_xml(tmp_path / folders[1] / "crack_1.xml", ("pit", 1, 1, 100, 50), ("dent", 11, 21, 11, 21))
    source = read(tmp_path)
    (sample,) = source.samples
    assert [(s.class_name, s.box) for s in sample.shapes] == [("pit", (0, 0, 100, 50)), ("dent", (10, 20, 11, 21))]
    assert source.classes == ["dent", "pit"] and sample.stated_size == (100, 50)
    assert source.knows_boxes and not source.knows_masks and not source.findings


def test_a_zero_corner_anywhere_means_counting_from_0(tmp_path):
    for name, box in (("a", ("pit", 0, 5, 10, 20)), ("b", ("pit", 11, 21, 31, 41))):
        save_image(tmp_path / f"{name}.jpg")
        save_xml(tmp_path / f"{name}.xml", box)
    source = read(tmp_path)
    assert [s.shapes[0].box for s in source.samples] == [(0, 5, 10, 20), (11, 21, 31, 41)]
    assert problems(source) == {("a.xml", "zero-based")}


def test_empty_and_outside_boxes_are_told(tmp_path):
    save_image(tmp_path / "a.jpg")
    save_xml(
        tmp_path / "a.xml",
        ("pit", 20, 5, 10, 20),
        ("pit", 90, 1, 140, 10),
        ("pit", 101, 1, 140, 10),
        ("", 1, 1, 2, 2),
        ("pit", "x", 1, 2, 2),
    )
    source = read(tmp_path)
    assert [s.box for s in source.samples[0].shapes] == [(9, 4, 20, 20), (89, 0, 100, 10)]
    assert sorted((f.problem, f.dropped) for f in source.findings) == [
        ("box-outside", False),
        ("box-outside", True),
        ("box-swapped", False),
        ("no-box", True),
        ("no-name", True),
    ]


def test_a_box_without_width_is_told(tmp_path):
    save_image(tmp_path / "a.jpg")
    save_xml(tmp_path / "a.xml", ("pit", 0, 5, 10, 20), ("pit", 7, 5, 7, 20))
    source = read(tmp_path)
    assert len(source.samples[0].shapes) == 1
    assert problems(source) == {("a.xml", "zero-based"), ("a.xml", "box-empty")}


def test_fractions_are_edges_and_no_pixel_numbers(tmp_path):
    """CVAT writes 10.5 for an edge in the middle of pixel 10."""
    save_image(tmp_path / "a.jpg")
    save_xml(tmp_path / "a.xml", ("pit", "10.5", "11.25", "20.75", "22.0"))
    source = read(tmp_path)
    assert source.samples[0].shapes[0].box == (10.5, 11.25, 20.75, 22)
    assert problems(source) == {("a.xml", "zero-based")}


def test_difficult_truncated_background_and_case(tmp_path):
    """Difficult and truncated defects are defects; a box of the background is none; one class has one spelling."""
    save_image(tmp_path / "a.jpg")
    save_xml(tmp_path / "a.xml", ("Pit", 1, 1, 9, 9), ("pit", 3, 3, 9, 9), ("background", 1, 1, 5, 5))
    text = (tmp_path / "a.xml").read_text(encoding="utf-8")
    flags = "</name><difficult>1</difficult><truncated>1</truncated>"
    (tmp_path / "a.xml").write_text(text.replace("</name>", flags, 1), encoding="utf-8")
    source = read(tmp_path)
    assert [shape.class_name for shape in source.samples[0].shapes] == ["Pit", "Pit"] and source.classes == ["Pit"]
    assert "1 objects marked difficult" in source.layout
    assert {(f.problem, f.dropped) for f in source.findings} == {("background", True), ("case-differs", False)}


def test_names_that_differ_in_case_only(tmp_path):
    (tmp_path / "probe").touch()
    if (tmp_path / "PROBE").exists():
        pytest.skip("this file system does not heed case")
    for name, right in (("A", 20), ("a", 30)):
        save_image(tmp_path / "i" / f"{name}.jpg")
        save_xml(tmp_path / "x" / f"{name}.xml", ("pit", 1, 1, right, 9))
    found = {s.id: s.shapes[0].box[2] for s in read(tmp_path).samples}
    assert found == {"i/A.jpg": 20, "i/a.jpg": 30}


def test_names_that_disagree(tmp_path):
    for name in ("a", "b", "d", "lone"):
        save_image(tmp_path / "img" / f"{name}.JPG")
    save_xml(tmp_path / "xml" / "a.xml", ("pit", 1, 1, 9, 9), filename="a")
    save_xml(tmp_path / "xml" / "b.xml", ("pit", 1, 1, 9, 9), filename="a.jpg")
    save_xml(tmp_path / "xml" / "c.xml", ("pit", 1, 1, 9, 9), filename=r"C:\data\d.jpg")
    save_xml(tmp_path / "xml" / "widow.xml")
    source = read(tmp_path)
    assert [s.id for s in source.samples] == ["img/a.JPG", "img/b.JPG", "img/d.JPG"]
    assert problems(source) == {
        ("xml/b.xml", "name-differs"),
        ("xml/c.xml", "name-differs"),
        ("xml/widow.xml", "no-image"),
        ("img/lone.JPG", "no-annotation"),
    }


def test_a_broken_xml_is_told_and_the_rest_read(tmp_path):
    for name in ("a", "b", "c"):
        save_image(tmp_path / f"{name}.jpg")
    save_xml(tmp_path / "a.xml", ("pit", 1, 1, 9, 9))
    (tmp_path / "b.xml").write_text("<annotation><object>", encoding="utf-8")
    (tmp_path / "c.xml").write_text("<other/>", encoding="utf-8")
    source = read(tmp_path)
    assert [s.id for s in source.samples] == ["a.jpg"]
    assert ("b.xml", "unreadable") in problems(source) and ("c.xml", "no-annotation") in problems(source)


def test_only_broken_xml_is_an_input_error(tmp_path):
    save_image(tmp_path / "a.jpg")
    (tmp_path / "a.xml").write_text("<annotation>", encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.xml"):
        voc_boxes.read(list_folder(tmp_path), ReadOptions())


@pytest.mark.parametrize(
    ("encoding", "head"),
    [
        ("utf-8-sig", ""),
        ("latin-1", ""),
        ("latin-1", '<?xml version="1.0" encoding="utf-8"?>'),
        ("utf-16", ""),
        ("gbk", '<?xml version="1.0" encoding="GBK"?>'),
    ],
)
def test_encodings(tmp_path, encoding, head):
    name = "划痕" if encoding == "gbk" else "fêlure"
    save_image(tmp_path / "a.jpg")
    save_xml(tmp_path / "a.xml", (name, 1, 1, 9, 9), encoding=encoding, head=head)
    assert voc_boxes.read(list_folder(tmp_path), ReadOptions()).classes == [name]


def test_official_lists(tmp_path):
    for i in range(5):
        save_image(tmp_path / "J" / f"{i}.jpg")
        save_xml(tmp_path / "A" / f"{i}.xml", ("pit", 1, 1, 9, 9))
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    content = {"train": "0\n1\n", "val": "2\n", "trainval": "0\n1\n2\n", "test": "3\n4\n", "pit_train": "0 -1\n"}
    for part, names in content.items():
        (lists / f"{part}.txt").write_text(names, encoding="utf-8")
    source = read(tmp_path)
    assert [s.part for s in source.samples] == ["train", "train", "val", "test", "test"]
    assert not source.findings


def test_trainval_stands_in_for_train(tmp_path):
    for i in range(3):
        save_image(tmp_path / f"{i}.jpg")
        save_xml(tmp_path / f"{i}.xml", ("pit", 1, 1, 9, 9))
    (tmp_path / "trainval.txt").write_text("0\n1\n", encoding="utf-8")
    (tmp_path / "test.txt").write_text("2\n", encoding="utf-8")
    assert [s.part for s in read(tmp_path).samples] == ["train", "train", "test"]


def test_equal_stems_in_parts_go_to_their_own_part(tmp_path):
    for part in ("train", "test"):
        save_image(tmp_path / "img" / part / "0.jpg")
        save_xml(tmp_path / "ann" / part / "0.xml", (part, 1, 1, 9, 9))
    assert {(s.id, s.shapes[0].class_name) for s in read(tmp_path).samples} == {
        ("img/train/0.jpg", "train"),
        ("img/test/0.jpg", "test"),
    }


def test_a_part_without_defects_has_no_shapes(tmp_path):
    save_image(tmp_path / "a.jpg")
    save_xml(tmp_path / "a.xml")
    assert read(tmp_path).samples[0].shapes == []


def test_classes_in_the_users_order(tmp_path):
    save_image(tmp_path / "a.jpg")
    save_xml(tmp_path / "a.xml", ("b", 1, 1, 9, 9), ("a", 1, 1, 9, 9))
    assert read(tmp_path, classes=("b", "a")).classes == ["b", "a"]
    with pytest.raises(InputError, match="'b'"):
        read(tmp_path, classes=("a",))
