"""Listing a raw folder and choosing its reader."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from defectctl.errors import InputError
from defectctl.formats import registry


def test_every_reader_keeps_the_protocol():
    assert {"coco", "mask-folders", "mask-suffix", "voc-boxes", "voc-masks"} <= set(registry.READERS)
    for name, reader in registry.READERS.items():
        assert name == reader.NAME and reader.DESCRIPTION and callable(reader.recognise) and callable(reader.read)


def test_listing_is_sorted_and_leaves_litter_out(tmp_path):
    litter = (".hidden/3.png", "b/Thumbs.db", "b/.DS_Store", "__MACOSX/b/2.JPG", "b/desktop.ini")
    for name in ("b/2.JPG", "a/x/1.png", *litter):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listing = registry.list_folder(tmp_path)
    assert [str(file) for file in listing.files] == ["a/x/1.png", "b/2.JPG"]
    assert listing.images() == listing.files


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_in_a_circle_ends(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert [str(file) for file in registry.list_folder(tmp_path).files] == ["a/1.png"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_that_lead_out_are_told_and_left_out(tmp_path):
    outside, raw = tmp_path / "outside", tmp_path / "raw"
    for path in (outside / "x.png", raw / "b" / "1.png", raw / ".store" / "2.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    links = {"out": outside, "b/x.png": outside / "x.png", "a": raw / "b", "c": raw / ".store", "b/9.png": raw / "no"}
    for name, target in links.items():
        (raw / name).symlink_to(target, target_is_directory=target.is_dir())
    (raw / "b" / "3.png").symlink_to(raw / "b" / "1.png")
    listing = registry.list_folder(raw)
    # `a` shows what `b` holds already; `.store` is hidden and comes by its link; a link to a file is a file.
    assert [str(file) for file in listing.files] == ["b/1.png", "b/3.png", "c/2.png"]
    assert {(f.file, f.problem, f.dropped) for f in listing.findings} == {
        ("out", "link-outside", True),
        ("b/x.png", "link-outside", True),
        ("b/9.png", "link-broken", True),
    }


def test_archives_are_told(tmp_path):
    (tmp_path / "more.zip").touch()
    listing = registry.list_folder(tmp_path)
    assert [(f.file, f.problem, f.dropped) for f in listing.findings] == [("more.zip", "archive", True)]
    with pytest.raises(InputError, match=r"more\.zip is an archive.*unpack it"):
        registry.recognise(listing)
    with pytest.raises(InputError, match="unpack it first"):
        registry.list_folder(tmp_path / "more.zip")


@pytest.mark.parametrize(("make", "says"), [("none", "no folder"), ("file", "is a file"), ("empty", "empty")])
def test_a_useless_path_is_refused(tmp_path, make, says):
    path = tmp_path / "raw"
    if make == "file":
        path.write_text("x", encoding="utf-8")
    elif make == "empty":
        path.mkdir()
    with pytest.raises(InputError, match=says):
        registry.list_folder(path)


def test_nothing_fits(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(InputError) as caught:
        registry.recognise(registry.list_folder(tmp_path))
    assert "1 .jpg" in str(caught.value) and all(name in str(caught.value) for name in registry.READERS)


def test_two_fit_equally(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").touch()
    scores = {"p": 0.9, "q": 0.9, "r": 0.2}
    readers = {name: SimpleNamespace(recognise=lambda listing, s=s: s) for name, s in scores.items()}
    monkeypatch.setattr(registry, "READERS", readers)
    with pytest.raises(InputError, match="--format"):
        registry.recognise(registry.list_folder(tmp_path))
    assert registry.recognise(registry.list_folder(tmp_path), "p") is readers["p"]


def test_an_unknown_format_names_the_nearest(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(InputError, match="did you mean 'coco'"):
        registry.recognise(registry.list_folder(tmp_path), "cocoo")
