"""A dataset on disk is whole or absent, comes back as it was written, and says what is wrong with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from defectctl.dataset.records import dataset_fingerprint, sample_to_line, samples_from_text
from defectctl.dataset.splits import random_split
from defectctl.dataset.store import DatasetWriter, load_dataset, load_split
from defectctl.dataset.types import ClassInfo, Known, Object, Sample, Source
from defectctl.errors import InputError
from defectctl.imaging.pixel_rule import PixelRule

CLASSES = [ClassInfo("scratch", (1, 2, 3)), ClassInfo("пятно", (4, 5, 6))]
SOURCES = {"raw": Source("raw", "coco", Known((1, 2), (1, 2), True), PixelRule(0, 4095))}


def a_sample(i, **more):
    return Sample(f"folder/{i}.png", "", 8, 6, f"{i:064}", "raw", **more)


def write(root, count=5, replace=False, image=b"image", label=1):
    with DatasetWriter(root, "demo", CLASSES, dict(SOURCES), replace) as writer:
        for i in range(count):
            writer.add(a_sample(i, objects=[Object(label, (0.0, 1.5, 2.25, 3.0), crowd=True)]), image, b"mask%d" % i)
        writer.add(a_sample(99, known=Known((1,), (), False), label="good"), image)
        samples = list(writer._samples.values())
        return writer.finish([random_split(samples, {}, 0)], "random", {"images": count + 1})


def tree(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_what_was_written_is_read_again(tmp_path):
    written = write(tmp_path / "a" / "data")
    read = load_dataset(tmp_path / "a" / "data")
    assert read == written
    assert [s.id for s in read.samples] == sorted(s.id for s in read.samples)
    assert read.class_names == ["scratch", "пятно"] and read.pixel_rule(read.samples[0]).white16 == 4095
    assert read.known(read.samples[-1]) == Known((1,), (), False)
    assert read.image_path(read.samples[0]).read_bytes() == b"image"
    assert sorted(i for ids in load_split(read).parts.values() for i in ids) == [s.id for s in read.samples]
    assert not list((tmp_path / "a" / "data").glob(".*"))


def test_samples_are_plain_json_lines(tmp_path):
    write(tmp_path / "data")
    lines = (tmp_path / "data" / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["objects"] == [{"label": 1, "box": [0.0, 1.5, 2.25, 3.0], "crowd": True}]
    assert "mask" not in json.loads(lines[-1])


def test_what_a_mask_holds_is_recorded_and_absent_in_older_records():
    old, new = a_sample(1), a_sample(1, present=(1, 2), has_unknown=True)
    empty = a_sample(2, present=())
    lines = [sample_to_line(sample) for sample in (old, new, empty)]
    assert "present" not in json.loads(lines[0]) and json.loads(lines[1])["present"] == [1, 2]
    assert samples_from_text("\n".join(lines)) == [old, new, empty]
    assert dataset_fingerprint(CLASSES, [old], SOURCES) == dataset_fingerprint(CLASSES, [new], SOURCES)


def test_fingerprint_sees_labels_and_images_but_not_the_name(tmp_path):
    first = write(tmp_path / "one").fingerprint
    assert write(tmp_path / "two").fingerprint == first
    assert write(tmp_path / "three", label=2).fingerprint != first
    assert write(tmp_path / "four", count=4).fingerprint != first


def test_an_aborted_writer_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), DatasetWriter(tmp_path / "x" / "y", "n", CLASSES, SOURCES) as writer:
        writer.add(a_sample(1), b"image", b"mask")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_an_aborted_replacement_leaves_the_old_dataset(tmp_path):
    write(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(KeyboardInterrupt), DatasetWriter(tmp_path, "n", CLASSES, SOURCES, replace=True) as writer:
        writer.add(a_sample(1), b"image", b"mask")
        raise KeyboardInterrupt
    assert tree(tmp_path) == before


def test_a_failure_while_exchanging_puts_the_old_dataset_back(tmp_path, monkeypatch):
    write(tmp_path)
    before = tree(tmp_path)
    from defectctl import fileio

    def full(path, text):
        if path == tmp_path / "dataset.yaml":
            raise OSError(28, "no space left")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    monkeypatch.setattr(fileio, "write_text", full)
    with pytest.raises(OSError):
        write(tmp_path, count=2, replace=True)
    assert tree(tmp_path) == before


def test_replace_exchanges_everything_and_keeps_foreign_files(tmp_path):
    write(tmp_path)
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    write(tmp_path, count=1, replace=True)
    assert len(load_dataset(tmp_path).samples) == 2
    assert len(list((tmp_path / "masks").rglob("*.png"))) == 1
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("replace", [False, True])
def test_foreign_folders_and_existing_datasets_are_refused(tmp_path, replace):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "photo.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"photo\.png"):
        write(tmp_path / "foreign", replace=replace)
    write(tmp_path / "data")
    if not replace:
        with pytest.raises(InputError, match="--replace"):
            write(tmp_path / "data")


def test_a_second_writer_is_refused(tmp_path):
    with DatasetWriter(tmp_path / "d", "n", CLASSES, SOURCES), pytest.raises(InputError, match="being written"):
        DatasetWriter(tmp_path / "d", "n", CLASSES, SOURCES).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_unsafe_and_double_ids_are_refused(tmp_path):
    with DatasetWriter(tmp_path / "d", "n", CLASSES, SOURCES) as writer:
        with pytest.raises(InputError):
            writer.add(Sample("../x.png", "", 1, 1, "", "raw"), b"")
        writer.add(Sample("a/x.png", "", 1, 1, "", "raw"), b"")
        with pytest.raises(InputError, match="two samples"):
            writer.add(Sample("A/X.png", "", 1, 1, "", "raw"), b"")


def test_threads_may_add(tmp_path):
    with DatasetWriter(tmp_path / "d", "n", CLASSES, SOURCES) as writer:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda i: writer.add(a_sample(i), b"i", b"m"), range(300)))
        done = writer.finish([random_split(writer._samples.values(), {}, 0)], "random", {})
    assert len(load_dataset(done.root).samples) == 300


def test_linked_images_stay_where_they_are(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "фото.png").write_bytes(b"original")
    with DatasetWriter(tmp_path / "d", "n", CLASSES, SOURCES) as writer:
        writer.add(a_sample(1), None, link_to=tmp_path / "raw" / "фото.png")
        writer.finish([random_split(writer._samples.values(), {}, 0)], "random", {})
    read = load_dataset(tmp_path / "d")
    assert read.samples[0].image == "../raw/фото.png"
    assert read.image_path(read.samples[0]).read_bytes() == b"original"
    assert not (tmp_path / "d" / "images").exists()


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda root: shutil.rmtree(root), "does not exist"),
        (lambda root: (root / "dataset.yaml").unlink(), "incomplete"),
        (lambda root: (root / "samples.jsonl").unlink(), "incomplete"),
        (lambda root: (root / "samples.jsonl").write_text("", encoding="utf-8"), "incomplete"),
        (lambda root: (root / "dataset.yaml").write_text("format: 2\n", encoding="utf-8"), "newer"),
        (lambda root: (root / "dataset.yaml").write_text("just: text\n", encoding="utf-8"), "no format number"),
        (lambda root: (root / "dataset.yaml").write_text("a: [\n", encoding="utf-8"), "YAML"),
        (lambda root: (root / "dataset.yaml").write_bytes(b"\xff\xfe\x00"), "YAML"),
    ],
)
def test_damage_is_told_in_one_sentence(tmp_path, damage, words):
    write(tmp_path / "data")
    damage(tmp_path / "data")
    with pytest.raises(InputError, match=words) as caught:
        load_dataset(tmp_path / "data")
    assert "\n" not in str(caught.value)


def test_a_changed_or_unknown_split_is_refused(tmp_path):
    dataset = write(tmp_path)
    with pytest.raises(InputError, match=r"did you mean 'random'.*splits: random"):
        load_split(dataset, "randon")
    path = tmp_path / "splits" / "random.json"
    path.write_text(path.read_text(encoding="utf-8").replace("train", "tiger"), encoding="utf-8")
    with pytest.raises(InputError, match="changed by hand"):
        load_split(dataset)


def test_a_split_with_a_stranger_is_refused(tmp_path):
    with DatasetWriter(tmp_path / "d", "n", CLASSES, SOURCES) as writer:
        writer.add(a_sample(1), b"i")
        with pytest.raises(InputError, match="not in the dataset"):
            writer.finish([random_split([a_sample(1), a_sample(2)], {}, 0)], "random", {})


def test_four_times_the_samples_take_about_four_times_the_work(growth):
    lines = [sample_to_line(a_sample(i, mask=f"masks/{i}.png", mask_sha256="b" * 64)) + "\n" for i in range(40_000)]
    text = {count: "".join(lines[:count]) for count in (10_000, 40_000)}

    def load(count):
        assert len(samples_from_text(text[count])) == count

    assert growth(load, 10_000, 40_000) < 8  # 16 if it were quadratic


def test_reading_a_dataset_needs_neither_torch_nor_opencv(tmp_path):
    write(tmp_path)
    code = (
        "import sys; from pathlib import Path; from defectctl.dataset.store import load_dataset, load_split;"
        f"load_split(load_dataset(Path({str(tmp_path)!r}))); sys.exit(any(m in sys.modules for m in ('torch', 'cv2')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
