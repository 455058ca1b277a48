"""Images sorted into folders: good against defective or named classes; masks and boxes stay unknown."""

from __future__ import annotations

import pytest

from defectctl.dataset.store import load_dataset
from defectctl.dataset.truth import recorded_state
from defectctl.dataset.types import Known
from defectctl.errors import InputError
from defectctl.formats import registry
from defectctl.formats.base import ReadOptions
from defectctl.formats.prepare import PrepareOptions, prepare
from defectctl.formats.readers import image_folders, label_words
from defectctl.formats.registry import list_folder


@pytest.fixture
def with_reader(monkeypatch):
    monkeypatch.setattr(registry, "READERS", {**registry.READERS, image_folders.NAME: image_folders})


def sort(folders, root, counts, ending=".png"):
    """So many pictures in each folder, all different."""
    seed = 0
    for folder, count in counts.items():
        for i in range(count):
            folders.put(root / folder / f"{i}{ending}", folders.picture(seed))
            seed += 1
    return root


def read(root, **options):
    return image_folders.read(list_folder(root), ReadOptions(**options))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *[(name, "good") for name in ("good", "OK", "i.O.", "io", "pass", "normal", "Negative", "no_defect", "0_good")],
        *[(name, "good") for name in ("ok_front", "defect-free", "Good parts")],
        *[(name, "defective") for name in ("bad", "NG", "nok", "n.i.O.", "defect", "defective", "fail", "1_bad")],
        *[(name, "defective") for name in ("anomaly", "positive", "reject", "not ok", "def_front", "ko")],
        *[(name, None) for name in ("scratch", "defect_1", "good_scratch", "", "42", "goods", "train")],
    ],
)
def test_words(name, expected):
    assert label_words.meaning(name) == expected


@pytest.mark.parametrize(("good", "bad"), [("good", "bad"), ("OK", "NG"), ("io", "nio"), ("Negative", "Positive")])
def test_good_against_defective_is_one_class(tmp_path, folders, with_reader, good, bad):
    raw = sort(folders, tmp_path / "raw", {good: 5, bad: 3})
    assert registry.recognise(list_folder(raw)) is image_folders
    result = prepare(raw, tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert dataset.class_names == ["defect"] and dataset.counts["good"] == 5 and not result.findings
    assert result.classes == [{"class": "defect", "images": 3, "pixels": 0, "pixel_share": None, "objects": 0}]
    for sample in dataset.samples:
        assert dataset.known(sample) == Known((), (), True) and sample.mask is None
        assert recorded_state(dataset, sample) == sample.id.startswith(bad)
    assert "good 5, defect 3" in result.layout


def test_named_classes_beside_good(tmp_path, folders, with_reader):
    root = sort(folders, tmp_path, {"good": 2, "scratch": 3, "Dent": 1})
    assert registry.recognise(list_folder(root)) is image_folders
    source = read(root)
    assert source.classes == ["Dent", "scratch"]
    assert [sample.label for sample in source.samples] == ["Dent", "good", "good", *["scratch"] * 3]
    assert not source.knows_masks and not source.knows_boxes


def test_named_classes_and_plain_defective_ones(tmp_path, folders):
    source = read(sort(folders, tmp_path, {"good": 1, "scratch": 1, "ng": 1}))
    assert source.classes == ["scratch"]
    assert {sample.id: sample.label for sample in source.samples}["ng/0.png"] == "defective"


@pytest.mark.parametrize("order", ["{part}/{label}", "casting/{part}/{label}/512", "{label}/{part}"])
def test_official_parts(tmp_path, folders, with_reader, order):
    counts = {("train", "good"): 3, ("train", "scratch"): 2, ("val", "scratch"): 1, ("test", "good"): 1}
    sort(folders, tmp_path, {order.format(part=part, label=label): n for (part, label), n in counts.items()})
    assert registry.recognise(list_folder(tmp_path)) is image_folders
    source = read(tmp_path)
    found = [(s.part, s.label) for s in source.samples]
    assert {key: found.count(key) for key in found} == counts and source.classes == ["scratch"]


def test_several_products(tmp_path, folders):
    sort(folders, tmp_path, {"gear/ok": 1, "gear/nok": 1, "shaft/ok": 1, "shaft/nok": 1})
    assert [sample.label for sample in read(tmp_path).samples] == ["defect", "good", "defect", "good"]


def test_names_of_classes_alone_have_to_be_asked_for(tmp_path, folders, with_reader):
    root = sort(folders, tmp_path / "raw", {"data/crazing": 2, "data/patches": 2})
    with pytest.raises(InputError, match="--format"):
        registry.recognise(list_folder(root))
    result = prepare(root, tmp_path / "out", PrepareOptions(format="image-folders"))
    assert result.dataset.class_names == ["crazing", "patches"]
    assert [row["images"] for row in result.classes] == [2, 2]


@pytest.mark.parametrize("masks", ["masks/{}.png", "bad/{}_mask.png"])
def test_pixel_masks_go_before_folders(tmp_path, folders, masks, with_reader):
    sort(folders, tmp_path, {"good": 9, "bad": 3})
    for i in range(3):
        folders.put(tmp_path / masks.format(i), folders.square(255))
    assert image_folders.recognise(list_folder(tmp_path)) < registry.SURE
    assert registry.recognise(list_folder(tmp_path)).NAME.startswith("mask-")


def test_other_layouts_stay_as_they_were(tmp_path, folders, with_reader):
    folders.mask_folder(tmp_path / "a", range(4))
    folders.voc_folder(tmp_path / "b", range(4), folder="photos/good")
    sort(folders, tmp_path / "c", {"images": 3, "masks": 3})
    sort(folders, tmp_path / "d", {"good": 3})
    scores = {name: image_folders.recognise(list_folder(tmp_path / name)) for name in "abcd"}
    assert scores == dict.fromkeys("abcd", 0.0)


def test_images_outside_the_folders_are_told(tmp_path, folders):
    sort(folders, tmp_path, {"good": 2, "bad": 2, ".": 1, "unlabelled": 3})
    source = read(tmp_path)
    assert len(source.samples) == 4
    assert {(f.file, f.problem, f.dropped) for f in source.findings} == {
        (".", "no-label", True),
        ("unlabelled", "no-label", True),
    }
    assert any(finding.text.startswith("3 image files") for finding in source.findings)


def test_the_users_classes(tmp_path, folders):
    root = sort(folders, tmp_path, {"good": 1, "bad": 1})
    assert read(root, classes=("flaw",)).samples[0].label == "flaw"
    sort(folders, tmp_path, {"SCRATCH": 1})
    assert read(root, classes=("scratch", "dent")).classes == ["scratch", "dent"]
    with pytest.raises(InputError, match="'SCRATCH'"):
        read(root, classes=("dent",))


@pytest.mark.parametrize("counts", [{"good": 3}, {".": 3}, {"photos": 3}])
def test_one_folder_is_refused(tmp_path, folders, counts):
    with pytest.raises(InputError, match="not sorted into folders"):
        read(sort(folders, tmp_path, counts))
