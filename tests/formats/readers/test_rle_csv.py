"""Run-lengths in a table: Severstal's two forms, held against pycocotools; everything broken is told with its line."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from defectctl.dataset.store import load_dataset
from defectctl.dataset.types import Known
from defectctl.errors import InputError
from defectctl.formats import registry
from defectctl.formats.base import ReadOptions
from defectctl.formats.prepare import PrepareOptions, prepare
from defectctl.formats.readers import label_table, rle_csv
from defectctl.formats.registry import list_folder
from defectctl.imaging.masks import decode_index

HEIGHT, WIDTH = 6, 10


@pytest.fixture
def with_reader(monkeypatch):
    added = {reader.NAME: reader for reader in (rle_csv, label_table)}
    monkeypatch.setattr(registry, "READERS", {**registry.READERS, **added})


@pytest.fixture
def raw(tmp_path, folders):
    """Images a.jpg … d.jpg of 10x6 in `train_images`."""
    for seed, name in enumerate("abcd"):
        pixels = np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        folders.put(tmp_path / f"raw/train_images/{name}.jpg", pixels)
    return tmp_path / "raw"


def read(root, text, name="train.csv", **options):
    (root / name).write_text(text, encoding="utf-8")
    return rle_csv.read(list_folder(root), ReadOptions(**options))


def masks_of(folder):
    dataset = load_dataset(folder)
    found = {}
    for sample in dataset.samples:
        path = dataset.mask_path(sample)
        found[sample.id[-5]] = None if path is None else decode_index(path.read_bytes())
    return dataset, found


def rows_of(mask):
    """The run-length of a mask as the competition writes it, by walking down the columns pixel by pixel."""
    words, inside = [], 0
    for place, value in enumerate([*mask.T.ravel().tolist(), 0], 1):
        if value and not inside:
            words.append(place)
        if not value and inside:
            words.append(place - words[-1])
        inside = value
    return " ".join(map(str, words))


def test_a_hand_worked_run_length_through_prepare(raw, tmp_path, with_reader):
    # 8 2: rows 1 and 2 of column 1 (pixel 8 is row 1 of column 1, six a column); 60 1: the last pixel.
    text = "ImageId,ClassId,EncodedPixels\na.jpg,3,8 2 60 1\nb.jpg,1,1 6\nb.jpg,3,7 1\nc.jpg,1,\n"
    (raw / "train.csv").write_text(text, encoding="utf-8")
    assert registry.recognise(list_folder(raw)) is rle_csv
    result = prepare(raw, tmp_path / "out")
    dataset, masks = masks_of(tmp_path / "out")
    assert dataset.class_names == ["class-1", "class-3"] and not result.findings
    first, second = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    first[1:3, 1] = first[5, 9] = 2
    second[:, 0], second[0, 1] = 1, 2
    np.testing.assert_array_equal(masks["a"], first)
    np.testing.assert_array_equal(masks["b"], second)
    assert masks["c"] is None and masks["d"] is None and dataset.counts["good"] == 2
    assert all(dataset.known(sample) == Known((1, 2), (), True) for sample in dataset.samples)
    assert "1 images without a row, 1 with empty rows" in result.layout


def test_the_form_with_image_and_class_in_one_column(raw):
    rows = [f"{name}.jpg_{k},{'1 3' if (name, k) == ('b', 4) else ''}" for name in "abcd" for k in range(1, 5)]
    source = read(raw, "ImageId_ClassId,EncodedPixels\n" + "\n".join(rows))
    assert source.classes == ["class-4"] and [len(sample.shapes) for sample in source.samples] == [0, 1, 0, 0]
    assert "0 images without a row, 3 with empty rows" in source.layout


@pytest.mark.parametrize("seed", range(8))
def test_counts_against_pycocotools(seed):
    mask = (np.random.default_rng(seed).random((HEIGHT, WIDTH)) < 0.1 + 0.1 * seed).astype(np.uint8)
    counts, problem = rle_csv.to_counts(rows_of(mask), HEIGHT, WIDTH)
    assert not problem and sum(counts) == HEIGHT * WIDTH
    encoded = coco_mask.frPyObjects({"size": [HEIGHT, WIDTH], "counts": counts}, HEIGHT, WIDTH)
    np.testing.assert_array_equal(coco_mask.decode(encoded), mask)
    runs = rows_of(mask).split()
    backwards = [word for i in range(len(runs) - 2, -1, -2) for word in runs[i : i + 2]]
    assert rle_csv.to_counts(" ".join(backwards), HEIGHT, WIDTH)[0] == counts  # the order of runs does not count


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 2 3", "3 numbers"),
        ("1 x", "else than numbers"),
        ("1 2.5", "else than numbers"),
        ("1 99999999999999999999", "else than numbers"),
        ("0 3", "below 1"),
        ("-1 3", "below 1"),
        ("1 0", "below 1"),
        ("1 -3", "below 1"),
        ("1 5 3 2", "overlap"),
        ("59 3", "beyond the image's 60"),
        ("61 1", "beyond the image's 60"),
        ("1 9223372036854775807", "beyond the image's 60"),
    ],
)
def test_a_broken_run_length_makes_its_class_unknown(raw, tmp_path, with_reader, text, says):
    table = f"ImageId,ClassId,EncodedPixels\na.jpg,1,1 6\nb.jpg,2,{text}\nb.jpg,1,1 6\n"
    (raw / "train.csv").write_text(table, encoding="utf-8")
    result = prepare(raw, tmp_path / "out")
    told, painted = result.findings
    assert (told.file, told.problem) == ("train.csv", "broken-run-length")
    assert "line 3" in told.text and says in told.text
    assert (painted.file, painted.problem, painted.dropped) == ("train_images/b.jpg", "broken-region", True)
    dataset, masks = masks_of(tmp_path / "out")
    known = {sample.id[-5]: dataset.known(sample).mask for sample in dataset.samples}
    assert known == {"a": (1, 2), "b": (1,), "c": (1, 2), "d": (1, 2)}
    assert (masks["b"] == 1).sum() == 6 and len(dataset.samples) == 4


def test_images_nobody_speaks_of_are_no_good_parts(raw, folders):
    folders.put(raw / "test_images/x.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    (raw / "sample_submission.csv").write_text("ImageId,EncodedPixels,ClassId\nx.jpg,1 60,1\n", encoding="utf-8")
    source = read(raw, "ImageId,ClassId,EncodedPixels\na.jpg,1,1 6\nz.jpg,1,1 6\nz.jpg,2,1 6\n")
    assert [sample.id for sample in source.samples] == [f"train_images/{name}.jpg" for name in "abcd"]
    assert sorted((f.file, f.problem, f.dropped) for f in source.findings) == [
        ("test_images", "unused-images", True),
        ("train.csv", "no-image", True),
    ]


def test_rows_without_image_or_class(raw, folders):
    folders.put(raw / "train_more/a.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    table = "ImageId,ClassId,EncodedPixels\n,1,1 6\nb.jpg,,1 6\na.jpg,1,1 6\nc.jpg,1,1 6,7\nd.jpg,2,1 6\n"
    source = read(raw, table)
    assert sorted((f.problem, f.text.split()[1].strip(":")) for f in source.findings if f.file == "train.csv") == [
        ("ambiguous-image", "4"),
        ("odd-row", "2"),
        ("odd-row", "3"),
        ("odd-row", "5"),
    ]
    assert source.classes == ["class-2"]


def test_names_of_classes(raw):
    table = "ImageId,ClassId,EncodedPixels\na.jpg,1,1 6\nb.jpg,3,1 6\n"
    source = read(raw, table, classes=("pit", "dent", "scratch"))
    assert source.classes == ["pit", "dent", "scratch"]
    assert [[shape.class_name for shape in sample.shapes] for sample in source.samples] == [
        ["pit"],
        ["scratch"],
        [],
        [],
    ]
    with pytest.raises(InputError, match="class 3"):
        read(raw, table, classes=("pit", "dent"))
    assert (
        read(raw, table.replace(",1,", ",0,", 1), classes=("a", "b", "c", "d")).samples[1].shapes[0].class_name == "d"
    )
    assert read(raw, table.replace(",3,", ",Pit,").replace(",1,", ",pit,", 1)).classes == ["Pit"]
    assert read(raw, "ImageId,EncodedPixels\na.jpg,1 6\n").classes == ["defect"]


def test_the_upright_size_counts(raw, folders):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (WIDTH, HEIGHT), 90).save(raw / "train_images/a.jpg", exif=exif)
    source = read(raw, "ImageId,ClassId,EncodedPixels\na.jpg,1,1 6\n")
    assert source.samples[0].shapes[0].region.rle == {"size": [WIDTH, HEIGHT], "counts": [0, 6, 54]}
    assert [finding.problem for finding in source.findings] == ["turned"]


def test_an_unreadable_image_is_told_once(raw, tmp_path, with_reader):
    (raw / "train_images/a.jpg").write_bytes(b"no picture")
    (raw / "train.csv").write_text("ImageId,ClassId,EncodedPixels\na.jpg,1,1 6\nb.jpg,1,1 6\n", encoding="utf-8")
    result = prepare(raw, tmp_path / "out", PrepareOptions(format="rle-csv"))
    assert [(f.file, f.problem) for f in result.findings] == [("train_images/a.jpg", "unreadable")]


def test_cells_longer_than_the_csv_module_allows(raw):
    long = " ".join(["1 1"] * 50_000)
    source = read(raw, f"ImageId,ClassId,EncodedPixels\na.jpg,1,{long}\n")
    assert [finding.problem for finding in source.findings] == ["broken-run-length"]


@pytest.mark.parametrize(
    ("text", "says"), [("a,b\n1,2\n", "EncodedPixels"), ('ImageId,EncodedPixels\na,"1 1\n', "line 2")]
)
def test_no_table_of_run_lengths(raw, text, says):
    with pytest.raises(InputError, match=says):
        read(raw, text)


def test_masks_beside_the_table_go_first(tmp_path, folders, with_reader):
    folders.mask_folder(tmp_path, range(4))
    (tmp_path / "train.csv").write_text("ImageId,ClassId,EncodedPixels\n0.png,1,1 6\n", encoding="utf-8")
    assert registry.recognise(list_folder(tmp_path)).NAME == "mask-folders"
