"""There and back: a dataset exported, prepared again and exported again is the same, as far as the forms hold it."""

from __future__ import annotations

import contextlib
import io
import itertools

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from scipy import ndimage

from defectctl.dataset.store import load_dataset, load_split
from defectctl.dataset.types import ClassInfo, Known, Object, Sample, Source, Split
from defectctl.dataset.writer import DatasetWriter
from defectctl.fileio import sha256_bytes
from defectctl.formats import registry
from defectctl.formats.base import ReadOptions
from defectctl.formats.exports.export import export
from defectctl.formats.prepare import PrepareOptions, prepare
from defectctl.formats.readers import yolo
from defectctl.formats.regions import encode_rle
from defectctl.imaging.masks import decode_index, encode_mask
from defectctl.imaging.palette import class_colours

HEIGHT, WIDTH = 44, 60
CLASSES = ["Kratzer, tief", "трещина", "pit"]
IDS = [
    "line 1/a.png",
    "line 2/a.png",
    "line 2/A b.png",
    "line 1/a.bmp",
    "Größe/деталь 1.png",
    "good/1.png",
    "x__y.png",
    "x/y.png",
]
PARTS = {"train": IDS[:4], "val": IDS[4:6], "test": IDS[6:]}
READ_AS = {"masks": "voc-masks", "voc": "voc-masks", "coco": "coco", "yolo": "yolo"}


@pytest.fixture(autouse=True)
def _yolo_is_read(monkeypatch):
    monkeypatch.setitem(registry.READERS, yolo.NAME, yolo)


def drawn(seed, unknown=True):
    """Rings, a thin slant, touching patches of one class and of two, specks and an unknown area."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    at = [int(v) for v in rng.integers(0, 6, 8)]
    cv2.circle(mask, (12 + at[0], 12 + at[1]), 8, 1, 2)
    mask[12 + at[1], 12 + at[0]] = 1 + seed % 3  # a speck in the ring, of its class or of another
    cv2.line(mask, (28, at[2]), (45 + at[3], 20 + at[4]), 2, 1)
    mask[30:36, 5 : 12 + at[5]] = 3
    mask[36:40, 8:20] = 3
    mask[30:34, 12 + at[5] : 24] = 2
    mask[25 + at[6], 30], mask[26 + at[6], 31], mask[HEIGHT - 1, WIDTH - 1] = 1, 1, 2
    if unknown:
        mask[25:44, 45:52] = 255
    return mask


def write_dataset(root, masks, objects=None, instances=None, known=None):
    """A dataset of `IDS`; `masks` and the like: id -> what it has; an absent or empty mask is a good part."""
    sources = {"made": Source("made", "made", known or Known((1, 2, 3), (), True))}
    colours = class_colours(len(CLASSES))
    classes = [ClassInfo(name, colour) for name, colour in zip(CLASSES, colours, strict=True)]
    with DatasetWriter(root, "made", classes, sources) as writer:
        for number, own in enumerate(IDS):
            pixels = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH), np.uint8)
            data = cv2.imencode(own[-4:], pixels)[1].tobytes()
            mask = masks.get(own)
            sample = Sample(own, "", WIDTH, HEIGHT, sha256_bytes(data), "made", objects=(objects or {}).get(own, []))
            encoded = encode_mask(mask, colours) if mask is not None and mask.any() else None
            writer.add(sample, data, encoded, (instances or {}).get(own))
        writer.finish([Split("official", "test", None, PARTS)], "official", {})
    return root


def truth_of(root):
    """Hash of the image -> its mask; and part -> hashes."""
    dataset = load_dataset(root)
    masks = {}
    for sample in dataset.samples:
        path = dataset.mask_path(sample)
        empty = np.zeros((sample.height, sample.width), np.uint8)
        masks[sample.sha256] = decode_index(path.read_bytes()) if path else empty
    hashes = {sample.id: sample.sha256 for sample in dataset.samples}
    parts = {part: {hashes[i] for i in ids} for part, ids in load_split(dataset).parts.items()}
    return dataset, masks, parts


def boxes_of(root):
    dataset = load_dataset(root)
    return {
        sample.sha256: sorted((dataset.class_names[o.label - 1], *o.box) for o in sample.objects)
        for sample in dataset.samples
    }


def there_and_back(root, work, form, reader=None):
    exported = work / form
    export(root, exported, form.removesuffix("-seg"), segment=form.endswith("-seg"))
    kind = reader or READ_AS[form.removesuffix("-seg")]
    # Readers of boxes put the classes into alphabetical order; the order is no information of the form.
    options = PrepareOptions(format=kind, read=ReadOptions(classes=tuple(CLASSES)))
    result = prepare(exported, work / f"{form}-back", options)
    assert not [finding for finding in result.findings if finding.dropped]
    return work / f"{form}-back"


def as_held(mask, forms):
    """What is left of a mask in forms that know no unknown pixels, or fill holes."""
    held = mask.copy()
    if set(forms) & {"coco", "yolo-seg"}:
        held[held == 255] = 0
    if "yolo-seg" in forms:
        patches = []
        for label in (1, 2, 3):
            marks, count = ndimage.label(held == label, np.ones((3, 3)))
            patches += [(label, marks == i) for i in range(1, count + 1)]
        for label, patch in sorted(patches, key=lambda item: -item[1].sum()):
            held[ndimage.binary_fill_holes(patch)] = label
        for label, patch in patches:  # what lay in a hole lies on top
            held[patch] = label
    return held


@pytest.mark.parametrize(("first", "second"), list(itertools.product(["masks", "voc", "coco", "yolo-seg"], repeat=2)))
def test_masks_come_back_through_every_pair_of_forms(tmp_path, first, second):
    masks = {own: drawn(seed) for seed, own in enumerate(IDS) if not own.startswith("good")}
    origin = write_dataset(tmp_path / "origin", masks)
    back = there_and_back(origin, tmp_path / "1", first)
    again = there_and_back(back, tmp_path / "2", second)
    _, before, parts = truth_of(origin)
    dataset, after, parts_after = truth_of(again)
    assert dataset.class_names == CLASSES and parts_after == parts and after.keys() == before.keys()
    for key, mask in before.items():
        np.testing.assert_array_equal(after[key], as_held(mask, (first, second)))


def boxes_drawn(seed):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 40, (5, 2))
    sides = rng.integers(1, 20, (5, 2))
    ends = np.minimum(corners + sides, (WIDTH, HEIGHT))
    boxes = np.hstack([corners, ends]).astype(float).tolist()
    return [Object(1 + i % 3, tuple(box)) for i, box in enumerate(boxes)]


@pytest.mark.parametrize(("first", "second"), list(itertools.product(["voc", "coco", "yolo"], repeat=2)))
def test_boxes_come_back_through_every_pair_of_forms(tmp_path, first, second):
    objects = {own: boxes_drawn(seed) for seed, own in enumerate(IDS) if not own.startswith("good")}
    origin = write_dataset(tmp_path / "origin", {}, objects, known=Known((), (1, 2, 3), True))
    readers = {"voc": "voc-boxes", "coco": "coco", "yolo": "yolo"}
    back = there_and_back(origin, tmp_path / "1", first, readers[first])
    again = there_and_back(back, tmp_path / "2", second, readers[second])
    before, after = boxes_of(origin), boxes_of(again)
    assert before.keys() == after.keys()
    for key, boxes in before.items():
        assert [box[0] for box in after[key]] == [box[0] for box in boxes]
        for box, own in zip(after[key], boxes, strict=True):
            np.testing.assert_allclose(box[1:], own[1:], atol=0.01)


def objects_drawn(seed):
    """Objects that touch, overlap in part, have holes or several pieces; one crowd; all of one class and of two."""
    regions = [np.zeros((HEIGHT, WIDTH), np.uint8) for _ in range(6)]
    shift = seed % 5
    regions[0][5:15, 5:15] = 1
    regions[1][5:15, 15 : 20 + shift] = 1  # touches the first
    regions[2][10:20, 12:18] = 1  # overlaps both, of another class and smaller
    cv2.circle(regions[3], (40, 14), 9, 1, 2)
    cv2.line(regions[4], (0, 22), (20 + shift, 43), 1, 1)
    regions[4][30:32, 40:42] = 1
    regions[5][30:40, 30:50] = np.random.default_rng(seed).random((10, 20)) < 0.5
    labels, crowds = [1, 1, 2, 3, 3, 1], [False] * 5 + [True]
    return labels, crowds, [region.astype(bool) for region in regions]


def instance_dataset(root):
    masks, objects, instances = {}, {}, {}
    for seed, own in enumerate(IDS[:-1]):
        labels, crowds, regions = objects_drawn(seed)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        for i in sorted(range(6), key=lambda i: -regions[i].sum()):
            mask[regions[i]] = labels[i]
        masks[own] = mask
        boxes = []
        for region in regions:
            (y1, *_, y2), (x1, *_, x2) = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
            boxes.append((float(x1), float(y1), x2 + 1.0, y2 + 1.0))
        objects[own] = [Object(*values) for values in zip(labels, boxes, crowds, strict=True)]
        instances[own] = [
            {"label": label, "crowd": crowd, "rle": encode_rle(region)}
            for label, crowd, region in zip(labels, crowds, regions, strict=True)
        ]
    return write_dataset(root, masks, objects, instances, Known((1, 2, 3), (1, 2, 3), True))


def annotations_of(folder):
    """File name -> its annotations as pycocotools understands them."""
    found = {}
    for part in PARTS:
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(folder / "annotations" / f"instances_{part}.json"))
        for image in coco.imgs.values():
            rows = []
            for item in coco.loadAnns(coco.getAnnIds(image["id"])):
                pixels = coco.annToMask(item).astype(bool)
                name = coco.cats[item["category_id"]]["name"]
                assert item["area"] == pixels.sum()
                rows.append((name, item["iscrowd"], tuple(item["bbox"]), pixels))
            found[sha256_bytes((folder / "images" / part / image["file_name"]).read_bytes())] = rows
    return found


def test_coco_to_us_and_back_keeps_every_object(tmp_path):
    origin = instance_dataset(tmp_path / "origin")
    back = there_and_back(origin, tmp_path, "coco")
    export(back, tmp_path / "again", "coco")
    first, second = annotations_of(tmp_path / "coco"), annotations_of(tmp_path / "again")
    hashes = {sample.id: sample.sha256 for sample in load_dataset(origin).samples}
    assert first.keys() == second.keys() == set(hashes.values())
    assert first[hashes[IDS[-1]]] == second[hashes[IDS[-1]]] == []
    for seed, own in enumerate(IDS[:-1]):
        labels, crowds, regions = objects_drawn(seed)
        for rows in (first[hashes[own]], second[hashes[own]]):
            for row, label, crowd, region in zip(rows, labels, crowds, regions, strict=True):
                y, x = np.nonzero(region)
                box = (x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1)
                assert row[:3] == (CLASSES[label - 1], int(crowd), box)
                np.testing.assert_array_equal(row[3], region)
    for key, mask in truth_of(origin)[1].items():
        np.testing.assert_array_equal(truth_of(back)[1][key], mask)
