"""Export: nothing lost silently, nothing half-written, and the numbers that each form asks for."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from defectctl.dataset.store import load_dataset
from defectctl.dataset.types import ClassInfo, Known, Object, Sample, Source, Split
from defectctl.dataset.writer import DatasetWriter
from defectctl.errors import InputError
from defectctl.fileio import sha256_bytes
from defectctl.formats import registry
from defectctl.formats.exports import export as module
from defectctl.formats.exports.export import FORMS, export
from defectctl.formats.prepare import PrepareOptions, prepare
from defectctl.formats.readers import yolo
from defectctl.imaging.masks import encode_mask
from defectctl.imaging.palette import class_colours

MASKS = Known((1, 2), (), True)
BOXES = Known((), (1, 2), True)


def image_bytes(seed, ending, size=(20, 10)):
    width, height = size
    return cv2.imencode(ending, np.random.default_rng(seed).integers(0, 255, (height, width), np.uint8))[1].tobytes()


def dataset(root, samples, known=MASKS, parts=None, names=("dent", "pit")):
    """Images of 20x10; `samples`: id -> dict of `mask`, `objects`, `label`, `known`, `instances`."""
    colours = class_colours(len(names))
    classes = [ClassInfo(name, colour) for name, colour in zip(names, colours, strict=True)]
    with DatasetWriter(root, "made", classes, {"made": Source("made", "made", known)}) as writer:
        for number, (own, has) in enumerate(samples.items()):
            data = has.get("data") or image_bytes(number, os.path.splitext(own)[1])
            sample = Sample(own, "", 20, 10, sha256_bytes(data), "made", objects=has.get("objects", []))
            sample.label, sample.known = has.get("label"), has.get("known")
            mask = has.get("mask")
            writer.add(sample, data, None if mask is None else encode_mask(mask, colours), has.get("instances"))
        writer.finish([Split("official", "test", None, parts or {"train": list(samples)})], "official", {})
    return root


def mask_with(*patches):
    mask = np.zeros((10, 20), np.uint8)
    for value, y1, y2, x1, x2 in patches:
        mask[y1:y2, x1:x2] = value
    return mask


def tree(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


DENT = mask_with((1, 2, 5, 4, 10))


def coco_of(out, part="train"):
    return json.loads((out / "annotations" / f"instances_{part}.json").read_text(encoding="utf-8"))


def test_coco_numbers(tmp_path):
    ring = mask_with((2, 1, 6, 1, 6), (0, 2, 5, 2, 5), (255, 8, 10, 0, 5))
    root = dataset(tmp_path / "d", {"a.png": {"mask": DENT}, "b.png": {"mask": ring}, "good.png": {}})
    result = export(root, tmp_path / "o", "coco")
    content = coco_of(tmp_path / "o")
    assert [(c["id"], c["name"]) for c in content["categories"]] == [(1, "dent"), (2, "pit")]
    assert [(i["id"], i["file_name"], i["width"], i["height"]) for i in content["images"]] == [
        (1, "a.png", 20, 10),
        (2, "b.png", 20, 10),
        (3, "good.png", 20, 10),
    ]
    dent, pit = content["annotations"]
    assert (dent["image_id"], dent["category_id"], dent["iscrowd"]) == (1, 1, 0)
    assert dent["bbox"] == [4, 2, 6, 3] and dent["area"] == 18
    # a quarter of a pixel inside the edges 4..10 and 2..5
    assert sorted(zip(*[iter(dent["segmentation"][0])] * 2, strict=True)) == [
        (4.25, 2.25),
        (4.25, 4.75),
        (9.75, 2.25),
        (9.75, 4.75),
    ]
    assert pit["bbox"] == [1, 1, 5, 5] and pit["area"] == 25 - 9 and pit["segmentation"]["size"] == [10, 20]
    assert any(note.startswith("10 pixels of 1 images that nobody knows") for note in result.notes)
    assert any(note.startswith("2 objects in 2 images are patches of the mask") for note in result.notes)
    assert result.images == {"train": 3} and result.objects == {"dent": 1, "pit": 1} and not result.findings


def test_stated_boxes_keep_their_numbers_and_get_their_pixels(tmp_path):
    mask = mask_with((1, 1, 4, 1, 5), (1, 6, 9, 1, 5), (1, 0, 2, 18, 20))
    boxes = [Object(1, (0.5, 0.5, 6.0, 9.5)), Object(2, (10.0, 2.0, 14.5, 6.0), crowd=True)]
    known = Known((1,), (1, 2), True)
    root = dataset(tmp_path / "d", {"a.png": {"mask": mask, "objects": boxes, "known": known}})
    result = export(root, tmp_path / "o", "coco")
    both, box, alone = coco_of(tmp_path / "o")["annotations"]
    assert both["bbox"] == [0.5, 0.5, 5.5, 9] and both["area"] == 24 and len(both["segmentation"]) == 2
    assert (box["bbox"], box["area"], box["segmentation"], box["iscrowd"]) == ([10, 2, 4.5, 4], 18, [], 1)
    assert alone["bbox"] == [18, 0, 2, 2]
    told = " ".join(result.notes)
    assert "known as boxes alone" in told and "lie in no box" in told and "given to the 1 boxes" in told
    assert not export(root, tmp_path / "y", "yolo").findings
    assert len((tmp_path / "y/labels/train/a.txt").read_text().splitlines()) == 2


def test_voc_numbers(tmp_path):
    objects = [Object(1, (3.0, 0.0, 20.0, 10.0)), Object(2, (0.4, 0.6, 2.5, 0.9), crowd=True)]
    root = dataset(tmp_path / "d", {"s/a b.png": {"objects": objects}, "s_/x.jpg": {}}, BOXES)
    result = export(root, tmp_path / "o", "voc")
    assert tree(tmp_path / "o") == [
        "Annotations/s___x.xml",
        "Annotations/s__a b.xml",
        "ImageSets/Main/train.txt",
        "JPEGImages/s___x.jpg",
        "JPEGImages/s__a b.png",
        "export.json",
        "labelmap.txt",
        "names.csv",
    ]
    xml = ElementTree.parse(tmp_path / "o/Annotations/s__a b.xml").getroot()
    corners = [[int(item.findtext(f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax")] for item in xml[-2:]]
    assert corners == [[4, 1, 20, 10], [1, 2, 3, 2]]
    assert [item.findtext("difficult") for item in xml[-2:]] == ["0", "1"]
    assert xml.findtext("filename") == "s__a b.png" and xml.findtext("size/depth") == "1"
    assert ElementTree.parse(tmp_path / "o/Annotations/s___x.xml").getroot().find("object") is None
    told = " ".join(result.notes)
    assert "1 boxes in 1 images had corners between pixels" in told and "1 file names hold blanks" in told
    assert "1 .png" in told and "'difficult'" in told and "no SegmentationClass" in told


def test_voc_and_plain_masks_hold_void_and_the_palette(tmp_path):
    mask = mask_with((1, 2, 5, 4, 10), (255, 0, 2, 0, 2))
    root = dataset(tmp_path / "d", {"a.jpg": {"mask": mask}, "g.jpg": {}}, names=("a:b", "pit"))
    export(root, tmp_path / "v", "voc")
    export(root, tmp_path / "m", "masks")
    for out, folder in (("v", "SegmentationClass"), ("m", "masks/train")):
        with Image.open(tmp_path / out / folder / "a.png") as image:
            palette = np.reshape(image.getpalette(), (-1, 3))
            np.testing.assert_array_equal(np.asarray(image), mask)
        assert tuple(palette[255]) == (224, 224, 192) and tuple(palette[1]) == class_colours(2)[0]
        with Image.open(tmp_path / out / folder / "g.png") as image:
            assert not np.asarray(image).any()
        assert "a_b:230,159,0::" in (tmp_path / out / "labelmap.txt").read_text().splitlines()
    assert (tmp_path / "m/classes.txt").read_text().split() == ["background", "a_b", "pit"]
    assert (tmp_path / "v/ImageSets/Segmentation/train.txt").read_text().split() == ["a", "g"]


def test_yolo_numbers(tmp_path):
    objects = [Object(2, (4.0, 2.0, 10.0, 5.0))]
    parts = {"train": ["images/a.png"], "test": ["g.png"]}
    samples = {"images/a.png": {"objects": objects}, "g.png": {}, "test/rest.png": {}}
    root = dataset(tmp_path / "d", samples, BOXES, parts)
    result = export(root, tmp_path / "o", "yolo")
    data = yaml.safe_load((tmp_path / "o/data.yaml").read_text(encoding="utf-8"))
    assert data == {"train": "images/train", "test": "images/test", "nc": 2, "names": {0: "dent", 1: "pit"}}
    line = (tmp_path / "o/labels/train/images_/a.txt").read_text().split()
    assert line[0] == "1" and np.allclose([float(v) for v in line[1:]], [7 / 20, 3.5 / 10, 6 / 20, 3 / 10], atol=1e-8)
    assert (tmp_path / "o/labels/test/g.txt").read_bytes() == b""
    assert (tmp_path / "o/images/unused/test__rest.png").is_file()
    told = " ".join(result.notes)
    assert "no part 'val'" in told and "1 samples are in no part" in told and result.images["unused"] == 1
    with open(tmp_path / "o/names.csv", encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    assert {row["file"]: row["id"] for row in rows} == {
        "images_/a.png": "images/a.png",
        "test__rest.png": "test/rest.png",
    }


def test_yolo_outlines_tell_holes_pieces_and_boxes(tmp_path):
    ring = mask_with((1, 1, 6, 1, 6), (0, 2, 5, 2, 5))
    known = Known((1,), (1, 2), True)
    objects = [Object(1, (0.0, 0.0, 20.0, 10.0)), Object(2, (10.0, 2.0, 14.0, 6.0))]
    ring[8, 8] = 1
    root = dataset(tmp_path / "d", {"a.png": {"mask": ring, "objects": objects, "known": known}})
    result = export(root, tmp_path / "o", "yolo", segment=True)
    lines = [line.split() for line in (tmp_path / "o/labels/train/a.txt").read_text().splitlines()]
    assert sorted((line[0], len(line)) for line in lines) == [("0", 9), ("0", 9), ("1", 9)]
    assert [float(v) for v in lines[-1][1:]] == [0.5, 0.2, 0.7, 0.2, 0.7, 0.6, 0.5, 0.6]
    told = " ".join(result.notes)
    assert "1 objects in 1 images have holes" in told and "of several pieces" in told and "their outline is the" in told


def test_pixels_of_which_nobody_knows_are_void_in_masks(tmp_path):
    samples = {
        "mask.png": {"mask": DENT, "known": Known((1,), (1, 2), True), "objects": [Object(2, (9.0, 4.0, 12.0, 7.0))]},
        "boxes.png": {"known": BOXES, "objects": [Object(1, (0.0, 0.0, 2.0, 3.0))]},
        "good.png": {"label": "good", "known": Known((), (), True)},
        "bad.png": {"label": "defective", "known": Known((), (), True)},
    }
    root = dataset(tmp_path / "d", samples)
    result = export(root, tmp_path / "m", "masks")
    stored = {name: np.asarray(Image.open(tmp_path / f"m/masks/train/{name}.png")) for name in ("mask", "boxes")}
    expected = DENT.copy()
    expected[4:7, 9:12] = 255
    expected[4, 9] = 1  # a pixel that the mask gives to a class stays
    np.testing.assert_array_equal(stored["mask"], expected)
    np.testing.assert_array_equal(stored["boxes"], mask_with((255, 0, 3, 0, 2)))
    assert not np.asarray(Image.open(tmp_path / "m/masks/train/good.png")).any()
    assert (np.asarray(Image.open(tmp_path / "m/masks/train/bad.png")) == 255).all()
    assert any(note.startswith(f"{8 + 6 + 200} pixels in 3 images are unknown") for note in result.notes)


@pytest.mark.parametrize("form", ["coco", "voc", "yolo"])
def test_unlabelled_images_never_pass_for_good_ones(tmp_path, form):
    nothing = {"known": Known((), (), True)}
    partly = {"known": Known((1,), (), True)}
    samples = {"a.png": {"mask": DENT}, "bad.png": {"label": "defective", **nothing}, "c.png": partly}
    samples["g.png"] = {"label": "good", **nothing}
    result = export(dataset(tmp_path / "d", samples), tmp_path / "o", form)
    assert [(f.file, f.problem, f.dropped) for f in result.findings] == [("bad.png", "unlabelled", True)]
    assert result.images == {"train": 3}
    assert "not judged, and here no different from absent: pit in 1 images" in result.notes


def test_masks_need_a_mask(tmp_path):
    root = dataset(tmp_path / "d", {"a.png": {"objects": [Object(1, (0.0, 0.0, 2.0, 3.0))]}}, BOXES)
    for options in ({"form": "masks"}, {"form": "yolo", "segment": True}):
        with pytest.raises(InputError, match="has a mask"):
            export(root, tmp_path / "o", **options)
    assert os.listdir(tmp_path) == ["d"]


@pytest.mark.parametrize("form", FORMS)
def test_names_that_would_meet_are_told_apart_and_bytes_are_copied(tmp_path, form):
    ids = ["a/b.png", "a__b.png", "A/B.bmp", "a/b.jpg", "ü/b.png", "b.png", "c/a/b.png"]
    root = dataset(tmp_path / "d", {own: {"mask": np.roll(DENT, i)} for i, own in enumerate(ids)})
    export(root, tmp_path / "o", form)
    folder = "JPEGImages" if form == "voc" else "images"
    written = [path for path in (tmp_path / "o" / folder).rglob("*") if path.is_file()]
    assert sorted(sha256_bytes(path.read_bytes()) for path in written) == sorted(
        sample.sha256 for sample in load_dataset(root).samples
    )
    if form != "coco":
        stems = {str(path.relative_to(tmp_path / "o" / folder).with_suffix("")).casefold() for path in written}
        assert len(stems) == len(ids)


@pytest.mark.parametrize("form", FORMS)
def test_what_was_written_is_recognised(tmp_path, monkeypatch, form):
    monkeypatch.setitem(registry.READERS, yolo.NAME, yolo)
    parts = {"train": ["s/1.png", "s/2.png"], "val": ["3.png"], "test": ["4.png"]}
    samples = {own: {"mask": np.roll(DENT, i)} for i, own in enumerate(["s/1.png", "s/2.png", "3.png", "4.png"])}
    root = dataset(tmp_path / "d", {**samples, "test/rest.png": {"mask": DENT}}, parts=parts)
    export(root, tmp_path / "o", form)
    result = prepare(tmp_path / "o", tmp_path / "back", PrepareOptions())
    counts = {row["part"]: row["images"] for row in result.parts}
    assert counts == {"train": 2, "val": 1, "test": 1} and len(result.dataset.samples) == 5


def test_a_name_that_ends_like_another_is_found_again(tmp_path):
    parts = {"train": ["a.png", "sub/a.png"], "val": ["x/sub/a.png"], "test": ["y/a.png", "y/b.png"]}
    ids = [own for part in parts.values() for own in part]
    root = dataset(tmp_path / "d", {own: {"mask": np.roll(DENT, i)} for i, own in enumerate(ids)}, parts=parts)
    export(root, tmp_path / "o", "coco")
    assert [image["file_name"] for image in coco_of(tmp_path / "o", "test")["images"]] == ["y__a.png", "y/b.png"]
    result = prepare(tmp_path / "o", tmp_path / "back", PrepareOptions())
    assert len(result.dataset.samples) == 5 and not result.findings


def test_a_changed_dataset_is_told_file_by_file(tmp_path):
    root = dataset(tmp_path / "d", {f"{i}.png": {"mask": np.roll(DENT, i)} for i in range(5)})
    (root / "images/0.png").unlink()
    (root / "images/1.png").write_bytes(image_bytes(99, ".png"))
    (root / "masks/2.png.png").write_bytes(encode_mask(mask_with(), []))
    (root / "instances").mkdir()
    (root / "instances/3.png.json").write_text('[{"label": 1}]')
    result = export(root, tmp_path / "o", "coco")
    assert [(f.file, f.problem) for f in result.findings] == [
        ("0.png", "unreadable"),
        ("1.png", "changed"),
        ("2.png", "damaged"),
        ("3.png", "damaged"),
    ]
    assert result.images == {"train": 1} and all(f.dropped for f in result.findings)
    (root / "images/4.png").unlink()
    with pytest.raises(InputError, match=r"no sample of .* can be written as coco \(0.png: its image"):
        export(root, tmp_path / "p", "coco")
    assert not (tmp_path / "p").exists()


def test_images_that_tools_may_stumble_over_are_told(tmp_path):
    deep = cv2.imencode(".tif", np.zeros((10, 20), np.uint16))[1].tobytes()
    turned = tmp_path / "turned.jpg"
    Image.new("L", (10, 20)).save(
        turned, exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    )
    samples = {"a.tif": {"data": deep}, "b.jpg": {"data": turned.read_bytes(), "mask": DENT}}
    result = export(dataset(tmp_path / "d", samples), tmp_path / "o", "coco")
    told = " ".join(result.notes)
    assert "1 .tif" in told and "1 images have more than 8 bits" in told and "1 images carry an EXIF turn" in told
    assert coco_of(tmp_path / "o")["annotations"][0]["bbox"] == [4, 2, 6, 3]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"form": "coko"}, "did you mean 'coco'"),
        ({"form": "coco", "segment": True}, "--segment is for --to yolo"),
        ({"form": "coco", "split": "fold-0"}, "has no split 'fold-0'"),
        ({"form": "coco", "out": "d/in"}, "lie one in the other"),
        ({"form": "coco", "out": "full"}, "no earlier export"),
        ({"form": "coco", "out": "full", "replace": True}, "no earlier export"),
        ({"form": "coco", "out": "full/x.txt"}, "is a file"),
        ({"form": "coco", "out": "empty"}, "stands in"),
    ],
)
def test_refusals(tmp_path, monkeypatch, options, words):
    root = dataset(tmp_path / "d", {"a.png": {"mask": DENT}})
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(InputError, match=words):
        export(root, **{"out": tmp_path / options.pop("out", "o"), **options})
    assert sorted(os.listdir(tmp_path)) == ["d", "empty", "full"] and os.listdir(tmp_path / "full") == ["x.txt"]


def test_an_earlier_export_makes_way_only_when_asked_and_only_for_a_whole_one(tmp_path, monkeypatch):
    root = dataset(tmp_path / "d", {"a.png": {"mask": DENT}})
    (tmp_path / "o").mkdir()
    export(root, tmp_path / "o", "coco")
    with pytest.raises(InputError, match="give --replace"):
        export(root, tmp_path / "o", "yolo")
    before = tree(tmp_path / "o")
    with monkeypatch.context() as patch:
        patch.setattr(module, "read_truth", lambda dataset, sample: (_ for _ in ()).throw(KeyboardInterrupt))
        for out in ("o", "new/deeper/o"):
            with pytest.raises(KeyboardInterrupt):
                export(root, tmp_path / out, "yolo", replace=True)
    assert tree(tmp_path / "o") == before and sorted(os.listdir(tmp_path)) == ["d", "o"]
    export(root, tmp_path / "o", "yolo", replace=True)
    assert "data.yaml" in tree(tmp_path / "o") and "annotations/instances_train.json" not in tree(tmp_path / "o")
    assert sorted(os.listdir(tmp_path)) == ["d", "o"]
    manifest = json.loads((tmp_path / "o/export.json").read_text(encoding="utf-8"))
    assert manifest["fingerprint"] == load_dataset(root).fingerprint and manifest["parts"] == {"train": 1}


def test_what_a_killed_export_left_is_cleared_and_a_second_writer_is_refused(tmp_path):
    from defectctl.fileio import folder_lock

    root = dataset(tmp_path / "d", {"a.png": {"mask": DENT}})
    (tmp_path / ".o.defectctl-new/images").mkdir(parents=True)
    (tmp_path / ".o.defectctl-new/stale.txt").write_text("")
    with folder_lock(tmp_path / ".o.defectctl-new", "x"), pytest.raises(InputError, match="another defectctl"):
        export(root, tmp_path / "o", "coco")
    export(root, tmp_path / "o", "coco")
    assert "stale.txt" not in tree(tmp_path / "o") and sorted(os.listdir(tmp_path)) == ["d", "o"]
    os.rename(tmp_path / "o", tmp_path / ".o.defectctl-old")
    with pytest.raises(InputError, match="was cut short"):
        export(root, tmp_path / "o", "coco")


def test_no_torch_is_imported():
    code = "import sys, defectctl.formats.exports.export; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
