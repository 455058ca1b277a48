"""Fold files of every form become splits that test what they say and cut no group."""

from __future__ import annotations

import json

import pytest

from defectctl.dataset.store import load_dataset, load_split
from defectctl.errors import InputError
from defectctl.formats.fold_files import plan_folds
from defectctl.formats.prepare import PrepareOptions, prepare

IDS = [(f"kos{group:02}/Part{part}.jpg", f"kos{group:02}") for group in range(1, 7) for part in range(3)]
PARTS = ("/Part0.jpg", "/Part1.jpg", "/Part2.jpg")


def plan(tmp_path, content, name="folds.json", ids=IDS):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return plan_folds(path, ids)


@pytest.mark.parametrize(
    "content, name",
    [
        ({"test": [[1, 2], [3, 4], [5, 6]]}, "folds.json"),
        ({"fold-0": ["kos01", "kos02"], "fold-1": ["kos03", 4], "fold-2": [5, "kos06"]}, "folds.json"),
        ({"0": [1, 2], "1": [3, 4], "2": [5, 6]}, "folds.json"),
        ("id,fold\nkos01,0\n2,0\n3,fold-1\n4,1\n5,2\n6,2\n", "folds.csv"),
    ],
)
def test_all_forms_say_the_same(tmp_path, content, name):
    found, notes = plan(tmp_path, content, name)
    assert list(found.tests) == ["fold-0", "fold-1", "fold-2"] and not notes
    assert found.tests["fold-1"] == sorted(f"{group}{part}" for group in ("kos03", "kos04") for part in PARTS)


def test_single_images_need_no_groups(tmp_path):
    found, notes = plan(tmp_path, {"a": ["x/1.png"]}, ids=[("x/1.png", None), ("x/2.png", None)])
    assert found.tests == {"a": ["x/1.png"]} and notes == ["images that no fold tests: 1; they train in every fold"]


@pytest.mark.parametrize(
    "content, words",
    [
        ({"test": [[1, 9]]}, "names 9, which is no id and no group"),
        ({"f": ["kos7"]}, "names kos7, .* did you mean 'kos0"),
        ({"test": [[1, 2], [2, 3]]}, "'kos02/Part0.jpg' into fold-0 and into fold-1"),
        ({"f": ["kos01/Part0.jpg"]}, "cuts the group 'kos01'"),
        ({"test": [[1], [2]], "train_5_positives": [[3]]}, "one list for each of the 2 folds"),
        ({"test": [[1], [2]], "train_5_positives": [[3], [2]]}, "train in fold-1-positives-5, but fold-1 tests it"),
        ({"official": [1]}, "calls a fold 'official'"),
        ({"f": []}, "an empty list"),
        ({"f": 3}, "holds no list"),
        ([1], "no object"),
        ("{", "not readable as JSON"),
    ],
)
def test_mistakes_are_told_in_one_sentence(tmp_path, content, words):
    with pytest.raises(InputError, match=words) as error:
        plan(tmp_path, content)
    assert "\n" not in str(error.value)


def test_numbers_without_groups_ask_for_groups(tmp_path):
    with pytest.raises(InputError, match="--group-by makes them"):
        plan(tmp_path, {"test": [[1]]}, ids=[("kos01/Part0.jpg", None)])


def test_a_number_that_two_groups_end_with_is_refused(tmp_path):
    with pytest.raises(InputError, match="can be group 'a1' or 'b01'"):
        plan(tmp_path, {"test": [[1]]}, ids=[("1.png", "a1"), ("2.png", "b01")])


def test_prepared_folds_limit_defects_and_never_cut_a_group(folders, tmp_path):
    """12 groups of 4 images, the first of each defective."""
    raw = tmp_path / "raw"
    for group in range(12):
        for part in range(4):
            folders.put(raw / "photos" / f"g{group}" / f"{part}.png", folders.picture(4 * group + part))
            folders.put(raw / "masks" / f"g{group}" / f"{part}.png", folders.square(255 * (part == 0)))
    file = tmp_path / "folds.json"
    file.write_text(json.dumps({"test": [[0, 1, 2, 3], [4, 5, 6, 7]], "train_2_positives": [[4, 9], [0, 1]]}))
    result = prepare(raw, tmp_path / "out", PrepareOptions(folds=file, group_by=r"(g\d+)/"))
    dataset = load_dataset(tmp_path / "out")
    names = ["fold-0", "fold-0-positives-2", "fold-1", "fold-1-positives-2"]
    assert dataset.splits == [*names, "random"] and dataset.default_split == "random"
    groups = {sample.id: sample.group for sample in dataset.samples}
    for name in names:
        parts = load_split(dataset, name).parts
        sets = {part: {groups[i] for i in ids} for part, ids in parts.items()}
        assert not sets["train"] & sets["val"] and not sets["train"] & sets["test"] and not sets["val"] & sets["test"]
        assert len(parts["test"]) == 16 and len(parts["val"]) == 4 and sum("/0.png" in i for i in parts["val"]) == 1
    positives = {i for i in load_split(dataset, "fold-0-positives-2").parts["train"] if "/0.png" in i}
    assert positives == {"photos/g4/0.png", "photos/g9/0.png"}
    assert len(load_split(dataset, "fold-0-positives-2").parts["train"]) == 7 * 3 + 2
    assert "folds: fold-0 tests 16 (4 defective), fold-1 tests 16 (4 defective)" in result.notes
