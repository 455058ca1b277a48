"""Broken annotation files: one clear error where a file is beyond use, else the bad entry is told and the rest kept."""

from __future__ import annotations

import json

import numpy as np
import pytest

ALL = ["images/s0.png", "images/s1.png", "images/s2.png"]


def without(content, key):
    return {name: value for name, value in content.items() if name != key}


@pytest.mark.parametrize("kind", ["cut-off", "no-images-key", "images-no-list", "two-names", "html"])
def test_a_coco_file_beyond_use_is_one_error_that_names_it(kind, tmp_path, prepare, make):
    content = make.coco_content()
    broken = {
        "cut-off": json.dumps(content).encode()[:-40],
        "no-images-key": without(content, "images"),
        "images-no-list": {**content, "images": {"0": "s0.png"}},
        "two-names": {**content, "categories": [{"id": 1, "name": "dent"}, {"id": 1, "name": "rust"}]},
        "html": b"<html>not found</html>",
    }
    raw = make.coco_set(tmp_path / "raw", broken[kind])
    err = prepare(raw, "--format", "coco", code=2).err
    assert "labels.json" in err or "no JSON with images" in err


@pytest.mark.parametrize("kind", ["cut-off", "no-images-key"])
def test_a_broken_coco_file_is_told_without_format_too(kind, tmp_path, prepare, make):
    content = make.coco_content()
    data = json.dumps(content).encode()[:-40] if kind == "cut-off" else without(content, "images")
    assert "json" in prepare(make.coco_set(tmp_path / "raw", data), code=2).err


def test_a_cut_off_json_beside_a_sound_one_is_told(tmp_path, prepare, make):
    raw = make.coco_set(tmp_path / "raw", make.coco_content())
    make.put(raw / "more.json", json.dumps(make.coco_content()).encode()[:-40])
    told = prepare(raw)
    assert told.samples == ALL and "not valid JSON" in told.finding("more.json", "unreadable")


COCO = {
    "no-such-image": ({"image_id": 77}, "no-image", "77"),
    "image-id-missing": ({"image_id": None}, "no-image", "None"),
    "no-such-category": ({"category_id": 9}, "no-category", "9"),
    "category-missing": ({"category_id": None}, "no-category", "None"),
    "two-points": ({"segmentation": [[3, 3, 9, 9]]}, "broken-region", ""),
    "odd-number-of-coordinates": ({"segmentation": [[3, 3, 9, 9, 5]]}, "odd-polygon", "x, y pairs"),
    "nan-in-outline": ({"segmentation": [[3, float("nan"), 9, 9, 5, 12]]}, "odd-polygon", "finite"),
    "outline-of-words": ({"segmentation": [["a", "b", "c", "d", "e", "f"]]}, "odd-polygon", "finite"),
    "box-with-negative-size": ({"segmentation": [], "bbox": [9, 9, -5, 4]}, "box-empty", "-5"),
    "box-with-nan": ({"segmentation": [], "bbox": [9, float("nan"), 5, 4]}, "box-odd", "nan"),
    "box-with-infinity": ({"segmentation": [], "bbox": [9, 9, float("inf"), 4]}, "box-odd", "inf"),
    "box-of-three": ({"segmentation": [], "bbox": [9, 9, 5]}, "box-odd", "[9, 9, 5]"),
    "box-outside": ({"segmentation": [], "bbox": [90, 90, 5, 5]}, "box-outside", "90"),
    "run-length-of-another-size": ({"segmentation": {"size": [9, 9], "counts": [81]}}, "size-differs", "9x9"),
    "run-length-without-size": ({"segmentation": {"counts": [81]}}, "odd-run-length", "size"),
    "run-length-too-long": ({"segmentation": {"size": [24, 24], "counts": [9999, 4]}}, "broken-region", ""),
    "run-length-of-rubbish": ({"segmentation": {"size": [24, 24], "counts": "}}}}"}}, "broken-region", ""),
    "nothing-at-all": ({"segmentation": [], "bbox": []}, "empty-annotation", "neither"),
}


def test_broken_coco_annotations_are_told_each_and_cost_no_image(tmp_path, prepare, make):
    content = make.coco_content()
    for number, (change, _, _) in enumerate(COCO.values(), 100):
        content["annotations"].append({**content["annotations"][0], "id": number, **change})
    told = prepare(make.coco_set(tmp_path / "raw", content))
    assert told.samples == ALL
    problems = [problem for _, problem in told.findings]
    wrong = [kind for kind, (_, problem, words) in COCO.items() if problem not in problems]
    assert not wrong, sorted(told.findings)


@pytest.mark.parametrize("kind", [kind for kind in COCO if COCO[kind][1] != "broken-region"])
def test_the_finding_of_a_broken_coco_annotation_shows_what_is_wrong(kind, tmp_path, make):
    # read alone: the command line is run on all of them above
    from defectctl.formats.base import ReadOptions
    from defectctl.formats.registry import list_folder

    change, problem, words = COCO[kind]
    content = make.coco_content()
    content["annotations"][0].update(change)
    source = make.readers["coco"].read(list_folder(make.coco_set(tmp_path, content)), ReadOptions())
    left_out = [finding.file for finding in source.findings if finding.problem == "nothing-usable"]
    assert len(left_out) <= 1 and sorted([*(sample.id for sample in source.samples), *left_out]) == ALL
    (finding,) = [finding for finding in source.findings if finding.problem == problem]
    assert words in finding.text and finding.file == "labels.json"


def test_odd_coco_images_are_told(tmp_path, prepare, make):
    content = make.coco_content()
    content["images"][1].update(width=48)
    content["images"][2].update(id=10**30)
    content["annotations"][2].update(image_id=10**30)
    content["images"] += [
        {"id": 7, "file_name": "gone.png"},
        {"id": 0, "file_name": "s2.png"},
        {"id": 8},
        {"id": 9, "file_name": "../../etc/passwd"},
    ]
    raw = make.coco_set(tmp_path / "raw", content)
    make.put(raw / "images" / "extra.png", make.picture())
    told = prepare(raw)
    assert told.samples == ["images/s0.png", "images/s2.png"]
    assert "48x24" in told.finding("images/s1.png", "size-differs")
    told.finding("images/extra.png", "no-annotation")
    assert {problem for _, problem in told.findings} >= {"no-image", "duplicate-id"}


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_a_list_of_no_objects_is_one_error(key, tmp_path, prepare, make):
    raw = make.coco_set(tmp_path / "raw", {**make.coco_content(), key: [1, 2]})
    err = prepare(raw, code=2).err
    assert "labels.json" in err and key in err


VOC = {
    "cut-off": lambda voc: (voc()[:-30], "unreadable"),
    "empty-file": lambda voc: (b"", "unreadable"),
    "binary": lambda voc: (bytes(range(256)), "unreadable"),
    "unknown-encoding": lambda voc: (b'<?xml version="1.0" encoding="klingon"?>' + voc(), "unreadable"),
    "other-xml": lambda voc: (b"<html><body/></html>", "no-annotation"),
    "box-outside": lambda voc: (voc([("dent", (90, 90, 99, 99))]), "box-outside"),
    "box-partly-outside": lambda voc: (voc([("dent", (20, 20, 40, 40))]), "box-outside"),
    "swapped-corners": lambda voc: (voc([("dent", (10, 10, 3, 3))]), "box-swapped"),
    "flat-box": lambda voc: (voc([("dent", (5, 9, 4, 12))]), "box-swapped"),
    "words-as-corners": lambda voc: (voc([("dent", ("a", 3, 9, 9))]), "no-box"),
    "nan-as-corner": lambda voc: (voc([("dent", ("nan", 3, 9, 9))]), "no-box"),
    "class-empty": lambda voc: (voc([("", (3, 3, 9, 9))]), "no-name"),
    "class-background": lambda voc: (voc([("background", (3, 3, 9, 9))]), "background"),
    "file-name-elsewhere": lambda voc: (voc(filename="C:\\photos\\other.png"), "name-differs"),
    "size-differs": lambda voc: (voc(size=(48, 24)), "size-differs"),
}


def test_broken_voc_files_are_told_each(tmp_path, prepare, make):
    raw = make.voc_pairs(tmp_path / "raw", 12)
    expected = {}
    for kind, build in VOC.items():
        data, problem = build(make.voc_text)
        make.put(raw / "images" / f"x-{kind}.png", make.picture(7))
        make.put(raw / "xml" / f"x-{kind}.xml", data)
        expected[kind] = problem
    told = prepare(raw)
    found = {(file.rpartition("/")[2].rpartition(".")[0], problem) for file, problem in told.findings}
    wrong = {kind: problem for kind, problem in expected.items() if (f"x-{kind}", problem) not in found}
    assert not wrong, sorted(told.findings)
    unusable = ("unreadable", "no-annotation", "size-differs")
    left = {f"images/x-{kind}.png" for kind, problem in expected.items() if problem in unusable}
    left |= {file for file, problem in told.findings if problem == "nothing-usable"}
    assert left.isdisjoint(told.samples)
    assert {f"images/x-{kind}.png" for kind in expected} - left <= set(told.samples)


@pytest.mark.parametrize("kind", ["cut-off", "empty-file", "binary"])
def test_voc_files_that_are_all_broken_are_one_error(kind, tmp_path, prepare, make):
    raw = make.voc_pairs(tmp_path / "raw")
    for i in range(3):
        make.put(raw / "xml" / f"s{i}.xml", VOC[kind](make.voc_text)[0])
    assert "xml/s0.xml" in prepare(raw, "--format", "voc-boxes", code=2).err


def test_a_zero_based_corner_and_a_stray_pair_are_told(tmp_path, prepare, make):
    raw = make.voc_pairs(tmp_path / "raw")
    make.put(raw / "xml" / "s0.xml", make.voc_text([("dent", (0, 0, 9, 9))]))
    make.put(raw / "xml" / "lone.xml", make.voc_text())
    make.put(raw / "images" / "lonely.png", make.picture())
    told = prepare(raw)
    assert told.samples == ALL
    told.finding("xml/s0.xml", "zero-based")
    told.finding("xml/lone.xml", "no-image")
    told.finding("images/lonely.png", "no-annotation")


def test_a_bomb_of_xml_entities_does_no_harm(tmp_path, prepare, make):
    raw = make.voc_pairs(tmp_path / "raw")
    levels = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    bomb = f'<!DOCTYPE a [<!ENTITY e0 "dent">{levels}]><annotation><filename>&e11;</filename></annotation>'
    make.put(raw / "images" / "x.png", make.picture())
    make.put(raw / "xml" / "x.xml", bomb.encode())
    told = prepare(raw)
    assert told.samples == ALL and ("xml/x.xml", "unreadable") in told.findings


YOLO = {
    "class-out-of-range": "7 0.5 0.5 0.25 0.25",
    "class-negative": "-1 0.5 0.5 0.25 0.25",
    "class-a-word": "dent 0.5 0.5 0.25 0.25",
    "four-numbers": "0 0.5 0.5 0.25",
    "pixels-instead-of-shares": "0 12 12 6 6",
    "nan": "0 nan 0.5 0.25 0.25",
    "negative-size": "0 0.5 0.5 -0.25 0.25",
    "outline-of-two-points": "0 0.1 0.1 0.4 0.4",
}


@pytest.mark.skipif("'yolo' not in __import__('defectctl.formats.registry', fromlist=['_']).READERS")
def test_broken_yolo_lines_are_told_with_their_file(tmp_path, prepare, make):
    raw = make.yolo_set(tmp_path / "raw", "0 0.5 0.5 0.25 0.25")
    for kind, line in YOLO.items():
        if kind != "outline-of-two-points":  # the same form as a box
            make.put(raw / "images/train" / f"x-{kind}.png", make.picture())
            make.put(raw / "labels/train" / f"x-{kind}.txt", f"0 0.5 0.5 0.5 0.5\n{line}\n".encode())
    got = prepare(raw, code=None)
    if got.code == 2:
        assert "labels/train/x-" in got.err
    else:
        for kind in YOLO.keys() - {"outline-of-two-points"}:
            assert any(f"x-{kind}." in file for file, _ in got.findings), (kind, sorted(got.findings))


READER_CASES = {
    "labelme": (
        {"images/s0.json": b'{"version": "5.5.0", "shapes": [{"label": "dent", "points": [[1'},
        "images/s0.json",
    ),
    "label-table": ({"labels.csv": b"image,label\ns0.png,dent\nother.png,rust\n"}, "labels.csv"),
    "rle-csv": ({"train.csv": b"ImageId,ClassId,EncodedPixels\ns0.png,1,5 4 9\ns1.png,1,1 9999999\n"}, "train.csv"),
}


@pytest.mark.parametrize("name", READER_CASES)
def test_other_readers_name_what_is_broken(name, tmp_path, prepare, make):
    if name not in make.readers:
        pytest.skip(f"{name} is not registered")
    raw = tmp_path / "raw"
    for i in range(3):
        make.put(raw / "images" / f"s{i}.png", make.picture(i))
    files, told_file = READER_CASES[name]
    for file, data in files.items():
        make.put(raw / file, data)
    if name == "labelme":
        shape = {"label": "dent", "points": [[2, 2], [9, 2], [9, 9]], "shape_type": "polygon"}
        content = {"version": "5.5.0", "flags": {}, "shapes": [shape], "imageData": None}
        content |= {"imagePath": "s1.png", "imageHeight": 24, "imageWidth": 24}
        make.put(raw / "images" / "s1.json", json.dumps(content).encode())
    got = prepare(raw, "--format", name, code=None)
    assert got.code in (0, 2)
    assert any(told_file in text for text in (got.err, *(file for file, _ in got.findings)))


def test_masks_without_images_and_images_without_masks_are_told(tmp_path, prepare, make):
    raw = make.mask_pairs(tmp_path / "raw")
    make.put(raw / "images" / "lone.png", make.picture())
    make.put(raw / "masks" / "stray.png", np.zeros((24, 24), np.uint8))
    told = prepare(raw)
    told.finding("images/lone.png", "no-mask")
    told.finding("masks/stray.png", "no-image")
    assert {"images/lone.png", "masks/stray.png"} <= told.dropped
