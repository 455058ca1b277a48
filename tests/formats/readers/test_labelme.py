"""LabelMe: every kind of shape against areas worked by hand; groups, names that disagree; everything odd is told."""

from __future__ import annotations

import base64
import io
import json
import math
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
from defectctl.formats.readers import labelme
from defectctl.formats.regions import rasterise
from defectctl.formats.registry import list_folder
from defectctl.imaging.masks import decode_index

WIDTH, HEIGHT = 60, 40


def put_image(path: Path, turned: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(zlib.crc32(path.name.encode())).integers(0, 255, (HEIGHT, WIDTH), np.uint8)
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 6
    Image.fromarray(pixels).save(path, exif=exif)


def shape(label, points, kind="polygon", **more):
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def png(pixels, mode: str = "1") -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8) * 255).convert(mode).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def save(path: Path, shapes, image_path: str | None = None, encoding: str = "utf-8", **more) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imageData": None}
    content["imagePath"] = path.stem + ".png" if image_path is None else image_path
    content |= {"imageHeight": HEIGHT, "imageWidth": WIDTH, **more}
    path.write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))


def read(root: Path, **options):
    listing = list_folder(root)
    assert labelme.recognise(listing) == labelme.SCORE
    return labelme.read(listing, ReadOptions(**options))


def read_one(root: Path, *shapes):
    put_image(root / "a.png")
    save(root / "a.json", list(shapes))
    return read(root)


def problems(source) -> list[tuple[str, str, bool]]:
    return sorted((finding.file, finding.problem, finding.dropped) for finding in source.findings)


def area(shape) -> int:
    return int(rasterise(shape.region, HEIGHT, WIDTH).sum())


SQUARE = [[10, 10], [20, 10], [20, 20], [10, 20]]


def test_polygons_and_rectangles(tmp_path):
    source = read_one(
        tmp_path, shape("rust", SQUARE), shape("dent", [[30.5, 5], [25, 12.5]], "rectangle"), {**shape("rust", SQUARE)}
    )
    (sample,) = source.samples
    assert [(s.class_name, s.box) for s in sample.shapes[:2]] == [
        ("rust", (10, 10, 20, 20)),
        ("dent", (25, 5, 30.5, 12.5)),
    ]
    assert area(sample.shapes[0]) == 100 and sample.shapes[1].region is None
    assert sample.stated_size == (WIDTH, HEIGHT) and source.classes == ["dent", "rust"]
    assert source.knows_boxes and source.knows_masks and not source.findings


def test_rectangles_alone_know_no_masks(tmp_path):
    source = read_one(tmp_path, shape("dent", [[1, 2], [9, 8]], "rectangle"))
    assert source.knows_boxes and not source.knows_masks


@pytest.mark.parametrize("kind", ["rectangle", "rotation"])
def test_a_rotated_rectangle_is_an_outline(tmp_path, kind):
    source = read_one(tmp_path, shape("dent", [[20, 10], [30, 20], [20, 30], [10, 20]], kind))
    (only,) = source.samples[0].shapes
    assert only.box == (10, 10, 30, 30) and area(only) == pytest.approx(200, abs=10)


def test_an_upright_rectangle_of_four_corners_is_a_box(tmp_path):
    source = read_one(tmp_path, shape("dent", SQUARE, "rectangle"))
    assert [(s.box, s.region) for s in source.samples[0].shapes] == [((10, 10, 20, 20), None)]


def test_a_circle_is_its_disc(tmp_path):
    source = read_one(tmp_path, shape("pore", [[30, 20], [30, 32]], "circle"))
    (only,) = source.samples[0].shapes
    assert only.box == pytest.approx((18, 8, 42, 32))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    disc = np.hypot(columns - 30, rows - 20) <= 12
    found = rasterise(only.region, HEIGHT, WIDTH)
    assert found.sum() == pytest.approx(math.pi * 144, rel=0.03)
    assert (found & disc).sum() / (found | disc).sum() > 0.95


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_mask_lies_where_its_points_say(tmp_path, mode):
    pixels = np.zeros((4, 6), bool)
    pixels[1:, 2:5] = True
    pixels[3, 4] = False
    source = read_one(tmp_path, shape("rust", [[7.0, 11.0], [12.0, 14.0]], "mask", mask=png(pixels, mode)))
    (only,) = source.samples[0].shapes
    whole = np.zeros((HEIGHT, WIDTH), bool)
    whole[11:15, 7:13] = pixels
    np.testing.assert_array_equal(rasterise(only.region, HEIGHT, WIDTH), whole)
    assert only.box == (9, 12, 12, 15) and not source.findings


def test_a_mask_that_sticks_out_is_cut(tmp_path):
    source = read_one(tmp_path, shape("rust", [[-2, 37], [3, 44]], "mask", mask=png(np.ones((8, 6)))))
    (only,) = source.samples[0].shapes
    assert only.box == (0, 37, 4, 40) and area(only) == 12


def test_shapes_of_a_group_are_one_object(tmp_path):
    inner = [[12, 12], [14, 12], [14, 14], [12, 14]]
    other = [[40, 30], [44, 30], [44, 34], [40, 34]]
    source = read_one(
        tmp_path,
        shape("rust", SQUARE, group_id=1),
        shape("dent", other, group_id=1),
        shape("rust", inner, group_id=1),
        shape("rust", [[25, 10], [26, 12]], "mask", mask=png(np.ones((3, 2))), group_id=1),
        shape("rust", other, group_id=2),
    )
    first, dent, second = source.samples[0].shapes
    assert (first.class_name, first.box, area(first)) == ("rust", (10, 10, 27, 20), 106)  # one inside is no hole
    assert (dent.class_name, area(dent), second.class_name, area(second)) == ("dent", 16, "rust", 16)


def test_a_group_of_rectangles_and_outlines_is_a_box(tmp_path):
    source = read_one(
        tmp_path, shape("rust", SQUARE, group_id=1), shape("rust", [[30, 30], [35, 35]], "rectangle", group_id=1)
    )
    assert [(s.box, s.region) for s in source.samples[0].shapes] == [((10, 10, 35, 35), None)]
    assert problems(source) == [("a.json", "mixed-group", False)]


@pytest.mark.parametrize(
    ("odd", "key"),
    [
        (shape("rust", [[1, 1]], "point"), "no-area"),
        (shape("rust", [[1, 1], [5, 5]], "line"), "no-area"),
        (shape("rust", [[1, 1], [5, 5], [9, 5]], "linestrip"), "no-area"),
        (shape("rust", [[1, 1], [5, 5]]), "odd-polygon"),
        (shape("", SQUARE), "no-name"),
        (shape(None, SQUARE), "no-name"),
        (shape("rust", [[1, 1], [float("nan"), 5], [3, 9]]), "odd-points"),
        (shape("rust", [[1, 1], ["x", 5], [3, 9]]), "odd-points"),
        (shape("rust", [[1, 1], [10**400, 5], [3, 9]]), "odd-points"),
        (shape("rust", None), "odd-points"),
        (shape("rust", [[1, 1], [5, 5], [9, 5]], "rectangle"), "odd-points"),
        (shape("rust", [[5, 5], [5, 5]], "circle"), "box-empty"),
        (shape("rust", [[5, 5], [5, 9]], "rectangle"), "box-empty"),
        (shape("rust", [[70, 5], [80, 9]], "rectangle"), "box-outside"),
        (shape("rust", SQUARE, "cuboid"), "odd-shape"),
        ("text", "odd-shape"),
        (shape("rust", [[1, 1], [4, 4]], "mask", mask="%%%"), "odd-mask"),
        (shape("rust", [[1, 1], [4, 4]], "mask", mask=base64.b64encode(b"no png").decode()), "odd-mask"),
        (shape("rust", [[1, 1], [4, 4]], "mask", mask=None), "odd-mask"),
        (shape("rust", [[1, 1], [20, 4]], "mask", mask=png(np.ones((4, 4)))), "size-differs"),
        (shape("rust", [[1, 1], [4, 4]], "mask", mask=png(np.zeros((4, 4)))), "empty-object"),
        (shape("__ignore__", SQUARE), "ignored-shape"),
    ],
)
def test_an_unusable_shape_is_told_and_alone_leaves_its_image_out(tmp_path, odd, key):
    put_image(tmp_path / "both" / "a.png")
    save(tmp_path / "both" / "a.json", [odd, shape("rust", SQUARE)])
    source = read(tmp_path / "both")
    assert problems(source) == [("a.json", key, True)] and "shape 1" in source.findings[0].text
    assert [len(s.shapes) for s in source.samples] == [1]
    put_image(tmp_path / "alone" / "a.png")
    save(tmp_path / "alone" / "a.json", [odd])
    source = read(tmp_path / "alone")
    assert problems(source) == [("a.json", key, True), ("a.png", "nothing-usable", True)] and not source.samples


def test_an_outline_beyond_the_image_is_clipped(tmp_path):
    source = read_one(
        tmp_path, shape("rust", [[50, 10], [70, 10], [70, 20], [50, 20]]), shape("rust", [[0, 0], [60.9, 0], [9, 9]])
    )
    assert problems(source) == [("a.json", "box-outside", False)]
    assert [s.box for s in source.samples[0].shapes] == [(50, 10, 60, 20), (0, 0, 60, 9)]


@pytest.mark.parametrize("shapes", [[], [shape("_background_", SQUARE)]])
def test_a_file_without_defects_is_a_good_part(tmp_path, shapes):
    assert read_one(tmp_path, *shapes).samples[0].shapes == []


@pytest.mark.parametrize(
    ("image", "json_file", "stated", "key"),
    [
        ("img/a.png", "ann/a.json", "..\\img\\a.png", None),
        ("img/a.png", "ann/a.json", "C:\\data\\a.png", None),
        ("img/A.PNG", "img/a.json", "a.png", None),
        ("img/деталь 1.png", "ann/деталь 1.json", "деталь 1.png", None),
        ("a.png", "a.json", "old name.png", "name-differs"),
        ("img/a.png", "ann/a.json", "", None),
    ],
)
def test_the_image_is_found(tmp_path, image, json_file, stated, key):
    put_image(tmp_path / image)
    save(tmp_path / json_file, [shape("rust", SQUARE)], stated)
    source = read(tmp_path)
    assert [s.id for s in source.samples] == [image]
    assert [f.problem for f in source.findings] == ([key] if key else [])


def test_images_and_files_without_partner_are_told(tmp_path):
    for name in ("a", "lone", "other/x"):
        put_image(tmp_path / f"{name}.png")
    save(tmp_path / "a.json", [shape("rust", SQUARE)])
    save(tmp_path / "gone.json", [shape("rust", SQUARE)], "gone.png")
    save(tmp_path / "z copy.json", [shape("rust", SQUARE)], "a.png")
    (tmp_path / "broken.json").write_text('{"shapes": [', encoding="utf-8")
    (tmp_path / "tool.json").write_text('{"zoom": 3}', encoding="utf-8")
    source = read(tmp_path)
    assert [s.id for s in source.samples] == ["a.png"]
    assert problems(source) == [
        ("broken.json", "unreadable", True),
        ("gone.json", "no-image", True),
        ("lone.png", "no-annotation", True),
        ("other", "unused-images", True),
        ("tool.json", "no-annotation", True),
        ("z copy.json", "duplicate-annotation", True),
    ]


def test_equal_names_in_two_folders(tmp_path):
    for folder in ("train", "test"):
        put_image(tmp_path / "img" / folder / "1.png")
        save(tmp_path / "ann" / folder / "1.json", [shape(folder, SQUARE)], "1.png")
    save(tmp_path / "2.json", [], "1.png")
    source = read(tmp_path)
    assert {(s.id, s.part, s.shapes[0].class_name) for s in source.samples} == {
        ("img/test/1.png", "test", "test"),
        ("img/train/1.png", "train", "train"),
    }
    assert problems(source) == [("2.json", "ambiguous-image", True)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1", "utf-16"])
def test_encodings(tmp_path, encoding):
    put_image(tmp_path / "a.png")
    save(tmp_path / "a.json", [shape("fêlure", SQUARE)], encoding=encoding)
    assert labelme.read(list_folder(tmp_path), ReadOptions()).classes == ["fêlure"]


@pytest.mark.parametrize("text", ['{"shapes": [, "imagePath": 1}', '{"shapes": 5, "imagePath": "a.png"}', "[]"])
def test_only_broken_files_are_an_input_error(tmp_path, text):
    put_image(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.json"):
        labelme.read(list_folder(tmp_path), ReadOptions())


def test_the_users_classes_count(tmp_path):
    put_image(tmp_path / "a.png")
    save(tmp_path / "a.json", [shape("b", SQUARE), shape("a", SQUARE)])
    assert read(tmp_path, classes=("b", "a")).classes == ["b", "a"]
    with pytest.raises(InputError, match="'b'"):
        read(tmp_path, classes=("a",))


def test_a_file_without_a_size_takes_that_of_the_upright_image(tmp_path):
    put_image(tmp_path / "a.jpg", turned=True)
    group = [shape("rust", [[1, 50], [9, 50], [9, 58], [1, 58]], group_id=1), shape("rust", SQUARE, group_id=1)]
    save(tmp_path / "a.json", group, "a.jpg", imageWidth=None, imageHeight=None)
    (sample,) = read(tmp_path).samples
    assert sample.stated_size is None and rasterise(sample.shapes[0].region, WIDTH, HEIGHT).sum() == 164
    (tmp_path / "a.jpg").write_bytes(b"broken")
    assert [s.shapes for s in read(tmp_path).samples] == [[]]


def test_other_formats_are_not_recognised(tmp_path, folders):
    coco = {"images": [], "annotations": [], "categories": []}
    put_image(tmp_path / "coco" / "a.png")
    (tmp_path / "coco" / "a.json").write_text(json.dumps(coco), encoding="utf-8")
    folders.voc_folder(tmp_path / "voc", range(3))
    folders.mask_folder(tmp_path / "masks", range(3))
    for name in ("coco", "voc", "masks"):
        assert labelme.recognise(list_folder(tmp_path / name)) == 0


@pytest.mark.parametrize("other", ["voc-boxes", "mask-folders", "coco"])
def test_where_another_format_is_there_too_it_goes_first(tmp_path, folders, monkeypatch, other):
    monkeypatch.setitem(registry.READERS, "labelme", labelme)
    if other == "voc-boxes":
        folders.voc_folder(tmp_path, range(3))
    else:
        folders.mask_folder(tmp_path, range(3))
    for i in range(3):
        save(tmp_path / "images" / f"{i}.json", [shape("rust", SQUARE)])
    if other == "coco":
        (tmp_path / "c.json").write_text('{"images": [], "annotations": [], "categories": []}', encoding="utf-8")
    assert other == registry.recognise(list_folder(tmp_path)).NAME


def test_prepared_masks_and_boxes(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "READERS", registry.READERS | {"labelme": labelme})
    raw = tmp_path / "raw"
    for name in ("a", "b", "c", "good", "wrong"):
        put_image(raw / f"{name}.png")
    save(raw / "a.json", [shape("rust", SQUARE), shape("dent", [[30, 20], [30, 32]], "circle")])
    save(raw / "b.json", [shape("dent", [[5, 5], [9, 9]], "rectangle"), shape("rust", SQUARE)])
    save(
        raw / "c.json",
        [shape("rust", SQUARE, group_id=0), shape("rust", [[30, 10], [40, 10], [40, 20], [30, 20]], group_id=0)],
    )
    save(raw / "good.json", [])
    save(raw / "wrong.json", [shape("rust", SQUARE)], imageWidth=HEIGHT, imageHeight=WIDTH)
    result = prepare(raw, tmp_path / "out")
    assert result.format == "labelme" and [(f.file, f.problem) for f in result.findings] == [
        ("wrong.png", "size-differs")
    ]
    dataset = load_dataset(tmp_path / "out")
    assert dataset.class_names == ["dent", "rust"]
    of = {sample.id: sample for sample in dataset.samples}
    masks = {i: decode_index(dataset.mask_path(s).read_bytes()) for i, s in of.items() if s.mask}
    assert (masks["a.png"] == 2).sum() == 100 and (masks["a.png"] == 1).sum() == pytest.approx(math.pi * 144, rel=0.03)
    assert dataset.known(of["a.png"]) == Known((1, 2), (1, 2), True)
    assert dataset.known(of["b.png"]).mask == (2,) and (masks["b.png"] == 2).sum() == 100
    assert {(o.label, o.box) for o in of["b.png"].objects} == {(1, (5, 5, 9, 9)), (2, (10, 10, 20, 20))}
    assert [(o.label, o.box) for o in of["c.png"].objects] == [(2, (10, 10, 40, 20))] and (
        masks["c.png"] == 2
    ).sum() == 200
    assert of["good.png"].mask is None and dataset.known(of["good.png"]) == Known((1, 2), (1, 2), True)


def test_embedded_images_are_taken_out(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "READERS", registry.READERS | {"labelme": labelme})
    picture = png(np.ones((40, 60), np.uint8))
    save(tmp_path / "raw" / "teil ä" / "a.json", [shape("rust", SQUARE)], "gone.bmp", imageData=picture)
    dataset = prepare(tmp_path / "raw", tmp_path / "out").dataset
    (sample,) = dataset.samples
    assert sample.id == "teil ä/a.bmp"
    assert dataset.image_path(sample).read_bytes() == base64.b64decode(picture)


def test_a_broken_embedded_image_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "READERS", registry.READERS | {"labelme": labelme})
    save(tmp_path / "raw" / "a.json", [shape("rust", SQUARE)], imageData=png(np.ones((40, 60), np.uint8)))
    save(tmp_path / "raw" / "b.json", [shape("rust", SQUARE)], "b.png", imageData="no base 64!")
    result = prepare(tmp_path / "raw", tmp_path / "out")
    assert len(result.dataset.samples) == 1
    assert [(f.file, f.problem, f.dropped) for f in result.findings] == [("b.png", "unreadable", True)]
