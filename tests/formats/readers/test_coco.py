"""COCO: polygons, both run-lengths, boxes, crowds; official parts; everything odd is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from defectctl.errors import InputError
from defectctl.formats.base import ReadOptions
from defectctl.formats.readers import coco
from defectctl.formats.regions import encode_rle, rasterise
from defectctl.formats.registry import list_folder, recognise

CATEGORIES = [{"id": 3, "name": "scratch"}, {"id": 7, "name": "pit"}]
TRIANGLE = [1.0, 1.0, 9.0, 1.0, 1.0, 9.0]


def image(key, name, width=40, height=30):
    return {"id": key, "file_name": name, "width": width, "height": height}


def note(key, owner, category=3, **more):
    return {"id": key, "image_id": owner, "category_id": category, **more}


def save(root: Path, file: str, images, annotations, categories=None, encoding="utf-8", touch=True) -> None:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"images": images, "annotations": annotations, "categories": categories or CATEGORIES}
    path.write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))
    for item in images if touch else ():
        target = path.parent / item["file_name"].replace("\\", "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()


def read(root: Path, **options):
    listing = list_folder(root)
    assert recognise(listing).NAME == "coco"
    return coco.read(listing, ReadOptions(**options))


def problems(source) -> list[str]:
    return sorted(finding.problem for finding in source.findings)


def test_every_kind_of_annotation(tmp_path):
    mask = np.zeros((30, 40), bool)
    mask[3:9, 4:20] = True
    counts = [4 * 30 + 3] + [6, 24] * 15 + [6, 20 * 30 + 21]
    annotations = [
        note(1, 1, segmentation=[TRIANGLE, [20, 20, 30, 20, 30, 29]], bbox=[1, 1, 29, 28]),
        note(2, 1, 7, segmentation=encode_rle(mask), iscrowd=1),
        note(3, 1, 7, segmentation={"size": [30, 40], "counts": counts}, bbox=[4, 3, 16, 6]),
        note(4, 1, segmentation=[], bbox=[4, 3, 16, 6], iscrowd=0),
    ]
    save(tmp_path, "a.json", [image(1, "x.jpg"), image(2, "y.jpg")], annotations)
    source = read(tmp_path)
    first, second = source.samples
    assert second.shapes == [] and first.stated_size == (40, 30)
    assert source.classes == ["scratch", "pit"] and not source.findings
    polygon, crowd, plain, box = first.shapes
    assert polygon.region.polygons == (tuple(TRIANGLE), (20, 20, 30, 20, 30, 29)) and polygon.box == (1, 1, 30, 29)
    assert crowd.crowd and not plain.crowd and crowd.class_name == "pit"
    for shape in (crowd, plain):
        np.testing.assert_array_equal(rasterise(shape.region, 30, 40), mask)
    assert box.region is None and box.box == (4, 3, 20, 9)
    assert source.knows_masks and source.knows_boxes


def test_boxes_alone_know_no_masks(tmp_path):
    save(tmp_path, "a.json", [image(1, "x.jpg")], [note(1, 1, bbox=[4, 3, 16, 6])])
    source = read(tmp_path)
    assert source.knows_boxes and not source.knows_masks


def test_json_beside_the_images_of_each_part(tmp_path):
    for part in ("train", "valid", "test"):
        save(tmp_path, f"{part}/_annotations.coco.json", [image(1, "same.jpg")], [note(1, 1, bbox=[1, 1, 5, 5])])
    source = read(tmp_path)
    assert [(s.id, s.part) for s in source.samples] == [
        ("test/same.jpg", "test"),
        ("train/same.jpg", "train"),
        ("valid/same.jpg", "val"),
    ]


def test_a_single_part_counts_as_unsplit(tmp_path):
    save(tmp_path, "test/_annotations.coco.json", [image(1, "a.jpg"), image(2, "b.jpg")], [])
    source = read(tmp_path)
    assert [s.part for s in source.samples] == [None, None] and "unsplit" in source.layout


@pytest.mark.parametrize("folder", ["{part}2017", "images/{part}2017", "data/{part}"])
def test_annotations_in_a_folder_of_their_own(tmp_path, folder):
    for part in ("train", "val"):
        path = tmp_path / folder.format(part=part) / "1.jpg"
        path.parent.mkdir(parents=True)
        path.touch()
        save(tmp_path, f"annotations/instances_{part}2017.json", [image(1, "1.jpg")], [], touch=False)
    source = read(tmp_path)
    assert {(s.part, s.id.split("/")[-2][:3]) for s in source.samples} == {("train", "tra"), ("val", "val")}
    assert not source.findings


def test_windows_paths_and_case(tmp_path):
    for name in ("a/b.JPG", "c/b.JPG"):
        (tmp_path / "pics" / name).parent.mkdir(parents=True)
        (tmp_path / "pics" / name).touch()
    images = [image(1, "c\\B.jpg"), image(2, ".\\a\\b.jpg")]
    save(tmp_path, "x.json", images, [note(1, 1, bbox=[1, 1, 5, 5])], touch=False)
    source = read(tmp_path)
    assert [(s.id, len(s.shapes)) for s in source.samples] == [("pics/a/b.JPG", 0), ("pics/c/b.JPG", 1)]


def test_an_unused_super_category_is_no_class(tmp_path):
    categories = [
        {"id": 0, "name": "defects", "supercategory": "none"},
        {"id": 1, "name": "pit", "supercategory": "defects"},
        {"id": 2, "name": "dent", "supercategory": "defects"},
    ]
    save(tmp_path, "a.json", [image(1, "x.jpg")], [note(1, 1, 1, bbox=[1, 1, 5, 5])], categories)
    source = read(tmp_path)
    assert source.classes == ["pit", "dent"]
    assert problems(source) == ["no-class"] and "defects" in source.findings[0].text


def test_a_used_super_category_is_a_class(tmp_path):
    categories = [{"id": 0, "name": "defects"}, {"id": 1, "name": "pit", "supercategory": "defects"}]
    save(tmp_path, "a.json", [image(1, "x.jpg")], [note(1, 1, 0, bbox=[1, 1, 5, 5])], categories)
    assert read(tmp_path).classes == ["defects", "pit"]


@pytest.mark.parametrize(
    ("images", "annotations", "expected"),
    [
        ([image(1, "x.jpg"), image(1, "y.jpg")], [], ["duplicate-id", "no-annotation"]),
        ([image(1, "x.jpg"), image(2, "x.jpg")], [], ["duplicate-image"]),
        ([image(1, "x.jpg")], [note(1, 9, bbox=[1, 1, 5, 5])], ["no-image"]),
        ([image(1, "x.jpg")], [note(1, 1, 99, bbox=[1, 1, 5, 5])], ["no-category"]),
        ([image(1, "x.jpg")], [note(1, 1)], ["empty-annotation"]),
        ([image(1, "x.jpg")], [note(1, 1, bbox=[1, 1, 0, 5])], ["box-empty"]),
        ([image(1, "x.jpg")], [note(1, 1, bbox=[30, 1, 50, 5])], ["box-outside"]),
        ([image(1, "x.jpg")], [note(1, 1, bbox=[30, 1, 10.8, 5])], []),
        ([image(1, "x.jpg")], [note(1, 1, segmentation=[[1, 2, 3]])], ["odd-polygon"]),
        ([image(1, "x.jpg")], [note(1, 1, segmentation={"size": [4, 4], "counts": [16]})], ["size-differs"]),
        ([image(1, "x.jpg")], [note(1, 1, segmentation={"counts": [16]})], ["odd-run-length"]),
        ([image(1, "x.jpg")], [note(1, 1, bbox=[1, 1, 5, 5]), note(1, 1, bbox=[2, 1, 5, 5])], ["duplicate-id"]),
    ],
)
def test_contradictions_are_told(tmp_path, images, annotations, expected):
    save(tmp_path, "a.json", images, annotations)
    source = read(tmp_path)
    told = problems(source)
    assert [problem for problem in told if problem != "nothing-usable"] == expected
    assert ("nothing-usable" in told) == (not source.samples)


def test_missing_and_unnamed_images(tmp_path):
    save(tmp_path, "a.json", [image(1, "gone.jpg")], [note(1, 1, bbox=[1, 1, 5, 5])])
    (tmp_path / "gone.jpg").rename(tmp_path / "other.jpg")
    source = read(tmp_path)
    assert {(f.file, f.problem, f.dropped) for f in source.findings} == {
        ("a.json", "no-image", True),
        ("other.jpg", "no-annotation", True),
    }


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1", "utf-8"])
def test_encodings(tmp_path, encoding):
    save(tmp_path, "a.json", [image(1, "x.jpg")], [], [{"id": 1, "name": "fêlure"}], encoding)
    assert read(tmp_path).classes == ["fêlure"]


def test_two_files_share_their_classes(tmp_path):
    save(tmp_path, "train/a.json", [image(1, "x.jpg")], [note(1, 1, 3, bbox=[1, 1, 5, 5])])
    swapped = [{"id": 3, "name": "pit"}, {"id": 4, "name": "dent"}]
    save(tmp_path, "test/a.json", [image(1, "y.jpg")], [note(1, 1, 3, bbox=[1, 1, 5, 5])], swapped)
    source = read(tmp_path)
    assert sorted(source.classes) == ["dent", "pit", "scratch"]
    assert {s.id: s.shapes[0].class_name for s in source.samples} == {"train/x.jpg": "scratch", "test/y.jpg": "pit"}


def test_broken_files_are_refused(tmp_path):
    (tmp_path / "x.jpg").touch()
    (tmp_path / "a.json").write_text('{"images": [], "annotations": [], "categories": [', encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.json"):
        coco.read(list_folder(tmp_path), ReadOptions())
    (tmp_path / "a.json").write_text('{"images": {}, "annotations": [], "categories": []}', encoding="utf-8")
    with pytest.raises(InputError, match="images"):
        coco.read(list_folder(tmp_path), ReadOptions())


@pytest.mark.parametrize("place", ["segmentation", "bbox"])
def test_a_number_that_no_float_can_hold_is_told(tmp_path, place):
    huge = 10**400
    given = {"segmentation": [[huge, 1, 9, 1, 1, 9]], "bbox": [huge, 1, 4, 4]}[place]
    save(tmp_path, "a.json", [image(1, "a.png")], [note(1, 1, bbox=[1, 1, 8, 8]), note(2, 1, **{place: given})])
    source = read(tmp_path)
    assert len(source.samples[0].shapes) == 1 and source.findings


def test_a_json_nested_beyond_measure_is_told(tmp_path):
    save(tmp_path, "a.json", [image(1, "a.png")], [note(1, 1, bbox=[1, 1, 8, 8])])
    (tmp_path / "z.json").write_text('{"images":' + "[" * 100_000, encoding="utf-8")
    source = read(tmp_path)
    assert len(source.samples) == 1 and "unreadable" in problems(source)
