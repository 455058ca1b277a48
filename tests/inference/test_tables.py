"""CSV tables and summary from a journal: what stands in them, and what a spreadsheet must not compute."""

from __future__ import annotations

import csv
import json
import tracemalloc
from pathlib import Path

import pytest

from defectctl.errors import RunError
from defectctl.inference.journal import Ended
from defectctl.inference.tables import DEFECT_COLUMNS, IMAGE_COLUMNS, write_tables

DENT = {"class": "=dent", "score": 0.75, "box": [1.0, 2.0, 4.0, 5.0], "area": 7}
SCRATCH = {"class": "scratch", "score": 0.5, "box": [0.0, 0.0, 1.0, 9.0], "area": 9}


def row(file: str, verdict: str = "OK", defects: list | None = None, **more: object) -> dict:
    same = {"width": 10, "height": 9, "score": 0.75, "removed_small": 2, "mask": file, "overlay": None}
    made = {"model": {"file": "m.safetensors", "sha256": "ab"}, "thresholds": {"ng": 0.6}, "min_area": 3}
    return {"file": file, "verdict": verdict, "defects": defects or [], "defect_map": None, **same, **made, **more}


def journal(folder: Path, *rows: dict) -> Path:
    path = folder / "predictions.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), "utf-8")
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as handle:
        return list(csv.DictReader(handle))


def test_one_line_an_image_and_one_a_defect(tmp_path: Path) -> None:
    boxes = [{"class": "scratch", "score": 0.9, "box": [0.5, 1, 2, 3]}]
    bad = {"width": None, "height": None, "score": None, "mask": None, "reason": "the file is empty"}
    rows = [row("a.png"), row("деталь\n1.png", "NG", [DENT, SCRATCH], boxes=boxes), row("c.png", "UNREADABLE", **bad)]
    write_tables(journal(tmp_path, row("a.png", "NG", [DENT]), *rows), ("csv",), ["=dent", "scratch"], True)
    images, defects = read(tmp_path / "predictions.csv"), read(tmp_path / "defects.csv")
    assert list(images[0]) == list(IMAGE_COLUMNS) and list(defects[0]) == list(DEFECT_COLUMNS)
    assert [(i["file"], i["verdict"], i["defects"], i["defect_area"], i["boxes"]) for i in images] == [
        ("a.png", "OK", "0", "0", ""),
        ("деталь\n1.png", "NG", "2", "16", "1"),
        ("c.png", "UNREADABLE", "0", "0", ""),
    ]
    assert images[1]["threshold_ng"] == "0.6" and images[1]["threshold_ok"] == "" and images[1]["model_sha256"] == "ab"
    assert images[2]["reason"] == "the file is empty" and images[2]["width"] == ""
    assert [[d[c] for c in ("file", "kind", "class", "score", "x1", "y2", "area")] for d in defects] == [
        ["деталь\n1.png", "mask", "'=dent", "0.75", "1.0", "5.0", "7"],
        ["деталь\n1.png", "mask", "scratch", "0.5", "0.0", "9.0", "9"],
        ["деталь\n1.png", "box", "scratch", "0.9", "0.5", "3", ""],
    ]
    assert (tmp_path / "predictions.csv").read_bytes().startswith(b"\xef\xbb\xbf"), "Excel needs the mark"


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", " ="])
def test_no_cell_is_a_formula(tmp_path: Path, first: str) -> None:
    name = f"{first}cmd|' /C calc'!A0.png"
    text = f"{first}HYPERLINK(1)"
    rows = row(name, "NG", [{**DENT, "class": text}], reason=text)
    write_tables(journal(tmp_path, rows), ("csv",), [text], True)
    for table in ("predictions.csv", "defects.csv"):
        for line in read(tmp_path / table):
            assert not any(
                cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for cell in line.values()
            )
    path = read(tmp_path / "predictions.csv")[0]["file"]
    assert (tmp_path / path).resolve() == (tmp_path / name).resolve(), "it still leads to the file"


def test_a_name_that_is_no_text_does_not_stop_the_table(tmp_path: Path) -> None:
    write_tables(journal(tmp_path, row("\udcff.png")), ("csv", "summary"), [], True)
    assert read(tmp_path / "predictions.csv")[0]["file"] == "\\udcff.png"


def test_the_summary_counts_what_the_journal_holds(tmp_path: Path) -> None:
    rows = [row("a", "NG", [DENT, DENT]), row("b", "OK"), row("b", "UNSURE", [SCRATCH])]
    rows.append(row("c", "UNREADABLE", reason="the file is empty"))
    write_tables(journal(tmp_path, *rows), ("summary",), ["=dent", "scratch", "stain"], True, Ended(4, 2.0, False))
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert summary["images"] == 3 and summary["verdicts"] == {"OK": 0, "NG": 1, "UNSURE": 1, "UNREADABLE": 1}
    assert summary["defects"] == {"=dent": 2, "scratch": 1, "stain": 0} and summary["removed_small"] == 6
    assert summary["unreadable_files"] == [{"file": "c", "reason": "the file is empty"}]
    assert summary["last_run"] == {"images": 4, "seconds": 2.0, "images_per_second": 2.0, "finished": False}
    assert summary["thresholds"] == {"ng": 0.6} and sorted(p.name for p in tmp_path.iterdir()) == [
        "predictions.jsonl",
        "summary.json",
    ]


def test_a_damaged_journal_leaves_the_old_tables(tmp_path: Path) -> None:
    write_tables(journal(tmp_path, row("a")), ("csv", "coco", "summary"), ["dent"], True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with (tmp_path / "predictions.jsonl").open("ab") as handle:
        handle.write(b"no row\n" + json.dumps(row("b")).encode() + b"\n")
    with pytest.raises(Exception, match="damaged in line 2"):
        write_tables(tmp_path / "predictions.jsonl", ("csv", "coco", "summary"), ["dent"], True)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    assert all(after[name] == data for name, data in before.items() if name != "predictions.jsonl")


def test_a_table_that_is_open_in_a_spreadsheet_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows does not replace a file that another program holds; the other tables are written."""
    from defectctl import fileio

    replace = fileio.os.replace

    def held(source: Path, target: Path) -> None:
        if target.name == "predictions.csv":
            raise PermissionError(13, "in use", str(source), None, str(target))
        replace(source, target)

    monkeypatch.setattr(fileio.os, "replace", held)
    with pytest.raises(RunError, match=r"predictions\.csv' cannot be replaced: it is .* open in another program"):
        write_tables(journal(tmp_path, row("a")), ("csv", "summary"), [], True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["defects.csv", "predictions.jsonl", "summary.json"]


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = journal(tmp_path, *(row(f"{n}.png", "NG", [DENT, SCRATCH]) for n in range(count)))
        tracemalloc.start()
        write_tables(path, ("csv", "coco", "summary"), ["=dent", "scratch"], True)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(2000) - peak(200) < 1800 * 100, "a row is larger than this"
