"""Odd names, links, rights and folders; a full disk, a run broken off: nothing raw is changed, nothing half is left."""

from __future__ import annotations

import errno
import os
import sys
import zipfile
import zlib

import pytest

from defectctl.dataset.writer import DatasetWriter

SOUND = ["images/s0.png", "images/s1.png", "images/s2.png", "images/s3.png"]


def pair(make, raw, image, mask=None):
    make.put(raw / "images" / image, make.picture(zlib.crc32(image.encode())))
    make.put(raw / "masks" / (mask or image), make.square())


def test_odd_names_are_read_as_they_are(tmp_path, prepare, make):
    raw = make.mask_pairs(tmp_path / "Größe (neu) деталь")
    names = ["Übermaß äöü.png", "a b  c.png", "铸件.png", "part.v1.2.png", "x" * 120 + ".png", "100% & co; #7.png"]
    names += [] if os.name == "nt" else ['say "hi".png', "it's.png", "back`tick$HOME.png"]
    for name in names:
        pair(make, raw, name)
    told = prepare(raw)
    assert told.taken == {*SOUND, *(f"images/{name}" for name in names)} and not told.dropped
    assert len(told.samples) == len(told.taken)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
@pytest.mark.parametrize("name", ["new\nline.png", "tab\there.png", "back\\slash.png", "co:lon?.png", "dot .png"])
def test_a_name_that_other_systems_refuse_gets_an_id_that_they_take(name, tmp_path, prepare, make):
    raw = make.mask_pairs(tmp_path / "raw")
    pair(make, raw, name)
    told = prepare(raw)
    assert told.taken == {*SOUND, f"images/{name}"}
    assert not set('\n\t\\:?"').intersection("".join(told.samples))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_utf8_is_told(tmp_path, prepare, make):
    raw = make.mask_pairs(tmp_path / "raw")
    for folder, pixels in (("images", make.picture(8)), ("masks", make.square())):
        with open(os.path.join(os.fsencode(raw / folder), b"f\xfcr.png"), "wb") as handle:
            handle.write(make.encoded(pixels))
    told = prepare(raw)
    assert len(told.taken) == 5 or any(file.startswith("images/f") for file in told.dropped)


def test_image_and_mask_whose_names_differ_by_case_belong_together(tmp_path, prepare, make):
    raw = make.mask_pairs(tmp_path / "raw")
    pair(make, raw, "Part-A.PNG", "part-a.png")
    assert "images/Part-A.PNG" in prepare(raw).samples


def test_two_images_whose_names_differ_by_case_are_both_spoken_of(tmp_path, prepare, make):
    raw = make.mask_pairs(tmp_path / "raw")
    pair(make, raw, "a.png")
    pair(make, raw, "A.png")
    if len(list((raw / "images").iterdir())) == 5:
        pytest.skip("the file system does not tell case apart")
    told = prepare(raw)
    assert told.taken == {*SOUND, "images/a.png", "images/A.png"}
    assert len({name.casefold() for name in told.samples}) == 6


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_rights_is_told(tmp_path, prepare, make):
    raw = make.mask_pairs(tmp_path / "raw")
    pair(make, raw, "x.png")
    (raw / "images" / "x.png").chmod(0)
    told = prepare(raw)
    assert told.samples == SOUND and "ermission" in told.finding("images/x.png", "unreadable")


def test_a_file_that_vanishes_or_cannot_be_read_is_told(tmp_path, prepare, make, monkeypatch):
    raw = make.mask_pairs(tmp_path / "raw")
    pair(make, raw, "x.png")
    with monkeypatch.context() as patch:
        patch.setattr("defectctl.formats.one_image.read_file", _refusing("x.png"))
        told = prepare(raw)
    assert told.samples == SOUND and "denied" in told.finding("images/x.png", "unreadable")


def _refusing(name):
    from defectctl.formats.labels import read_file

    class Denied:
        def read_bytes(self):
            raise PermissionError(errno.EACCES, "Permission denied")

    return lambda path, told: read_file(Denied() if path.name == name else path, told)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
@pytest.mark.parametrize("kind", ["broken", "outside", "to-itself"])
def test_links_that_lead_nowhere_or_out_are_told(kind, tmp_path, prepare, make):
    raw = make.mask_pairs(tmp_path / "raw")
    make.put(raw / "masks" / "x.png", make.square())
    outside = make.put(tmp_path / "elsewhere" / "x.png", make.picture())
    target = {"broken": raw / "gone.png", "outside": outside, "to-itself": raw / "images" / "x.png"}[kind]
    (raw / "images" / "x.png").symlink_to(target)
    told = prepare(raw)
    assert told.samples == SOUND
    told.finding("images/x.png", "link-outside" if kind == "outside" else "link-broken")
    assert "images/x.png" in told.dropped


def test_an_archive_inside_is_told(tmp_path, prepare, make):
    raw = make.mask_pairs(tmp_path / "raw")
    with zipfile.ZipFile(raw / "more.zip", "w") as archive:
        archive.writestr("images/z.png", make.encoded(make.picture()))
    told = prepare(raw)
    assert "unpack" in told.finding("more.zip", "archive")


def test_litter_is_passed_over_and_pictures_elsewhere_are_told(tmp_path, prepare, make):
    raw = make.mask_pairs(tmp_path / "raw")
    for name in ("Thumbs.db", ".DS_Store", "images/._s0.png", "desktop.ini", "notes.txt"):
        make.put(raw / name, b"litter")
    make.put(raw / "previews" / "p.png", make.picture())
    make.put(raw / "raws" / "q.heic", b"ftypheic")
    told = prepare(raw)
    assert told.samples == SOUND
    told.finding("previews", "unused-images")
    told.finding("raws/q.heic", "unreadable")


FOLDERS = {
    "missing": (lambda raw, make: None, "does not exist"),
    "empty": (lambda raw, make: raw.mkdir(), "empty"),
    "only-empty-folders": (lambda raw, make: (raw / "images").mkdir(parents=True), "empty"),
    "only-text": (lambda raw, make: make.put(raw / "readme.txt", b"hello"), ".txt"),
    "only-hidden": (lambda raw, make: make.put(raw / ".hidden.png", make.picture()), "empty"),
    "only-an-archive": (lambda raw, make: make.put(raw / "set.zip", b"PK\x03\x04"), "unpack"),
    "a-file": (lambda raw, make: make.put(raw, b"PK"), "file"),
    "images-without-labels": (lambda raw, make: make.put(raw / "a" / "1.png", make.picture()), "not recognised"),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_beyond_use_is_one_error_that_names_it(kind, tmp_path, prepare, make):
    build, words = FOLDERS[kind]
    build(tmp_path / "raw", make)
    err = prepare(tmp_path / "raw", code=2).err
    assert str(tmp_path / "raw") in err and words in err


@pytest.mark.parametrize("where", ["raw/out", "raw", "."])
def test_an_out_folder_in_the_raw_one_or_around_it_is_refused(where, tmp_path, prepare, make):
    raw = make.mask_pairs(tmp_path / "raw")
    assert "--out" in prepare(raw, code=2, out=tmp_path / where).err


def test_an_out_that_is_taken_is_refused_and_left_alone(tmp_path, prepare, make):
    raw = make.mask_pairs(tmp_path / "raw")
    make.put(tmp_path / "file", b"mine")
    assert "file" in prepare(raw, code=2, out=tmp_path / "file").err
    assert "file" in prepare(raw, code=2, out=tmp_path / "file" / "below").err
    make.put(tmp_path / "full" / "mine.txt", b"mine")
    assert "mine.txt" in prepare(raw, code=2, out=tmp_path / "full").err
    assert (tmp_path / "file").read_bytes() == (tmp_path / "full" / "mine.txt").read_bytes() == b"mine"


def test_an_out_parent_that_cannot_be_written_is_refused(tmp_path, prepare, make, monkeypatch):
    raw = make.mask_pairs(tmp_path / "raw")
    parent = tmp_path / "locked"
    parent.mkdir()
    make_folder = os.mkdir

    def refuse(path, *args, **options):
        if os.fspath(path).startswith(str(parent)):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return make_folder(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", refuse)
        err = prepare(raw, code=2, out=parent / "out").err
    assert "locked" in err and "permission" in err.lower()


def _stopping(error, after):
    """`DatasetWriter._write` that raises instead of writing its file number `after`."""
    write, written = DatasetWriter._write, []

    def stop(self, name, data):
        written.append(name)
        if len(written) > after:
            raise error
        return write(self, name, data)

    return stop


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 1, "disk is full"),
        (OSError(errno.EIO, "Input/output error"), 1, "input/output error"),
        (KeyboardInterrupt(), 130, "as it was before"),
    ],
)
def test_a_run_that_breaks_off_leaves_nothing(error, code, words, after, tmp_path, prepare, make, monkeypatch):
    raw = make.mask_pairs(tmp_path / "raw")
    with monkeypatch.context() as patch:
        patch.setattr(DatasetWriter, "_write", _stopping(error, after))
        assert words in prepare(raw, code=code).err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_replacement_that_breaks_off_leaves_the_former_dataset(error, tmp_path, prepare, make, monkeypatch):
    raw = make.mask_pairs(tmp_path / "raw")
    prepare(raw)
    former = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr(DatasetWriter, "_write", _stopping(error, 2))
        prepare(raw, "--replace", code=1 if isinstance(error, OSError) else 130)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == former


def test_the_disk_full_at_the_very_end_leaves_nothing(tmp_path, prepare, make, monkeypatch):
    raw = make.mask_pairs(tmp_path / "raw")

    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("defectctl.fileio.write_text", full)
        assert "disk is full" in prepare(raw, code=1).err
    assert not (tmp_path / "out").exists()
