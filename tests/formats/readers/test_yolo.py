"""YOLO: boxes and outlines in pixels worked by hand, the usual layouts, parts from data.yaml; what is odd is told."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defectctl.dataset.store import load_dataset
from defectctl.dataset.types import Known
from defectctl.errors import InputError
from defectctl.formats import registry
from defectctl.formats.base import ReadOptions
from defectctl.formats.prepare import prepare
from defectctl.formats.readers import yolo
from defectctl.formats.regions import rasterise
from defectctl.formats.registry import list_folder
from defectctl.imaging.masks import decode_index

WIDTH, HEIGHT = 80, 40
BOX = "0 0.5 0.5 0.25 0.5"  # 20 x 20 pixels around (40, 20)
OUTLINE = "1 0.125 0.25 0.375 0.25 0.375 0.75 0.25 0.75 0.125 0.75"  # 20 x 20 pixels from (10, 10)
NAMES = "names: [dent, rust]\n"


def put_image(path: Path, orientation: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(zlib.crc32(str(path.name).encode())).integers(0, 255, (HEIGHT, WIDTH), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)


def put_text(path: Path, text: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))


def fill(root: Path, labels: dict[str, str | bytes | None], images="images/{}.png", texts="labels/{}.txt", names=NAMES):
    """Images and labels by stem; None writes no label file."""
    for stem, text in labels.items():
        folder, _, name = stem.rpartition("/")
        put_image(root / images.format(name, part=folder))
        if text is not None:
            put_text(root / texts.format(name, part=folder), text)
    if names:
        put_text(root / "data.yaml", names)
    return root


def read(root: Path, **options):
    listing = list_folder(root)
    assert yolo.recognise(listing) > registry.SURE
    return yolo.read(listing, ReadOptions(**options))


def problems(source) -> list[tuple[str, str, bool]]:
    return sorted((finding.file, finding.problem, finding.dropped) for finding in source.findings)


def test_boxes_in_pixels(tmp_path):
    source = read(fill(tmp_path, {"a": f"{BOX}\n\n1 0.9 0.25 0.2 0.5\n1.0 0.0125 0.025 0.025 0.05\n", "b": ""}))
    first, second = source.samples
    assert [s.class_name for s in first.shapes] == ["dent", "rust", "rust"]
    assert [s.box for s in first.shapes] == [
        pytest.approx(box) for box in ((30, 10, 50, 30), (64, 0, 80, 20), (0, 0, 2, 2))
    ]
    assert second.shapes == [] and source.classes == ["dent", "rust"]
    assert source.knows_boxes and not source.knows_masks and not source.findings


def test_outlines_in_pixels(tmp_path):
    source = read(fill(tmp_path, {"a": OUTLINE}))
    (only,) = source.samples[0].shapes
    assert only.class_name == "rust" and only.box == (10, 10, 30, 30)
    assert rasterise(only.region, HEIGHT, WIDTH).sum() == 400
    assert source.knows_masks and not source.findings


def test_fractions_are_of_the_upright_image(tmp_path):
    put_image(tmp_path / "images" / "a.jpg", orientation=6)
    put_text(tmp_path / "labels" / "a.txt", BOX)
    put_text(tmp_path / "data.yaml", NAMES)
    assert read(tmp_path).samples[0].shapes[0].box == (15, 20, 25, 60)


@pytest.mark.parametrize(
    ("images", "texts"),
    [
        ("images/{}.png", "labels/{}.txt"),
        ("images/{part}/{}.png", "labels/{part}/{}.txt"),
        ("{part}/images/{}.png", "{part}/labels/{}.txt"),
        ("{part}/{}.png", "{part}/{}.txt"),
        ("Images/{part}/{}.PNG", "LABELS/{part}/{}.txt"),
        ("set/images/x/{part}/images/{}.png", "set/images/x/{part}/labels/{}.txt"),
        ("JPEGImages/{part}/{}.png", "annotations/{part}/{}.txt"),
        ("{part}/{}.png", "{part}/txt/{}.txt"),
    ],
)
def test_layouts(tmp_path, images, texts):
    numbered = {f"{part}/{part} ü.{i}": f"{i} 0.5 0.5 0.25 0.5" for part in ("train", "val") for i in (0, 1)}
    source = read(fill(tmp_path, numbered, images, texts))
    assert [(s.id.rpartition("/")[2][:-4], s.shapes[0].class_name) for s in source.samples] == [
        (f"{part} ü.{i}", name) for part in ("train", "val") for i, name in enumerate(("dent", "rust"))
    ]
    parts = {s.part for s in source.samples}
    assert parts == ({"train", "val"} if "{part}" in images else {None}) and not source.findings


def test_equal_names_in_two_parts(tmp_path):
    labels = {"train/1": "0 0.5 0.5 0.25 0.5", "test/1": "1 0.5 0.5 0.25 0.5"}
    source = read(fill(tmp_path, labels, "pics/{part}/{}.png", "txt/{part}/{}.txt"))
    assert {(s.part, s.shapes[0].class_name) for s in source.samples} == {("train", "dent"), ("test", "rust")}


@pytest.mark.parametrize(
    "text",
    [
        "train: a/images\nval: b/images\ntest:\n" + NAMES,
        "path: ../datasets/x\ntrain: a/images\nval: [b/images]\nnc: 2\nnames: {0: dent, 1: rust}\n",
        "train: ../a/images\nval: ..\\b\\images\n" + NAMES,
        "train: /home/me/set/a/images/\nval: C:\\set\\b\n" + NAMES,
        "train: lists/one.txt\nval: lists/two.txt\n" + NAMES,
    ],
)
def test_parts_from_data_yaml(tmp_path, text):
    put_text(tmp_path / "lists" / "one.txt", "./a/images/1.png\n/data/a/images/2.png\n")
    put_text(tmp_path / "lists" / "two.txt", "..\\b\\images\\1.png\n")
    fill(tmp_path, {"a/1": BOX, "a/2": "", "b/1": BOX}, "{part}/images/{}.png", "{part}/labels/{}.txt", text)
    source = read(tmp_path)
    assert [s.part for s in source.samples] == ["train", "train", "val"] and not source.findings


def test_names_of_data_yaml_are_text(tmp_path):
    names = "names:\n  0: no\n  2: 1e3\n  1: 'fêlure: 2'\n"
    source = read(fill(tmp_path, {"a": BOX.replace("0 ", "2 ", 1)}, names=names))
    assert source.classes == ["no", "fêlure: 2", "1e3"] and source.samples[0].shapes[0].class_name == "1e3"


def test_what_data_yaml_names_in_vain_is_told(tmp_path):
    text = "train: images\nval: images\ntest: ../test/images\nnc: 3\nnames: [dent, '', dent]\n"
    source = read(fill(tmp_path, {"a": BOX, "b": BOX}, names=text))
    assert [s.part for s in source.samples] == [None, None]
    assert problems(source) == [
        ("data.yaml", "class-count", False),
        ("data.yaml", "duplicate-category", False),
        ("data.yaml", "in-two-parts", False),
        ("data.yaml", "no-folder", False),
        ("data.yaml", "no-name", True),
    ]


def test_a_list_that_names_missing_images(tmp_path):
    fill(tmp_path, {"a": BOX, "b": BOX}, names="train: train.txt\nval: val.txt\n" + NAMES)
    put_text(tmp_path / "train.txt", "images/a.png\nimages/gone.png\nimages/lost.png\n")
    put_text(tmp_path / "val.txt", "images/b.png\n")
    source = read(tmp_path)
    assert [s.part for s in source.samples] == ["train", "val"] and problems(source) == [
        ("train.txt", "no-image", True)
    ]
    assert "gone.png" in source.findings[0].text and "1 more" in source.findings[0].text


@pytest.mark.parametrize(
    ("text", "says"), [("names: [a\n", "line 2"), ("names: {a: 1}\n", "'a'"), ("names: crack\n", "neither a list")]
)
def test_a_broken_data_yaml_is_an_input_error(tmp_path, text, says):
    fill(tmp_path, {"a": BOX}, names=text)
    with pytest.raises(InputError, match=r"data\.yaml") as caught:
        yolo.read(list_folder(tmp_path), ReadOptions())
    assert says in str(caught.value)


def test_a_second_description_is_told(tmp_path):
    fill(tmp_path, {"a": BOX})
    put_text(tmp_path / "coco.yaml", "names: [person, car]\n")
    source = read(tmp_path)
    assert source.classes == ["dent", "rust"] and problems(source) == [("coco.yaml", "second-config", False)]


def test_classes_txt_names_the_classes(tmp_path):
    fill(tmp_path, {"train/a": BOX, "val/b": BOX}, "{part}/{}.png", "{part}/{}.txt", names=None)
    put_text(tmp_path / "train" / "classes.txt", "dent\n")
    put_text(tmp_path / "val" / "classes.txt", "dent\r\nrust\r\n\r\n")
    source = read(tmp_path)
    assert source.classes == ["dent", "rust"] and not source.findings
    put_text(tmp_path / "train" / "classes.txt", "rust\n")
    with pytest.raises(InputError, match="different classes"):
        read(tmp_path)


def test_obj_names_and_lists_beside_them(tmp_path):
    fill(tmp_path, {"a": BOX, "b": BOX, "c": ""}, "obj_data/{}.png", "obj_data/{}.txt", names=None)
    put_text(tmp_path / "obj.names", "dent\nrust\n")
    put_text(tmp_path / "train.txt", "data/obj_data/a.png\ndata/obj_data/c.png\n")
    put_text(tmp_path / "valid.txt", "data/obj_data/b.png\n")
    source = read(tmp_path)
    assert [s.part for s in source.samples] == ["train", "val", "train"] and source.classes == ["dent", "rust"]
    assert not source.findings


def test_without_names_the_user_has_to_say_them(tmp_path):
    fill(tmp_path, {"a": OUTLINE}, names=None)
    with pytest.raises(InputError, match="--classes"):
        read(tmp_path)
    source = read(tmp_path, classes=("scratch", "pit"))
    assert source.classes == ["scratch", "pit"] and source.samples[0].shapes[0].class_name == "pit"


def test_the_users_order_of_named_classes_counts(tmp_path):
    fill(tmp_path, {"a": f"{BOX}\n{BOX.replace('0 ', '1 ', 1)}"})
    assert read(tmp_path, classes=("rust", "dent")).classes == ["rust", "dent"]
    with pytest.raises(InputError, match="'dent'"):
        read(tmp_path, classes=("rust",))


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("0 0.5 0.5", "odd-line"),
        ("0 0.5 0.5 0.1", "odd-line"),
        ("0 0.1 0.1 0.2 0.2 0.1 0.2 0.3", "odd-line"),
        ("0.5 0.5 0.5 0.1 0.1", "odd-line"),
        ("99 0.5 0.5 0.1 0.1", "no-category"),
        ("-1 0.5 0.5 0.1 0.1", "no-category"),
        ("0 nan 0.5 0.1 0.1", "not-a-number"),
        ("0 inf 0.5 0.1 0.1", "not-a-number"),
        ("dent 0.5 0.5 0.1 0.1", "not-a-number"),
        ("0,0.5,0.5,0.1,0.1", "not-a-number"),
        ("0 40 20 10 10", "not-normalised"),
        ("0 0.5 0.5 0 0.1", "box-empty"),
        ("0 0.5 0.5 -0.1 0.1", "box-empty"),
        ("0 1.5 0.5 0.1 0.1", "box-outside"),
        ("0 1.1 0.1 1.2 0.2 1.1 0.3", "box-outside"),
        ("0 0.1 0.1 0.1 0.1 0.1 0.1", "box-empty"),
    ],
)
def test_an_unusable_line_is_told_and_alone_leaves_its_image_out(tmp_path, line, key):
    source = read(fill(tmp_path, {"a": f"{BOX}\n{line}\n{line} \n", "b": BOX, "c": line, "d": BOX}))
    assert [(s.id, len(s.shapes)) for s in source.samples] == [
        ("images/a.png", 1),
        ("images/b.png", 1),
        ("images/d.png", 1),
    ]
    told = [finding for finding in source.findings if finding.problem == key]
    assert [(f.file, f.dropped) for f in told] == [("labels/a.txt", True), ("labels/c.txt", True)]
    assert told[0].text.startswith("line 2: ") and ": left out; " in told[0].text
    assert ("images/c.png", "nothing-usable", True) in problems(source)


def test_several_lines_with_the_same_fault_are_one_finding(tmp_path):
    source = read(fill(tmp_path, {"a": "\n".join([BOX, *(f"{i} 0.5 0.5 0.1 0.1" for i in range(7, 10))]), "b": BOX}))
    assert problems(source) == [("labels/a.txt", "no-category", True)]
    assert "class 7" in source.findings[0].text and "2 more lines" in source.findings[0].text


@pytest.mark.parametrize(
    ("line", "box", "keys"),
    [
        ("0 0.95 0.5 0.11 0.5", (71.6, 10, 80, 30), []),  # 0.4 pixels too far
        ("0 0.9 0.5 0.4 0.5", (56, 10, 80, 30), ["box-outside"]),
        ("0 -0.1 0.25 0.5 0.25 0.5 0.75 0.2 0.8", (0, 10, 40, 32), ["box-outside"]),
        ("0 0.5 0.5 0.25 0.5 0.93", (30, 10, 50, 30), ["confidence"]),
        (f"{BOX}\n{BOX}", (30, 10, 50, 30), ["duplicate-line"]),
    ],
)
def test_what_can_be_mended_is_kept(tmp_path, line, box, keys):
    source = read(fill(tmp_path, {"a": line}))
    assert [s.box for s in source.samples[0].shapes] == [pytest.approx(box)]
    assert [(f.problem, f.dropped) for f in source.findings] == [(key, False) for key in keys]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(tmp_path, encoding):
    source = read(fill(tmp_path, {"a": BOX.encode(encoding)}, names=None), classes=("dent",))
    assert len(source.samples[0].shapes) == 1 and not source.findings


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"0 0.5 0.5 \xe9 0.1", b"\x00\x01\x02\x80"])
def test_bytes_that_are_no_text(tmp_path, data):
    source = read(fill(tmp_path, {"a": data, "b": BOX}))
    assert [s.id for s in source.samples] == ["images/b.png"]
    assert problems(source) == [("images/a.png", "nothing-usable", True), ("labels/a.txt", "not-a-number", True)]


def test_missing_labels_are_good_parts_and_many_are_told(tmp_path):
    fill(tmp_path, {"a": BOX, "b": None})
    source = read(tmp_path)
    assert [len(s.shapes) for s in source.samples] == [1, 0] and not source.findings
    fill(tmp_path, {"c": None})
    source = read(tmp_path)
    assert len(source.samples) == 3 and problems(source) == [("images", "few-labels", False)]
    assert "only 1 of its 3" in source.findings[0].text


def test_folders_and_files_without_partner(tmp_path):
    fill(tmp_path, {"a": BOX})
    put_image(tmp_path / "previews" / "p.png")
    put_image(tmp_path / "images" / "good" / "g.png")
    put_text(tmp_path / "labels" / "gone.txt", BOX)
    put_text(tmp_path / "README.txt", "boxes by hand")
    source = read(tmp_path)
    assert [s.id for s in source.samples] == ["images/a.png", "images/good/g.png"]
    assert problems(source) == [
        ("images/good", "few-labels", False),
        ("labels/gone.txt", "no-image", True),
        ("previews", "unused-images", True),
    ]


def test_two_images_with_one_label_file_are_told(tmp_path):
    put_image(fill(tmp_path, {"a": BOX}) / "images" / "a.jpg")
    source = read(tmp_path)
    assert len(source.samples) == 2 and problems(source) == [("labels/a.txt", "shared-label", False)]


def test_no_label_at_all_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no label file"):
        yolo.read(list_folder(fill(tmp_path, {"a": None})), ReadOptions())


def test_boxes_among_outlines_and_outlines_that_are_boxes_are_told(tmp_path):
    turned = "1 0.5 0.25 0.625 0.5 0.5 0.75 0.375 0.5"  # a square on its corner
    source = read(fill(tmp_path / "1", {"a": turned}))
    assert problems(source) == [(".", "only-rectangles", False)]
    source = read(fill(tmp_path / "2", {"a": f"{OUTLINE}\n{turned}\n{BOX}"}))
    assert problems(source) == [(".", "mixed-labels", False)] and source.knows_masks


def test_key_points_are_passed_over(tmp_path):
    source = read(fill(tmp_path, {"a": f"{BOX} 0.1 0.1 2 0.2 0.2 2"}, names="kpt_shape: [2, 3]\n" + NAMES))
    assert [(s.box, s.region) for s in source.samples[0].shapes] == [((30, 10, 50, 30), None)]
    assert problems(source) == [("data.yaml", "key-points", False)]


def test_other_formats_are_not_recognised(tmp_path, folders):
    folders.voc_folder(tmp_path / "voc", range(3))
    folders.mask_folder(tmp_path / "masks", range(3))
    put_text(tmp_path / "voc" / "images" / "0.txt", "a remark on this part")
    fill(tmp_path / "empty", {"a": ""}, names=None)
    fill(tmp_path / "pixels", {"a": "0 10 20 30 40"})
    put_text(tmp_path / "words" / "data.yaml", NAMES)
    for name in ("voc", "masks", "empty", "pixels", "words"):
        assert yolo.recognise(list_folder(tmp_path / name)) == 0


@pytest.mark.parametrize("other", ["voc-boxes", "mask-folders", "coco"])
def test_where_another_format_is_there_too_it_goes_first(tmp_path, folders, monkeypatch, other):
    monkeypatch.setitem(registry.READERS, "yolo", yolo)
    make = folders.voc_folder if other == "voc-boxes" else folders.mask_folder
    make(tmp_path, range(3))
    put_text(tmp_path / "data.yaml", NAMES)
    for i in range(3):
        put_text(tmp_path / "labels" / f"{i}.txt", BOX)
    if other == "coco":
        put_text(tmp_path / "c.json", '{"images": [], "annotations": [], "categories": []}')
    assert other == registry.recognise(list_folder(tmp_path)).NAME


def test_prepared_masks_and_boxes(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "READERS", registry.READERS | {"yolo": yolo})
    labels = {"a": OUTLINE, "b": f"{BOX}\n{OUTLINE}", "c": "", "d": None, "cut": BOX}
    raw = fill(tmp_path / "raw", labels)
    (raw / "images" / "cut.png").write_bytes((raw / "images" / "cut.png").read_bytes()[:100])
    result = prepare(raw, tmp_path / "out")
    assert result.format == "yolo" and [(f.file, f.problem) for f in result.findings] == [
        (".", "mixed-labels"),
        ("images/cut.png", "unreadable"),
    ]
    dataset = load_dataset(tmp_path / "out")
    assert dataset.class_names == ["dent", "rust"]
    a, b, c, d = dataset.samples
    for sample in (a, b):
        mask = decode_index(dataset.mask_path(sample).read_bytes())
        assert (mask[10:30, 10:30] == 2).all() and np.count_nonzero(mask) == 400
    assert dataset.known(a) == Known((1, 2), (1, 2), True) and dataset.known(b).mask == (2,)
    assert {(thing.label, thing.box) for thing in b.objects} == {(1, (30, 10, 50, 30)), (2, (10, 10, 30, 30))}
    for sample in (c, d):
        assert sample.mask is None and not sample.objects and dataset.known(sample) == Known((1, 2), (1, 2), True)
