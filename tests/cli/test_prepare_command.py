"""`defectctl prepare` as a user meets it: output, exit codes, one-sentence errors."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from defectctl import messages
from defectctl.cli.app import main


@pytest.fixture
def raw(tmp_path):
    for i in range(10):
        for folder, pixels in (
            ("images", np.full((8, 8), 20 * i, np.uint8)),
            ("masks", np.eye(8, dtype=np.uint8) * 255),
        ):
            path = tmp_path / "raw" / folder / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    yield tmp_path / "raw"
    messages.set_quiet(False)


def run(capsys, *args):
    code = main(["prepare", *map(str, args)])
    streams = capsys.readouterr()
    return code, streams.out, streams.err


def test_tables_notes_and_the_next_command(raw, tmp_path, capsys):
    code, out, err = run(capsys, raw, "--out", tmp_path / "data", "--classes", "scratch")
    assert code == 0
    assert "recognised mask-folders" in err and "255 is read as the defect" in err
    assert "scratch" in out and "12.500%" in out
    assert out.splitlines()[-1].startswith("next: defectctl train")


def test_json_is_one_document_on_stdout(raw, tmp_path, capsys):
    code, out, err = run(capsys, raw, "--out", tmp_path / "data", "--json", "--quiet")
    document = json.loads(out)
    assert code == 0 and err == ""
    assert document["counts"]["images"] == 10 and document["split"]["name"] == "random"


def test_strict_turns_findings_into_exit_code_3(raw, tmp_path, capsys):
    (raw / "images" / "3.png").write_bytes(b"broken")
    code, _, err = run(capsys, raw, "--out", tmp_path / "a")
    assert code == 0 and "images/3.png" in err and "1 left out" in err
    code, _, err = run(capsys, raw, "--out", tmp_path / "b", "--strict", "--quiet")
    assert code == 3 and "1 left out" in err


@pytest.mark.parametrize(
    "args, words",
    [
        (["missing"], "'missing' does not exist"),
        (["{raw}", "--format", "cocoo"], "did you mean 'coco'"),
        (["{raw}", "--classes", "a,a"], "named twice"),
        (["{raw}", "--classes-from", "suffix"], "prefix or folder"),
        (["{raw}", "--mask-values", "0;1"], "--mask-values"),
        (["{raw}/images"], "not recognised"),
        (["{raw}", "missing"], "'missing' does not exist"),
        (["{raw}", "{raw}"], "name each once"),
        (["{raw}", "--join", "name"], "two raw folders"),
        (["{raw}", "--map", "defekt=a"], "did you mean 'defect'"),
        (["{raw}", "--map", "defect"], "OLD=NEW"),
        (["{raw}", "--folds", "none.json"], "there is no file 'none.json'"),
        (["{raw}", "--group-by", "("], "no regular expression"),
        (["{raw}", "--exclude", "nothing*"], "matches no image"),
        (["{raw}", "--classes", "a", "--classes", "b"], "given twice"),
        (["{raw}", "--classes-from", "row:prefix"], "did you mean 'raw'"),
    ],
)
def test_mistakes_are_one_sentence_with_exit_code_2(raw, tmp_path, capsys, args, words):
    code, out, err = run(capsys, *(a.format(raw=raw) for a in args), "--out", tmp_path / "data")
    assert code == 2 and out == ""
    assert words in err and len(err.splitlines()) == 1 and "Traceback" not in err
    assert not (tmp_path / "data").exists()


def test_a_folder_in_which_nothing_is_readable_is_exit_code_2(raw, tmp_path, capsys):
    for path in (raw / "images").iterdir():
        path.write_bytes(b"broken")
    code, _, err = run(capsys, raw, "--out", tmp_path / "data")
    assert code == 2 and "can be used" in err and not (tmp_path / "data").exists()


def other(tmp_path, folder="other"):
    """Boxes in VOC for the last five of the ten pictures and for five others."""
    for i in range(5, 15):
        path = tmp_path / folder / "pics" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", np.full((8, 8), min(255, 20 * i), np.uint8))[1].tobytes())
        box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox>"
        text = f"<annotation><object><name>dent</name>{box}</object></annotation>"
        (path.parent / f"{i}.xml").write_text(text, encoding="utf-8")
    return tmp_path / folder


def test_two_folders_options_of_one_and_joining_by_name(raw, tmp_path, capsys):
    out = tmp_path / "data"
    args = [raw, other(tmp_path), "--out", out, "--join", "name", "--map", "raw:scratch=crack"]
    code, text, err = run(capsys, *args, "--classes", "raw:scratch", "--json")
    document = json.loads(text)
    assert code == 0 and document["format"] == "mask-folders + voc-boxes"
    assert document["counts"]["images"] == 15 and [row["class"] for row in document["classes"]] == ["crack", "dent"]
    assert "joined by name: 5 images of 'other'" in err
    assert "5 of them boxes name a class of which the mask knows nothing" in err


def test_folds_are_listed(raw, tmp_path, capsys):
    file = tmp_path / "folds.csv"
    file.write_text("id,fold\n" + "".join(f"{i},{i % 2}\n" for i in range(10)), encoding="utf-8")
    args = (raw, "--folds", file, "--group-by", r"(\d+)\.png")
    code, text, _ = run(capsys, *args, "--out", tmp_path / "data")
    assert code == 0 and "fold-0" in text and "5 (0)" in text
    code, text, _ = run(capsys, *args, "--out", tmp_path / "json", "--json")
    assert [fold["name"] for fold in json.loads(text)["other_splits"]] == ["fold-0", "fold-1"]


def test_where_only_boxes_are_known_a_detector_comes_next(raw, tmp_path, capsys):
    code, out, _ = run(capsys, other(tmp_path), "--out", tmp_path / "boxes")
    assert code == 0 and "--preset yolov5s" in out.splitlines()[-1]
    code, out, _ = run(capsys, raw, other(tmp_path), "--out", tmp_path / "both", "--join", "name")
    assert code == 0 and "--preset quick" in out.splitlines()[-1]


def test_a_second_run_on_the_same_files_does_nothing(raw, tmp_path, capsys):
    data = tmp_path / "data"
    assert run(capsys, raw, "--out", data)[0] == 0
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    code, out, _ = run(capsys, raw, "--out", data)
    assert code == 0 and "up to date" in out
    code, out, _ = run(capsys, raw, "--out", data, "--json")
    document = json.loads(out)
    assert document["out"] == str(data) and document["unchanged"] and document["counts"]["images"] == 10
    assert before == {path: path.stat().st_mtime_ns for path in data.rglob("*")}


def test_a_second_run_is_as_strict_as_the_first(raw, tmp_path, capsys):
    (raw / "images" / "lone.png").write_bytes((raw / "images" / "0.png").read_bytes())
    codes = [run(capsys, raw, "--out", tmp_path / "data", "--strict")[0] for _ in range(2)]
    assert codes == [3, 3]


def test_a_second_run_tells_of_changed_files_and_options(raw, tmp_path, capsys):
    data = tmp_path / "data"
    assert run(capsys, raw, "--out", data)[0] == 0
    code, _, err = run(capsys, raw, "--out", data, "--seed", "1")
    assert code == 2 and "--replace" in err
    (raw / "images" / "0.png").write_bytes((raw / "images" / "1.png").read_bytes() + b" ")
    code, _, err = run(capsys, raw, "--out", data)
    assert code == 2 and "--replace" in err
    assert run(capsys, raw, "--out", data, "--replace")[0] == 0
    assert run(capsys, raw, "--out", data)[0] == 0


def test_an_export_is_read_back(raw, tmp_path, capsys):
    assert run(capsys, raw, "--out", tmp_path / "data")[0] == 0
    code, out, _ = run(capsys, tmp_path / "data", "--to", "coco", "--out", tmp_path / "coco", "--json")
    assert code == 0 and sum(json.loads(out)["images"].values()) == 10
    code, out, _ = run(capsys, tmp_path / "coco", "--out", tmp_path / "again", "--json")
    assert code == 0 and json.loads(out)["counts"]["images"] == 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "coco"], "--to needs --out"),
        (["--to", "coco", "--out", "x", "--kfold", "3"], "--kfold is for raw folders"),
        (["--to", "kitti", "--out", "x"], "--to takes coco, voc, yolo, masks, not 'kitti'"),
        (["--segment"], "--segment goes with --to"),
        (["--kfold", "2", "--folds", "f.json"], "there is no file"),
    ],
)
def test_options_that_do_not_go_together(raw, capsys, arguments, words):
    code, _, err = run(capsys, raw, *arguments)
    assert code == 2 and words in err


def test_folds_and_calibration_are_made(raw, tmp_path, capsys):
    code, out, _ = run(capsys, raw, "--out", tmp_path / "d", "--kfold", "2", "--calibration", "0.2", "--json")
    splits = json.loads(out)["other_splits"]
    assert code == 0 and [split["name"] for split in splits] == ["fold-0", "fold-1"]
    assert all({row["part"] for row in split["parts"]} == {"train", "val", "test", "calibration"} for split in splits)


@pytest.mark.parametrize("lost", ["images/images/0.png", "masks/images/0.png.png", "report.html"])
def test_a_dataset_that_lost_a_file_is_not_up_to_date(raw, tmp_path, capsys, lost):
    data = tmp_path / "data"
    assert run(capsys, raw, "--out", data)[0] == 0
    (data / lost).unlink()
    code, _, err = run(capsys, raw, "--out", data)
    assert code == 2 and "--replace" in err


def test_linked_images_that_moved_are_not_up_to_date(raw, tmp_path, capsys):
    assert run(capsys, raw, "--out", tmp_path / "data", "--link")[0] == 0
    (tmp_path / "moved").mkdir()
    moved = raw.rename(tmp_path / "moved" / "raw")
    assert run(capsys, moved, "--out", tmp_path / "data", "--link")[0] == 2
