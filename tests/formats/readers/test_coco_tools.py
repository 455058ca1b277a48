"""COCO as CVAT, Roboflow and Label Studio write it: their names, flags, ids and idle categories."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from defectctl.formats.base import ReadOptions
from defectctl.formats.readers import coco
from defectctl.formats.registry import list_folder

PIT = [{"id": 1, "name": "pit"}]


def save(root: Path, file: str, names: list[str], annotations: list[dict], categories=PIT, paths=()) -> None:
    images = [{"id": i, "file_name": name, "width": 64, "height": 48} for i, name in enumerate(names)]
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content), encoding="utf-8")
    for image in paths:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / image).touch()


def note(key, owner, category=1, **more):
    return {"id": key, "image_id": owner, "category_id": category, "bbox": [2, 3, 10, 10 + key], "iscrowd": 0, **more}


def read(root: Path, **options):
    return coco.read(list_folder(root), ReadOptions(**options))


def heights(source) -> dict[str, list[float]]:
    """Image -> the heights of its boxes, which tell the annotations apart."""
    return {sample.id: [shape.box[3] - shape.box[1] for shape in sample.shapes] for sample in source.samples}


@pytest.mark.parametrize(
    ("stated", "stored"),
    [
        ("images/3b5c9f12-my%20photo.jpg", "images/3b5c9f12-my photo.jpg"),
        ("images\\/3b5c9f12-my%20photo.jpg", "images/my photo.jpg"),
        ("/data/upload/1/aa11bb22-b.png", "images/b.png"),
        ("/data/local-files/?d=images%2Fc%20d.jpg", "images/c d.jpg"),
        ("http://localhost:8080/data/upload/1/up.jpg?x=1", "images/up.jpg"),
        ("x.jpg", "images/3b5c9f12-x.jpg"),
        ("100%25.jpg", "images/100%25.jpg"),
        ("C:\\data\\sub\\x.jpg", "pics/sub/x.jpg"),
    ],
)
def test_label_studio_and_windows_names(tmp_path, stated, stored):
    save(tmp_path, "result.json", [stated], [note(1, 0)], paths=[stored])
    source = read(tmp_path)
    assert heights(source) == {stored: [11]} and not source.findings


def test_two_files_that_a_prefix_hides_are_not_guessed(tmp_path):
    paths = ["images/aaaaaaaa-x.jpg", "images/bbbbbbbb-x.jpg"]
    save(tmp_path, "result.json", ["x.jpg"], [note(1, 0)], paths=paths)
    assert "ambiguous-image" in {f.problem for f in read(tmp_path).findings}


def test_cvat_masks_are_no_crowds(tmp_path):
    """CVAT flags every mask that was drawn with its brush as a crowd; crowds would be left out of training."""
    rle = {"size": [48, 64], "counts": [98, 10, 38, 10, 48 * 64 - 156]}
    drawn = note(1, 0, segmentation=rle, iscrowd=1, attributes={"occluded": False})
    outline = note(2, 0, segmentation=[[2, 2, 12, 2, 12, 12]], attributes={"occluded": False})
    crowd = note(3, 0, segmentation=rle, iscrowd=1)
    categories = [*PIT, {"id": 9, "name": "idle", "supercategory": ""}]
    path = ["images/default/0.jpg"]
    save(tmp_path, "annotations/instances_default.json", ["0.jpg"], [drawn, outline, crowd], categories, path)
    source = read(tmp_path)
    assert [shape.crowd for shape in source.samples[0].shapes] == [False, False, True]
    assert source.classes == ["pit", "idle"] and [f.problem for f in source.findings] == ["crowd-flag"]


@pytest.mark.parametrize("more", [[], [{"id": 3, "name": "other", "supercategory": "none"}]])
def test_roboflows_entry_0_is_no_class(tmp_path, more):
    categories = [
        {"id": 0, "name": "defects", "supercategory": "none"},
        {"id": 1, "name": "pit", "supercategory": "defects"},
        {"id": 2, "name": "dent", "supercategory": "defects"},
        *more,
    ]
    for number, part in enumerate(("train", "valid", "test"), 1):
        save(tmp_path, f"{part}/_annotations.coco.json", ["a.jpg"], [note(number, 0)], categories, [f"{part}/a.jpg"])
    source = read(tmp_path)
    assert source.classes == ["pit", "dent", *(item["name"] for item in more)]
    assert heights(source) == {"train/a.jpg": [11], "valid/a.jpg": [12], "test/a.jpg": [13]}
    assert [s.part for s in source.samples] == ["test", "train", "val"]


def test_ids_as_text_and_as_numbers_are_the_same(tmp_path):
    categories = [{"id": "2", "name": "pit"}, {"id": 10, "name": "dent"}, {"id": 77.0, "name": "pit"}]
    annotations = [note(1, "0", 2), note(2, 0.0, "10"), note(3, 0, "77")]
    save(tmp_path, "a.json", ["x.jpg"], annotations, categories, ["x.jpg"])
    source = read(tmp_path)
    assert [shape.class_name for shape in source.samples[0].shapes] == ["pit", "dent", "pit"]
    assert [f.problem for f in source.findings] == ["duplicate-category"]


def test_a_crowd_flag_as_text(tmp_path):
    save(tmp_path, "a.json", ["x.jpg"], [note(1, 0, iscrowd="0"), note(2, 0, iscrowd="1")], paths=["x.jpg"])
    assert [shape.crowd for shape in read(tmp_path).samples[0].shapes] == [False, True]


def test_classes_that_differ_in_case_only_are_one(tmp_path):
    categories = [{"id": 1, "name": "Pit"}, {"id": 2, "name": "pit "}]
    save(tmp_path, "a.json", ["x.jpg"], [note(1, 0, 1), note(2, 0, 2)], categories, ["x.jpg"])
    assert read(tmp_path).classes == ["Pit"] and read(tmp_path, classes=("pit",)).classes == ["pit"]
    assert "case-differs" in {f.problem for f in read(tmp_path).findings}


def test_annotations_of_the_background_are_left_out(tmp_path):
    categories = [{"id": 0, "name": "background"}, *PIT]
    save(tmp_path, "a.json", ["x.jpg"], [note(1, 0, 0), note(2, 0)], categories, ["x.jpg"])
    source = read(tmp_path)
    assert source.classes == ["pit"] and heights(source) == {"x.jpg": [12]}
    assert ("background", True) in {(f.problem, f.dropped) for f in source.findings}


def test_a_second_file_on_the_same_images_gives_no_classes(tmp_path):
    """COCO's person_keypoints file names the images of its instances file once more."""
    names, paths = ["0.jpg", "1.jpg"], ["val2017/0.jpg", "val2017/1.jpg"]
    save(tmp_path, "annotations/instances_val2017.json", names, [note(1, 0)], paths=paths)
    save(tmp_path, "annotations/person_keypoints_val2017.json", names, [], [{"id": 1, "name": "person"}])
    source = read(tmp_path)
    assert source.classes == ["pit"]
    (finding,) = source.findings
    assert finding.problem == "duplicate-image" and "2 images" in finding.text and finding.dropped


def test_files_that_disagree_on_classes_are_united_and_told(tmp_path):
    save(tmp_path, "train.json", ["train/0.jpg"], [note(1, 0)], paths=["train/0.jpg"])
    save(tmp_path, "val.json", ["val/0.jpg"], [note(1, 0)], [{"id": 1, "name": "dent"}], ["val/0.jpg"])
    source = read(tmp_path)
    assert source.classes == ["pit", "dent"]
    assert {s.id: s.shapes[0].class_name for s in source.samples} == {"train/0.jpg": "pit", "val/0.jpg": "dent"}
    assert [f.problem for f in source.findings] == ["classes-differ"]


def test_names_that_differ_in_case_only(tmp_path):
    (tmp_path / "probe").touch()
    if (tmp_path / "PROBE").exists():
        pytest.skip("this file system does not heed case")
    names = ["A.jpg", "a.jpg", "b.jpg", "B.JPG"]
    notes = [note(i + 1, i) for i in range(4)]
    save(tmp_path, "a.json", names, notes, paths=[f"i/{name}" for name in names])
    assert heights(read(tmp_path)) == {"i/A.jpg": [11], "i/a.jpg": [12], "i/b.jpg": [13], "i/B.JPG": [14]}
