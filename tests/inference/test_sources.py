"""Which images are listed, and the names of their results."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from defectctl.errors import InputError
from defectctl.inference.sources import InputFile, list_inputs, split_list


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def listed(inputs: list, out: Path, **more) -> dict[str, str]:
    return {item.file: item.result for item in list_inputs([str(i) for i in inputs], out, **more)}


def test_folder_keeps_sub_folders_and_skips_what_is_no_image(tmp_path: Path) -> None:
    root = touch(tmp_path / "in put", "a.png", "b.JPG", "деталь/图 1.tif", ".hidden.png", "notes.txt", "Thumbs.db")
    out = tmp_path / "out"
    assert listed([root], out) == {"a.png": "a.png", "b.JPG": "b.png", "деталь/图 1.tif": "деталь/图 1.png"}
    assert listed([root], out, recursive=False) == {"a.png": "a.png", "b.JPG": "b.png"}


def test_out_inside_the_input_is_not_read(tmp_path: Path) -> None:
    root = touch(tmp_path / "in", "a.png", "masks/a.png", "masks/overlays/a.jpg")
    assert listed([root], root / "masks") == {"a.png": "a.png"}
    with pytest.raises(InputError, match="input folder itself"):
        listed([root], root)


def test_empty_text_is_not_the_current_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="empty text"):
        list_inputs([""], tmp_path / "out")


def test_several_inputs_are_named_below_their_common_folder(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.png", "y/a.png", "y/b.png")
    out = tmp_path / "out"
    assert list(listed([tmp_path / "x", tmp_path / "y" / "a.png"], out)) == ["x/a.png", "y/a.png"]
    assert list(listed([tmp_path / "y" / "b.png"], out)) == ["b.png"]
    assert list(listed([tmp_path / "y", tmp_path / "y" / "b.png"], out)) == ["a.png", "b.png"]


def test_patterns_and_lists(tmp_path: Path) -> None:
    root = touch(tmp_path, "p/a.png", "p/q/b.png", "p/c.txt", "odd[1].png")
    out = root / "out"
    assert list(listed([f"{root}/p/**/*"], out)) == ["a.png", "q/b.png"]
    assert list(listed([root / "odd[1].png"], out)) == ["odd[1].png"]
    assert list(listed(["-"], out, stdin=[f"{root}/p/a.png\n", "\n", f"{root}/p/q/b.png"])) == ["a.png", "q/b.png"]


@pytest.mark.parametrize(
    "name, text", [("none", "does not exist"), ("empty", "no images"), ("*.jpeg", "no image match")]
)
def test_nothing_there_is_one_sentence(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=text):
        list_inputs([str(tmp_path / name)], tmp_path / "out")


def test_results_never_overwrite_inputs(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    with pytest.raises(InputError, match="overwrite"):
        list_inputs([str(tmp_path / "a.png")], tmp_path)


def test_lists_of_paths_end_them_with_lines_or_zero_bytes() -> None:
    assert split_list("\ufeffa.png\r\n\r\nдеталь 1.png\n b.png \n".encode()) == ["a.png", "деталь 1.png", " b.png "]
    assert split_list("a\nb.png\0c\u2028d.png\0".encode()) == ["a\nb.png", "c\u2028d.png"]
    assert split_list("a\u2028b\x0cc.png\n".encode()) == ["a\u2028b\x0cc.png"], "no line ends here"
    assert split_list("деталь.png\r\n".encode("utf-16")) == ["деталь.png"], "as Windows PowerShell writes lists"


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_name_that_is_no_text_can_be_listed(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/\xff.png"
    try:
        Path(os.fsdecode(raw)).write_bytes(b"x")
    except OSError:
        pytest.skip("the file system takes text alone")
    assert list(listed(split_list(raw + b"\n"), tmp_path / "out")) == ["\udcff.png"]


def test_patterns_leave_out_the_results_of_an_earlier_run(tmp_path: Path) -> None:
    root = touch(tmp_path / "in", "a.png", "masks/a.png", "masks/overlays/a.jpg")
    assert listed([f"{root}/**/*.png"], root / "masks") == {"a.png": "a.png"}
    with pytest.raises(InputError, match="no image matches"):
        list_inputs([f"{root}/masks/*"], root / "masks")


def test_a_pattern_of_folders_means_their_images(tmp_path: Path) -> None:
    root = touch(tmp_path, "day 1/a.png", "day 2/sub/b.png", "day 3.txt")
    assert list(listed([f"{root}/day*"], root / "out")) == ["day 1/a.png", "day 2/sub/b.png"]


def test_linked_folders_are_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(tmp_path, "in/a.png", "far/b.png")
    try:
        (tmp_path / "in" / "link").symlink_to(tmp_path / "far", target_is_directory=True)
    except OSError:
        pytest.skip("links need rights here")
    assert list(listed([tmp_path / "in"], tmp_path / "out")) == ["a.png"]
    assert "1 linked folder(s)" in capsys.readouterr().err
    listed([tmp_path / "in"], tmp_path / "out", recursive=False)
    assert "linked" not in capsys.readouterr().err


def test_files_that_cannot_be_images_are_not_read(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not a file"):
        InputFile(tmp_path, "x.png", "x.png").stamp()
    giant = tmp_path / "giant.png"
    with giant.open("wb") as handle:
        handle.truncate(100_000_001)  # no blocks are written
    with pytest.raises(OSError, match=r"0\.1 GB, more than any image of 1 Mpx"):
        InputFile(giant, "x.png", "x.png").read(1)
    with pytest.raises(FileNotFoundError):
        InputFile(tmp_path / "gone.png", "x.png", "x.png").stamp()
