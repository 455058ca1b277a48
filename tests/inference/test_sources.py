"""Which images are listed, and the names of their results."""

from __future__ import annotations

from pathlib import Path

import pytest

from defectctl.errors import InputError
from defectctl.inference.sources import list_inputs, result_names


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


def test_names_that_would_collide_stay_apart() -> None:
    assert result_names(["a.jpg", "b.png"]) == ["a.png", "b.png"]
    assert result_names(["a.jpg", "a.png", "s/a.png"]) == ["a.jpg.png", "a.png.png", "s/a.png"]
    assert result_names(["a.jpg", "A.png"]) == ["a.jpg.png", "A.png.png"]
    assert result_names(["a.png", "A.png"]) == ["a.png.png", "A.png~2.png"]
    names = result_names(["a.jpg", "a.png", "a.jpg.png", "a.jpg.png.tif"])
    assert len({name.casefold() for name in names}) == 4
