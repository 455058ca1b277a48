"""MVTec-AD and its kin: parts, classes and masks by folders; good parts are known to be empty."""

from __future__ import annotations

import json

import numpy as np
import pytest

from defectctl.dataset.store import load_dataset
from defectctl.dataset.truth import recorded_state
from defectctl.dataset.types import Known
from defectctl.errors import InputError
from defectctl.formats import registry
from defectctl.formats.base import ReadOptions
from defectctl.formats.prepare import PrepareOptions, prepare
from defectctl.formats.readers import mvtec
from defectctl.formats.registry import list_folder
from defectctl.imaging.masks import decode_index


@pytest.fixture
def with_reader(monkeypatch):
    monkeypatch.setattr(registry, "READERS", {**registry.READERS, mvtec.NAME: mvtec})


def category(folders, root, good="good", classes=("crack", "hole"), suffix="_mask", ending=".png"):
    """Three good parts to train on; to test, one good part and two of each class; 96 pixels of each defect."""
    for i in range(3):
        folders.put(root / f"train/{good}/{i:03}{ending}", folders.picture(i))
    folders.put(root / f"test/{good}/000{ending}", folders.picture(9))
    for number, name in enumerate(classes):
        for i in range(2):
            folders.put(root / f"test/{name}/{i:03}{ending}", folders.picture(20 + 2 * number + i))
            folders.put(root / f"ground_truth/{name}/{i:03}{suffix}.png", folders.square(255, 8 * (i + 1)))
    return root


def read(root, **options):
    return mvtec.read(list_folder(root), ReadOptions(**options))


def test_one_category(tmp_path, folders):
    source = read(category(folders, tmp_path))
    assert source.classes == ["crack", "hole"] and not source.findings and source.knows_masks
    assert [(s.id, s.part, s.label, s.class_name) for s in source.samples] == [
        ("test/crack/000.png", "test", "crack", "crack"),
        ("test/crack/001.png", "test", "crack", "crack"),
        ("test/good/000.png", "test", "good", None),
        ("test/hole/000.png", "test", "hole", "hole"),
        ("test/hole/001.png", "test", "hole", "hole"),
        *[(f"train/good/{i:03}.png", "train", "good", None) for i in range(3)],
    ]
    assert source.samples[1].mask == tmp_path / "ground_truth/crack/001_mask.png"
    assert "train 3, test 5" in source.layout and "training part has no defect" in source.layout


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"good": "ok", "classes": ("ko",), "suffix": "", "ending": ".bmp"},
        {"good": "normal", "classes": ("bad",), "suffix": "", "ending": ".jpg"},
    ],
)
def test_kin_are_told_from_every_other_layout(tmp_path, folders, form, with_reader):
    root = category(folders, tmp_path, **form)
    assert registry.recognise(list_folder(root)) is mvtec
    source = read(root)
    masked = {sample.id for sample in source.samples if sample.mask}
    assert masked == {sample.id for sample in source.samples if sample.label != "good"}
    assert len(masked) == 2 * len(source.classes) and not source.findings


def test_several_categories_share_their_classes(tmp_path, folders, with_reader):
    category(folders, tmp_path / "bottle", classes=("crack", "hole"))
    category(folders, tmp_path / "nut", classes=("Crack", "bent"))
    assert registry.recognise(list_folder(tmp_path)) is mvtec
    source = read(tmp_path)
    assert source.classes == ["bent", "crack", "hole"]
    assert "2 categories ('bottle', 'nut')" in source.layout
    by_id = {sample.id: sample for sample in source.samples}
    assert by_id["nut/test/Crack/001.png"].class_name == "crack"
    assert by_id["nut/test/Crack/001.png"].mask == tmp_path / "nut/ground_truth/Crack/001_mask.png"


def test_the_truth_below_its_part(tmp_path, folders):
    for part in ("test_public", "validation"):
        folders.put(tmp_path / f"can/{part}/good/0.png", folders.picture(1))
        folders.put(tmp_path / f"can/{part}/bad/0.png", folders.picture(2))
        folders.put(tmp_path / f"can/{part}/ground_truth/bad/0_mask.png", folders.square(255))
    folders.put(tmp_path / "can/train/good/0.png", folders.picture(3))
    masks = {s.id: s.mask.relative_to(tmp_path).as_posix() for s in read(tmp_path).samples if s.mask}
    assert masks == {
        "can/test_public/bad/0.png": "can/test_public/ground_truth/bad/0_mask.png",
        "can/validation/bad/0.png": "can/validation/ground_truth/bad/0_mask.png",
    }


def test_prepared_pixel_for_pixel(tmp_path, folders, with_reader):
    result = prepare(category(folders, tmp_path / "raw"), tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert result.format == "mvtec" and not result.findings
    assert [(row["class"], row["images"], row["pixels"]) for row in result.classes] == [
        ("crack", 2, 192),
        ("hole", 2, 192),
    ]
    assert dataset.counts["good"] == 4
    samples = {sample.id: sample for sample in dataset.samples}
    hole = samples["test/hole/001.png"]
    np.testing.assert_array_equal(decode_index(dataset.mask_path(hole).read_bytes()), folders.square(2, 16))
    good = samples["train/good/000.png"]
    assert good.mask is None and good.label == "good" and dataset.known(good) == Known((1, 2), (), True)
    official = json.loads((tmp_path / "out/splits/official.json").read_text(encoding="utf-8"))["parts"]
    assert sorted(official["test"]) == sorted(i for i in samples if i.startswith("test/"))


def test_a_defective_part_without_its_mask_keeps_its_class(tmp_path, folders, with_reader):
    raw = category(folders, tmp_path / "raw")
    (raw / "ground_truth/hole/001_mask.png").unlink()
    result = prepare(raw, tmp_path / "out")
    assert [(f.file, f.problem, f.dropped) for f in result.findings] == [("test/hole/001.png", "no-mask", False)]
    dataset = load_dataset(tmp_path / "out")
    sample = next(s for s in dataset.samples if s.id == "test/hole/001.png")
    assert sample.label == "hole" and dataset.known(sample) == Known(image=True)


def test_a_defective_part_with_an_empty_mask_is_not_good(tmp_path, folders, with_reader):
    raw = category(folders, tmp_path / "raw", classes=("ko",))
    folders.put(raw / "ground_truth/ko/001_mask.png", folders.square(0))
    prepare(raw, tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert [recorded_state(dataset, sample) for sample in dataset.samples] == [0, 1, 1, 0, 0, 0]
    assert dataset.counts["good"] == 4


def test_what_fits_nothing_is_told(tmp_path, folders):
    category(folders, tmp_path)
    folders.put(tmp_path / "ground_truth/hole/777_mask.png", folders.square(255))
    folders.put(tmp_path / "ground_truth/good/000_mask.png", folders.square(0))
    folders.put(tmp_path / "preview.png", folders.picture(5))
    folders.put(tmp_path / "train/crack/000.png", folders.picture(6))  # fits the mask of test/crack/000.png, too
    source = read(tmp_path)
    assert {(f.file, f.problem, f.dropped) for f in source.findings} == {
        ("ground_truth/hole/777_mask.png", "no-image", True),
        ("ground_truth/good", "unused-masks", False),
        (".", "unused-images", True),
        ("ground_truth/crack/000_mask.png", "ambiguous-image", True),
    }
    both = [s for s in source.samples if s.id.endswith("crack/000.png")]
    assert [(s.mask, s.label) for s in both] == [(None, "crack")] * 2
    assert "no defect" not in source.layout


def test_classes_in_the_users_order(tmp_path, folders):
    category(folders, tmp_path)
    assert read(tmp_path, classes=("hole", "crack")).classes == ["hole", "crack"]
    with pytest.raises(InputError, match="--classes"):
        read(tmp_path, classes=("hole",))
    with pytest.raises(InputError, match="--classes-from prefix"):
        read(tmp_path, classes_from="prefix")


def test_another_layout_is_refused(tmp_path, folders):
    folders.mask_folder(tmp_path, range(3))
    assert mvtec.recognise(list_folder(tmp_path)) == 0
    with pytest.raises(InputError, match="ground_truth"):
        read(tmp_path)


def test_a_single_part_needs_no_split(tmp_path, folders, with_reader):
    raw = category(folders, tmp_path / "raw")
    for file in (raw / "train/good").iterdir():
        file.unlink()
    result = prepare(raw, tmp_path / "out", PrepareOptions(format="mvtec"))
    assert result.split.name == "random" and "unsplit" in result.layout
