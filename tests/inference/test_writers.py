"""Files of one image: never over an input, never another image's, and no leavings of a killed run."""

from __future__ import annotations

from pathlib import Path

import pytest

from defectctl.errors import InputError
from defectctl.fileio import atomic_path
from defectctl.inference.sources import InputFile, list_inputs
from defectctl.inference.writers import ResultWriter, check_folders


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_overlays_never_overwrite_the_inputs(tmp_path: Path) -> None:
    photo = touch(tmp_path / "overlays" / "a.jpg")
    inputs = list_inputs([str(photo.parent)], tmp_path)
    with pytest.raises(InputError, match="would overwrite an input image"):
        check_folders(inputs, ("masks", "overlays"), tmp_path)
    check_folders(inputs, ("masks",), tmp_path)
    check_folders(inputs, ("masks", "overlays"), tmp_path / "out")


@pytest.mark.parametrize("name", ["predictions.jsonl", "Predictions.CSV", "summary.json", "defects.csv"])
def test_sub_folders_called_like_a_table_are_refused(tmp_path: Path, name: str) -> None:
    touch(tmp_path / "in" / name / "a.png")
    touch(tmp_path / "in" / "b.png")
    with pytest.raises(InputError, match=f"'{name}' is called like a file of results"):
        check_folders(list_inputs([str(tmp_path / "in")], tmp_path / "out"), ("masks",), tmp_path / "out")


def test_results_of_an_earlier_run_keep_their_names(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path, ("masks",), [])
    new = [InputFile(Path("s/a.png"), "s/a.png", "s/a.png"), InputFile(Path("b.png"), "b.png", "b.png")]
    rows = {
        "s/a.jpg": {"mask": "s/a.png", "overlay": "overlays/s/a.jpg", "defect_map": None},
        "b.jpg": {"mask": None, "overlay": None, "defect_map": "defect-maps/b.png"},
        "s/a.png": {"mask": "s/a.png.png", "overlay": None, "defect_map": None},
    }
    assert [item.result for item in writer.set_apart(new, rows)] == ["s/a~2.png", "b~2.png"]
    assert [item.result for item in writer.set_apart(new, {})] == ["s/a.png", "b.png"]
    listed = [InputFile(Path("c.png"), "c.png", "c.png.png")]  # its twin c.jpg is done, and no longer asked for
    assert writer.set_apart(listed, {"c.jpg": {"mask": "c.jpg.png"}}) == listed


def test_only_unfinished_files_of_ours_are_removed_and_only_where_results_go(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path, ("masks", "overlays"), [])
    items = [InputFile(Path("s/деталь\n1.jpg"), "s/деталь\n1.jpg", "s/деталь_1.png")]
    torn = []
    for name in ("predictions.jsonl", "s/деталь_1.png", "overlays/s/деталь_1.jpg"):
        manager = atomic_path(tmp_path / name)
        torn.append(manager.__enter__())
        del manager.gen  # as a killed process leaves it
        torn[-1].write_bytes(b"half")
    kept = [
        tmp_path / "s/a.part",
        tmp_path / "s/.a.part",
        tmp_path / "s/.a.png",
        tmp_path / "other/.a.png.abcdefgh.part",
    ]
    for path in kept:
        touch(path)
    writer.remove_torn(items)
    assert not any(path.exists() for path in torn) and all(path.exists() for path in kept)


def test_whether_all_is_there(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    row = {"mask": "a.png", "overlay": None, "defect_map": None, "defects": [{"score": 1}]}
    assert ResultWriter(tmp_path, ("masks",), []).has_all(row)
    assert ResultWriter(tmp_path, ("masks",), [], ("csv", "summary")).has_all(row)
    assert not ResultWriter(tmp_path, ("masks", "overlays"), []).has_all(row)
    assert not ResultWriter(tmp_path, ("masks",), [], ("coco",)).has_all(row)
    assert ResultWriter(tmp_path, ("masks",), [], ("coco",)).has_all({**row, "defects": []})
    (tmp_path / "a.png").unlink()
    assert not ResultWriter(tmp_path, ("masks",), []).has_all(row)
