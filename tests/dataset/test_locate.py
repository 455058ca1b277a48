"""Which dataset is meant where none is named."""

from __future__ import annotations

import pytest

from defectctl.dataset.locate import find_dataset
from defectctl.errors import InputError


def put(folder):
    folder.mkdir(parents=True)
    (folder / "dataset.yaml").write_text("format: 1\n", encoding="utf-8")


def test_data_itself_then_the_only_one_below(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no folder \./data"):
        find_dataset()
    put(tmp_path / "data" / "neu")
    (tmp_path / "data" / "other").mkdir()
    assert find_dataset().as_posix() == "data/neu"
    put(tmp_path / "data" / "kolektor")
    with pytest.raises(InputError, match=r"data.kolektor'.*data.neu'"):
        find_dataset()
    assert find_dataset(tmp_path / "data" / "neu") == tmp_path / "data" / "neu"


def test_a_missing_folder_is_named_as_such(tmp_path):
    with pytest.raises(InputError, match=r"missing' does not exist"):
        find_dataset(tmp_path / "missing")
