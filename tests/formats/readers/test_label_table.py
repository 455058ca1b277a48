"""Tables of image names and labels: delimiters, encodings, guessed columns, and every row that cannot be used."""

from __future__ import annotations

import pytest

from defectctl.dataset.store import load_dataset, load_split
from defectctl.dataset.types import Known
from defectctl.errors import InputError
from defectctl.formats import registry
from defectctl.formats.base import ReadOptions
from defectctl.formats.prepare import prepare
from defectctl.formats.readers import image_folders, label_table, tables
from defectctl.formats.registry import list_folder


@pytest.fixture
def with_reader(monkeypatch):
    added = {reader.NAME: reader for reader in (image_folders, label_table)}
    monkeypatch.setattr(registry, "READERS", {**registry.READERS, **added})


@pytest.fixture
def raw(tmp_path, folders):
    """Images a.png … d.png in `photos`."""
    for seed, name in enumerate("abcd"):
        folders.put(tmp_path / f"raw/photos/{name}.png", folders.picture(seed))
    return tmp_path / "raw"


def read(root, text, name="labels.csv", encoding="utf-8", **options):
    (root / name).write_bytes(text.encode(encoding))
    return label_table.read(list_folder(root), ReadOptions(**options))


def labels(source):
    return {sample.id.removeprefix("photos/")[0]: sample.label for sample in source.samples}


def problems(source):
    return sorted((f.file, f.problem, f.dropped) for f in source.findings)


ROWS = [("file", "label"), ("a.png", "good"), ("b.png", "scratch"), ("c.png", "good"), ("d.png", "Scratch")]
EXPECTED = {"a": "good", "b": "scratch", "c": "good", "d": "scratch"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_delimiters_quotes_and_encodings(raw, delimiter, quote, encoding):
    text = "\r\n".join(delimiter.join(f"{quote}{cell}{quote}" for cell in row) for row in ROWS)
    source = read(raw, text, encoding=encoding)
    assert labels(source) == EXPECTED and source.classes == ["scratch"] and not source.findings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "cp1252"])
def test_the_head_of_a_long_table(raw, encoding):
    text = "file,label,remark\n" + "".join(
        f"{'abcd'[i % 4]},{'good' if i % 2 else 'bad'},é{i}\n" for i in range(30_000)
    )
    mark = b"\xff\xfe" if encoding == "utf-16-le" else b""
    (raw / "labels.csv").write_bytes(mark + text.encode(encoding))
    head = tables.read_head(list_folder(raw), "labels.csv")
    assert 1_000 < len(head.rows) < 30_000 and head.columns == ["file", "label", "remark"]
    assert label_table.recognise(list_folder(raw)) == label_table.SCORE


def test_letters_of_the_windows_code_page(raw):
    source = read(raw, "file;label\na;gut\nb;Fêlure – “fine”\nc;gut\nd;gut\n", encoding="cp1252")
    assert source.classes == ["Fêlure – “fine”"]


def test_a_name_in_quotes_may_hold_the_delimiter(raw, folders):
    folders.put(raw / "photos/e, left.png", folders.picture(7))
    source = read(raw, 'sep=,\nfile,label\n"e, left.png",ng\na,ok\n')
    assert labels(source) == {"a": "good", "e": "defect"}


@pytest.mark.parametrize(
    "name", ["a.png", "a", "photos/a.png", "photos\\A.PNG", "C:\\x\\photos\\a.png", "a.bmp", "./a"]
)
def test_names_with_and_without_folder_and_ending(raw, name):
    assert labels(read(raw, f"image,target\n{name},1\nb.png,0\n")) == {"a": "defect", "b": "good"}


@pytest.mark.parametrize(
    ("column", "one", "zero"),
    [
        ("label", "defect", "good"),
        ("defective", "defect", "good"),
        ("good", "good", "defect"),
        ("is_ok", "good", "defect"),
    ],
)
@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("True", "False"), ("1.0", "0.0"), ("yes", "no")])
def test_zero_and_one(raw, column, one, zero, yes, no):
    assert labels(read(raw, f"file,{column}\na,{yes}\nb,{no}\nc,{yes}\n")) == {"a": one, "b": zero, "c": one}


def test_numbers_need_names(raw):
    text = "file,class\na,0\nb,2\nc,1\n"
    with pytest.raises(InputError, match=r"the label '2', and nothing says.*--classes"):
        read(raw, text)
    assert labels(read(raw, text, classes=("scratch", "dent"))) == {"a": "good", "b": "dent", "c": "scratch"}
    with pytest.raises(InputError, match="'2'"):
        read(raw, text, classes=("scratch",))


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        ("-1", "1", "label '-1'"),
        ("1.5", "0", "label '1.5'"),
        ("3", "0", "label '3'"),
        ("none", "dent", "'none' may mean"),
        ("0", "dent", "numbers and words"),
    ],
)
def test_labels_of_no_certain_meaning(raw, one, other, says):
    with pytest.raises(InputError, match=says):
        read(raw, f"file,label\na,{one}\nb,{other}\n", classes=("dent",))


def test_prepared_with_official_parts(raw, tmp_path, with_reader):
    text = "name,verdict,split\na,ok,train\nb,ng,train\nc,ok,test\nd,ng,valid\n"
    (raw / "labels.csv").write_text(text, encoding="utf-8")
    assert registry.recognise(list_folder(raw)) is label_table
    result = prepare(raw, tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert dataset.class_names == ["defect"] and dataset.counts["good"] == 2 and not result.findings
    assert {sample.label for sample in dataset.samples} == {"good", "defect"}
    assert all(dataset.known(sample) == Known((), (), True) for sample in dataset.samples)
    parts = {part: ["".join(i)[-5] for i in ids] for part, ids in load_split(dataset, "official").parts.items()}
    assert parts == {"train": ["a", "b"], "val": ["d"], "test": ["c"]}


def test_one_table_for_each_part(tmp_path, folders):
    for part in ("train", "test"):
        folders.put(tmp_path / part / "1.png", folders.picture(len(part)))
        (tmp_path / f"{part}.csv").write_text(f"file,label\n1.png,{int(part == 'test')}\n", encoding="utf-8")
    source = label_table.read(list_folder(tmp_path), ReadOptions())
    assert [(s.id, s.part, s.label) for s in source.samples] == [
        ("test/1.png", "test", "defect"),
        ("train/1.png", "train", "good"),
    ]


def test_rows_that_cannot_be_used(raw, folders):
    folders.put(raw / "photos/e.png", folders.picture(8))
    folders.put(raw / "other/f.png", folders.picture(9))
    source = read(raw, "file,label\na,good\nb,\nc,dent\nz,good\n,good\nd,dent,left,2\n")
    assert labels(source) == {"a": "good", "c": "dent"}
    assert problems(source) == [
        ("labels.csv", "no-image", True),
        ("labels.csv", "no-image", True),
        ("labels.csv", "odd-row", True),
        ("other", "unused-images", True),
        ("photos/b.png", "no-label", True),
        ("photos/d.png", "no-label", True),
        ("photos/e.png", "no-label", True),
    ]
    told = " ".join(finding.text for finding in source.findings)
    assert "line 3" in told and "line 5 names 'z'" in told and "line 7 has 4 cells" in told


def test_an_image_named_twice(raw):
    source = read(raw, "file,label\na,good\na.png,good\nb,good\nb,dent\nc,dent\nc,pit\nd,pit\n")
    assert labels(source) == {"a": "good", "b": "dent", "c": "defective", "d": "pit"}
    assert problems(source) == [
        ("photos/a.png", "duplicate-row", False),
        ("photos/b.png", "contradictory", False),
        ("photos/c.png", "several-labels", False),
    ]


def test_an_ambiguous_name_is_refused(raw, folders):
    folders.put(raw / "more/a.png", folders.picture(9))
    with pytest.raises(InputError, match=r"line 2: 'a' may be 'more/a.png' or 'photos/a.png'"):
        read(raw, "file,label\na,good\nb,bad\n")
    assert len(read(raw, "file,label\nmore/a,good\nphotos/a,bad\n").samples) == 2


def test_a_folder_of_another_part_is_not_meant(tmp_path, folders):
    folders.put(tmp_path / "test/1.png", folders.picture(1))
    folders.put(tmp_path / "test/2.png", folders.picture(2))
    source = read(tmp_path, "file,label\ntest/1.png,1\ntest/2.png,0\ntrain/1.png,0\n")
    assert [sample.label for sample in source.samples] == ["defect", "good"]
    assert problems(source) == [("labels.csv", "no-image", True)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x,y,z\na,good,1\nb,bad,0\n", "columns: 'x', 'y', 'z'"),
        ("file,label_top,label_side\na,ok,ok\nb,ng,ok\n", "'label_top', 'label_side'"),
        ("u,v,label\na,b,ok\nc,d,ng\n", "'u' and 'v'"),
        ("a,good\nb,bad\n", "header|no column"),
        ("file,label\nq,good\nr,bad\n", "no column of 'labels.csv' names image files"),
        ("file,label,xmin,ymin,xmax,ymax\na,dent,1,1,5,5\n", "holds boxes"),
        ("file,label\n'a,good\nb,\"bad\n", "line 3"),
        ("file\na\n", "one column"),
        ("\n\n", "empty"),
    ],
)
def test_tables_that_cannot_be_read(raw, text, says):
    if says == "header|no column":
        text = text.replace("a,", "q,").replace("b,", "r,")
    with pytest.raises(InputError, match=says):
        read(raw, text)
    assert label_table.recognise(list_folder(raw)) == 0


def test_no_text_and_no_table(raw):
    with pytest.raises(InputError, match="holds no table"):
        label_table.read(list_folder(raw), ReadOptions())
    (raw / "labels.csv").write_bytes(b"\x81\x00\xff\xfe" * 9)
    with pytest.raises(InputError, match="no text"):
        label_table.read(list_folder(raw), ReadOptions())


def test_a_second_table_of_something_else_is_passed_over(raw):
    (raw / "machine.csv").write_text("time,speed\n1,2\n3,4\n", encoding="utf-8")
    source = read(raw, "file,label\na,good\nb,bad\nc,good\nd,bad\n")
    assert problems(source) == [("machine.csv", "no-table", False)] and len(source.samples) == 4


def test_finer_truth_goes_first_and_folders_come_last(tmp_path, folders, with_reader):
    table = "file,label\n" + "".join(f"{i},{i % 2}\n" for i in range(4))
    folders.mask_folder(tmp_path / "masks", range(4))
    folders.voc_folder(tmp_path / "boxes", range(4))
    for i in range(4):
        folders.put(tmp_path / "folders" / ("good", "bad")[i % 2] / f"{i}.png", folders.picture(i))
    chosen = {}
    for name in ("masks", "boxes", "folders"):
        (tmp_path / name / "labels.csv").write_text(table, encoding="utf-8")
        chosen[name] = registry.recognise(list_folder(tmp_path / name)).NAME
    assert chosen == {"masks": "mask-folders", "boxes": "voc-boxes", "folders": "label-table"}


def test_a_long_table_is_read_in_linear_time(growth):
    def parse(count):
        rows = "".join(f"{i}.png;{i % 2}\n" for i in range(count))
        assert len(tables.parse_table(f"file;label\n{rows}".encode(), "x.csv").rows) == count

    assert growth(parse, 5_000, 20_000) < 8  # 16 if it were quadratic
