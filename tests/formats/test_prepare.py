"""Raw folders to datasets: truth kept pixel for pixel, nothing dropped silently, nothing left behind."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from defectctl.dataset.store import load_dataset, load_split
from defectctl.dataset.types import Known
from defectctl.errors import InputError
from defectctl.formats import prepare as module
from defectctl.formats.base import ReadOptions
from defectctl.formats.prepare import PrepareOptions, prepare
from defectctl.imaging.masks import decode_index


def encoded(pixels, ending=".png"):
    return cv2.imencode(ending, np.asarray(pixels))[1].tobytes()


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else encoded(data, path.suffix))


def truth(i, values=(0, 1, 2)):
    mask = np.zeros((24, 32), np.uint8)
    if i % 4:
        mask[4 + i % 8 : 12, 3:9] = values[1 + i % (len(values) - 1)]
    return mask


def raw_folder(root, count=12, values=(0, 1, 2), ending=".jpg", name="part{}"):
    noise = np.random.default_rng(0)
    for i in range(count):
        put(root / "photos" / f"{name.format(i)}{ending}", noise.integers(0, 255, (24, 32), np.uint8))
        put(root / "labels" / f"{name.format(i)}.png", truth(i, values))
    return root


def mask_of(dataset, sample):
    path = dataset.mask_path(sample)
    return np.zeros((sample.height, sample.width), np.uint8) if path is None else decode_index(path.read_bytes())


def tree(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_masks_and_images_come_through_unchanged(tmp_path):
    raw = raw_folder(tmp_path / "сырьё", name="деталь {}")
    before = tree(raw)
    result = prepare(raw, tmp_path / "out", PrepareOptions(read=ReadOptions(classes=("scratch", "dent"))))
    dataset = load_dataset(tmp_path / "out")
    assert tree(raw) == before
    assert dataset.class_names == ["scratch", "dent"] and len(dataset.samples) == 12 and not result.findings
    for sample in dataset.samples:
        i = int(sample.id.removesuffix(".jpg").split()[-1])
        assert dataset.image_path(sample).read_bytes() == (raw / sample.id).read_bytes()
        assert (mask_of(dataset, sample) == truth(i)).all()
        assert dataset.known(sample) == Known((1, 2), (), True)
        assert (sample.mask is None) == (i % 4 == 0)
    assert result.dataset.counts["good"] == 3
    assert {part for part in load_split(dataset).parts} == {"train", "val", "test"}


def test_masks_of_0_and_255_become_0_and_1_and_it_is_said(tmp_path):
    result = prepare(raw_folder(tmp_path / "raw", values=(0, 255)), tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    defects = sum(int((truth(i, (0, 255)) > 0).sum()) for i in range(12))
    assert sum(int((mask_of(dataset, s) == 1).sum()) for s in dataset.samples) == defects
    assert not any((mask_of(dataset, s) == 255).any() for s in dataset.samples)
    assert any("255 is read as the defect" in note for note in result.notes)


def test_a_surprise_value_stops_before_anything_is_written(tmp_path):
    raw = raw_folder(tmp_path / "raw", values=(0, 1, 2, 3))
    put(raw / "labels" / "part5.png", np.full((24, 32), 7, np.uint8))
    with pytest.raises(InputError, match=r"labels/part5\.png' holds the value 7"):
        prepare(raw, tmp_path / "out", PrepareOptions(read=ReadOptions(classes=("a", "b", "c"))))
    assert not (tmp_path / "out").exists()


def test_a_picture_of_a_kind_that_is_not_read_is_told(tmp_path):
    raw = raw_folder(tmp_path / "raw")
    (raw / "photos" / "extra.gif").write_bytes(b"GIF89a")
    found = prepare(raw, tmp_path / "out").findings
    assert [(f.file, f.problem, f.dropped) for f in found] == [("photos/extra.gif", "unreadable", True)]


def test_bad_files_are_listed_with_the_reason_and_the_rest_goes_on(tmp_path):
    raw = raw_folder(tmp_path / "raw")
    whole = (raw / "photos" / "part1.jpg").read_bytes()
    (raw / "photos" / "part1.jpg").write_bytes(whole[: len(whole) // 2])
    (raw / "photos" / "part2.jpg").write_bytes(b"")
    (raw / "labels" / "part3.png").write_bytes(b"no picture")
    put(raw / "labels" / "part5.png", np.zeros((32, 24), np.uint8))
    (raw / "labels" / "part6.png").unlink()
    result = prepare(raw, tmp_path / "out")
    problems = {finding.file.split("/")[-1].split(".")[0]: finding for finding in result.findings}
    assert set(problems) == {"part1", "part2", "part3", "part5", "part6"}
    assert [problems[f"part{i}"].problem for i in (1, 2, 3, 5)] == ["unreadable"] * 3 + ["size-differs"]
    assert all(finding.dropped and finding.text for finding in result.findings)
    assert len(load_dataset(tmp_path / "out").samples) == 7
    listed = (tmp_path / "out" / "findings.csv").read_text(encoding="utf-8").splitlines()
    assert len([line for line in listed[1:] if not line.startswith(".,")]) == 5


def test_a_folder_with_nothing_readable_is_an_error(tmp_path):
    raw = raw_folder(tmp_path / "raw")
    for path in (raw / "photos").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(InputError, match=r"no image in .* can be used"):
        prepare(raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_equal_images_with_unequal_labels_are_contradictory(tmp_path):
    raw = raw_folder(tmp_path / "raw")
    (raw / "photos" / "part2.jpg").write_bytes((raw / "photos" / "part1.jpg").read_bytes())
    result = prepare(raw, tmp_path / "out")
    assert [(f.file, f.problem, f.dropped) for f in result.findings] == [("photos/part2.jpg", "contradictory", False)]
    homes = [part for part, ids in result.split.parts.items() if {"photos/part1.jpg", "photos/part2.jpg"} & set(ids)]
    assert len(homes) == 1


def test_official_parts_are_kept_and_a_leak_is_said(tmp_path):
    raw = tmp_path / "raw"
    for part, count in (("train", 20), ("test", 5)):
        for i in range(count):
            put(raw / "pics" / part / f"{i}.png", np.full((8, 8), i + 1, np.uint8))
            put(raw / "masks" / part / f"{i}.png", np.eye(8, dtype=np.uint8))
    result = prepare(raw, tmp_path / "out")
    assert {part: len(ids) for part, ids in result.split.parts.items()} == {"train": 18, "val": 2, "test": 5}
    assert result.split.name == "official" and any("leaks" in note for note in result.notes)


def test_twelve_bits_in_sixteen_bit_files_get_their_own_white(tmp_path):
    raw = raw_folder(tmp_path / "raw", ending=".png")
    for i in range(12):
        put(raw / "photos" / f"part{i}.png", np.full((24, 32), 1000 + 250 * i, np.uint16))
    prepare(raw, tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert dataset.pixel_rule(dataset.samples[0]).to_dict() == {"black16": 0, "white16": 4095}


def test_classes_from_prefix_speak_for_their_own_class_only(tmp_path):
    raw = raw_folder(tmp_path / "raw", values=(0, 255), name="In_{}")
    raw_folder(raw, values=(0, 255), name="Pa_{}")
    hint = prepare(raw, tmp_path / "plain")
    assert any("--classes-from prefix" in note for note in hint.notes)
    prepare(raw, tmp_path / "out", PrepareOptions(read=ReadOptions(classes_from="prefix")))
    dataset = load_dataset(tmp_path / "out")
    assert dataset.class_names == ["In", "Pa"]
    for sample in dataset.samples:
        own = 1 if "In_" in sample.id else 2
        assert dataset.known(sample).mask == (own,)
        assert set(np.unique(mask_of(dataset, sample))) <= {0, own}


def test_options_that_would_do_nothing_are_refused(tmp_path):
    raw = coco_folder(tmp_path / "raw")
    with pytest.raises(InputError, match="--mask-values is for pixel masks"):
        prepare(raw, tmp_path / "out", PrepareOptions(read=ReadOptions(mask_values={1: "a"})))


def coco_folder(root):
    annotations = [
        {"image_id": 1, "category_id": 3, "bbox": [2, 2, 10, 10], "segmentation": [[2, 2, 12, 2, 12, 12, 2, 12]]},
        {
            "image_id": 2,
            "category_id": 3,
            "bbox": [0, 0, 5, 5],
            "iscrowd": 1,
            "segmentation": {"size": [24, 32], "counts": [0, 24 * 2, 24 * 30]},
        },
        {"image_id": 2, "category_id": 8, "bbox": [20, 10, 6, 6], "segmentation": []},
    ]
    for number, annotation in enumerate(annotations, 1):
        annotation.update(id=number, area=1, iscrowd=annotation.get("iscrowd", 0))
    document = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 32, "height": 24} for i in (1, 2, 3)],
        "categories": [{"id": 3, "name": "rust"}, {"id": 8, "name": "dent"}],
        "annotations": annotations,
    }
    for i in (1, 2, 3):
        put(root / f"{i}.png", np.full((24, 32), i, np.uint8))
    (root / "annotations.json").write_text(json.dumps(document), encoding="utf-8")
    return root


def test_coco_crowds_are_in_the_mask_and_box_only_classes_are_unknown_there(tmp_path):
    prepare(coco_folder(tmp_path / "raw"), tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    first, second, third = dataset.samples
    rust, dent = (dataset.class_names.index(name) + 1 for name in ("rust", "dent"))
    assert mask_of(dataset, first)[2:12, 2:12].min() == rust and dataset.known(first).mask == (1, 2)
    assert (mask_of(dataset, second)[:, :2] == rust).all()
    assert dataset.known(second).mask == (rust,) and dataset.known(second).boxes == (1, 2)
    assert [(thing.label, thing.crowd) for thing in second.objects] == [(rust, True), (dent, False)]
    assert third.mask is None and third.objects == [] and dataset.known(third) == Known((1, 2), (1, 2), True)


def test_an_existing_dataset_stays_unless_replace_and_until_the_new_one_is_whole(tmp_path):
    raw, out = raw_folder(tmp_path / "raw"), tmp_path / "out"
    prepare(raw, out)
    before = tree(out)
    with pytest.raises(InputError, match="--replace"):
        prepare(raw, out)
    for path in (raw / "photos").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(InputError):
        prepare(raw, out, PrepareOptions(replace=True))
    assert tree(out) == before
    prepare(raw_folder(tmp_path / "more", count=20), out, PrepareOptions(replace=True))
    assert len(load_dataset(out).samples) == 20


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    raw = raw_folder(tmp_path / "raw")
    calls = []

    def interrupted(self, raw_sample, outcome):
        calls.append(raw_sample)
        if len(calls) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(module._Gathered, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(raw, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep").exists()


def test_paths_inside_one_another_and_missing_ones_are_refused(tmp_path):
    raw = raw_folder(tmp_path / "raw")
    for out in (raw, raw / "out", tmp_path):
        with pytest.raises(InputError, match="one in the other"):
            prepare(raw, out)
    with pytest.raises(InputError, match=r"'.*missing' does not exist"):
        prepare(tmp_path / "missing", tmp_path / "out")


def test_link_leaves_the_images_where_they_are(tmp_path):
    raw = raw_folder(tmp_path / "raw")
    prepare(raw, tmp_path / "out", PrepareOptions(link=True))
    dataset = load_dataset(tmp_path / "out")
    assert not (tmp_path / "out" / "images").exists()
    assert dataset.image_path(dataset.samples[0]).resolve() == (raw / dataset.samples[0].id).resolve()


def test_the_same_folder_gives_the_same_dataset(tmp_path):
    raw = raw_folder(tmp_path / "raw")
    assert prepare(raw, tmp_path / "a").dataset.fingerprint == prepare(raw, tmp_path / "b").dataset.fingerprint
    assert (tmp_path / "a/splits/random.json").read_bytes() == (tmp_path / "b/splits/random.json").read_bytes()
