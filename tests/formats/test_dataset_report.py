"""The report of prepared datasets: hand-worked numbers, every finding, and no dataset on which it fails."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np

from defectctl.dataset.statistics import Statistics, count_labels
from defectctl.dataset.store import load_dataset, load_split
from defectctl.dataset.survey import Survey, measure
from defectctl.dataset.truth import recorded_classes, recorded_state
from defectctl.dataset.types import ClassInfo, Known, Sample, Source, Split
from defectctl.dataset.writer import DatasetWriter
from defectctl.fileio import sha256_bytes
from defectctl.formats.base import Finding, ReadOptions
from defectctl.formats.dataset_report import raw_finder, report_html, write_report
from defectctl.formats.prepare import PrepareOptions, prepare
from defectctl.imaging.masks import decode_index
from defectctl.imaging.reader import decode_stored, inspect_image

NASTY = "ö\"'<script>&"


@dataclass
class Raw:
    root: Path


@dataclass
class FakeSource:
    raw: Raw
    told: str = ""


@dataclass
class Seen(HTMLParser):
    text: str
    words: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def __post_init__(self):
        super().__init__()
        self.feed(self.text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, name, attributes):
        self.names.append(name)

    def handle_data(self, data):
        self.words.append(data)


def surveyed(dataset):
    survey = Survey(len(dataset.classes))
    for sample in dataset.samples:
        data = dataset.image_path(sample).read_bytes()
        mask = decode_index(dataset.mask_path(sample).read_bytes()) if sample.mask else None
        kind, pixels = inspect_image(data), decode_stored(data)
        facts = measure(pixels, kind, mask, sample.objects, dataset.known(sample).mask)
        survey.add(sample.id, facts, recorded_classes(dataset, sample), recorded_state(dataset, sample) == 0)
    return survey


def report_of(raw, out, options=None, findings=None):
    result = prepare(raw, out, options or PrepareOptions())
    dataset = load_dataset(out)
    find = raw_finder([FakeSource(Raw(raw))])
    told = result.findings if findings is None else findings
    arguments = (dataset, [load_split(dataset)], surveyed(dataset), told, result.notes, result.layout, find)
    text = report_html(*arguments)
    assert text == report_html(*arguments)
    outside = re.findall(r'(?:src|href)="(?!data:image/|#)', text)
    seen = Seen(text)
    assert not outside and "script" not in seen.names and "http" not in text
    return seen, result


def mask_folder(folders, root, count=12, name="part{}.png", pixels=None):
    for i in range(count):
        mask = np.zeros((40, 50), np.uint8)
        if i % 3:
            mask[4 : 4 + i, 3:13] = i % 3  # 10 x i pixels
        picture = np.full((40, 50), 10 * i, np.uint8) if pixels is None else pixels(i)
        folders.put(root / "images" / name.format(i), picture)
        folders.put(root / "masks" / name.format(i), mask)
    return root


def test_numbers_worked_by_hand(tmp_path, folders):
    raw = mask_folder(folders, tmp_path / "raw")
    page, result = report_of(raw, tmp_path / "out", PrepareOptions(read=ReadOptions(classes=("dent", "crack"))))
    assert "12 images 4 good 8 defective 0 unknown 2 classes 0 findings" in page.text
    # Dents are 10 wide and 1, 4, 7, 10 high; cracks 2, 5, 8, 11: 220 and 260 of 24,000 pixels.
    assert "dent 4 33 % 220 0.92 % 0" in page.text and "crack 4 33 % 260 1.1 % 0" in page.text
    assert "dent masks 4 10 40 100 2.0 % 5.0 % 1 4" in page.text
    assert "crack masks 4 20 50 110 2.5 % 5.5 % 2 5" in page.text
    assert "50 × 40 12" in page.text and "grey, 8 bits a value 12" in page.text
    assert page.names.count("figure") == 3 * 4 + 3  # two classes and good parts; maps of both classes and of all
    assert result.dataset.fingerprint in page.text


def test_every_finding_is_in_it_and_strange_files_have_a_tile(tmp_path, folders):
    raw = mask_folder(folders, tmp_path / "raw", name="teil ü{}.png")
    (raw / "images" / "teil ü5.png").write_bytes(b"no picture")
    folders.put(raw / "images" / "alone.png", np.zeros((9, 9), np.uint8))
    (raw / "photo.heic").write_bytes(b"x")
    options = PrepareOptions(read=ReadOptions(classes=("dent", "crack")))
    page, result = report_of(raw, tmp_path / "out", options)
    assert len(result.findings) >= 3
    for finding in result.findings:
        assert finding.file in page.text and " ".join(finding.text.split()) in page.text
    assert page.text.index("Findings to act on") < page.text.index("How the files were read")


def test_many_findings_are_counted_and_few_are_pictured(tmp_path, folders):
    raw = mask_folder(folders, tmp_path / "raw")
    findings = [Finding(f"images/part{i % 12}.png", "blurred", f"reason {i}") for i in range(230)]
    findings += [Finding(f"gone{i}.png", "lost-leak", NASTY, False) for i in range(2)]
    findings += [Finding("notes.xml", "odd", "is odd", True), Finding(".", "odd", "the folder")]
    page, _ = report_of(raw, tmp_path / "out", findings=findings)
    assert page.text.count("reason") == 200 and "and 30 more, see findings.csv" in page.text
    places = [page.text.index(word) for word in ("odd: 2, left out: 1", "lost leak: 2", "blurred: 230")]
    assert places == sorted(places) and page.text.count(NASTY) == 3  # and as example above
    assert page.names.count("figure") == 3 * 4 + 3 + 12 + 2


def test_boxes_only(tmp_path, folders):
    raw = folders.voc_folder(tmp_path / "raw", range(6), cls=NASTY.replace("<script>&", ""))
    page, _ = report_of(raw, tmp_path / "out")
    # 9..20 and 9..16, counted from 1 and inclusive: 12 x 8 of 48 x 48
    assert "boxes 6 96 96 96 4.2 % 4.2 % 8 8" in page.text and "0 good" in page.text
    assert "6 100 % – – 6" in page.text


def test_image_labels_only_and_no_good_part(tmp_path, folders):
    names = ["dent", NASTY]
    split = Split("random", "drawn", 0, {"train": ["0.png", "1.png"], "test": ["2.png"]})
    classes = [ClassInfo(name, (9, 9, 9)) for name in names]
    statistics = Statistics(names)
    with DatasetWriter(tmp_path / "out", "labels", classes, {"raw": Source("raw", "folders", Known())}) as writer:
        for i, label in enumerate(("dent", NASTY, "defective")):
            data = cv2.imencode(".png", folders.picture(i))[1].tobytes()
            sample = Sample(f"{i}.png", "", 48, 48, sha256_bytes(data), "raw", label=label, known=Known(image=True))
            statistics.add(count_labels(sample, sample.known, None, names))
            writer.add(sample, data)
        writer.finish([split], "random", statistics.to_dict())
    dataset = load_dataset(tmp_path / "out")
    text = report_html(dataset, [split], surveyed(dataset), [], [], "", lambda file: None)
    page = Seen(text)
    assert "3 images 0 good 3 defective 0 unknown 2 classes" in page.text and "script" not in page.names
    assert f"{NASTY} 1 33 % – – 0" in page.text and "Neither masks nor boxes" in page.text
    assert page.names.count("figure") == 2 and "train 2 0 2 0 1 1" in page.text


def test_16_bit_pictures_and_several_sizes(tmp_path, folders):
    raw = mask_folder(folders, tmp_path / "raw", pixels=lambda i: np.full((40, 50), 4095, np.uint16))
    page, _ = report_of(raw, tmp_path / "out", PrepareOptions(read=ReadOptions(classes=("dent", "crack"))))
    assert "grey, 16 bits a value 12" in page.text
    row = re.search(r"75 % train \d+ (\d+) (\d+) (\d+)", page.text)
    assert row and set(row.groups()) == {"255"}  # 4095 is full scale


def test_254_classes(tmp_path, folders):
    names = tuple(f"kind {i}" for i in range(1, 255))
    for i in range(0, 254, 12):
        mask = np.zeros((48, 48), np.uint8)
        for place, value in enumerate(range(i + 1, min(i + 13, 255))):
            mask[4 * place : 4 * place + 2, 10:30] = value
        folders.put(tmp_path / "raw" / "images" / f"{i}.png", folders.picture(i))
        folders.put(tmp_path / "raw" / "masks" / f"{i}.png", mask)
    page, _ = report_of(tmp_path / "raw", tmp_path / "out", PrepareOptions(read=ReadOptions(classes=names)))
    assert all(name in page.text for name in names) and "254 classes" in page.text
    assert page.names.count("figure") == 254 + 1


def test_it_is_written_beside_the_dataset_and_survives_a_lost_picture(tmp_path, folders):
    raw = mask_folder(folders, tmp_path / "raw")
    prepare(raw, tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    survey = surveyed(dataset)
    for sample in dataset.samples[:6]:
        dataset.image_path(sample).unlink()
    for sample in dataset.samples[6:9]:
        dataset.image_path(sample).write_bytes(cv2.imencode(".png", np.zeros((4, 4)))[1].tobytes()[:40])
    path = write_report(dataset, [load_split(dataset)], survey, [], [], "", lambda file: None)
    assert path == tmp_path / "out" / "report.html" and "12</b>images" in path.read_text(encoding="utf-8")
    assert load_dataset(tmp_path / "out").fingerprint == dataset.fingerprint  # the dataset is whole with it


def test_raw_files_are_found_by_source(tmp_path, folders):
    for root in ("a", "b"):
        folders.put(tmp_path / root / f"{root}.png", np.zeros((2, 2), np.uint8))
    find = raw_finder([FakeSource(Raw(tmp_path / "a"), "a/"), FakeSource(Raw(tmp_path / "b"), "b/")])
    assert find("b/b.png") == tmp_path / "b" / "b.png" and find("a/a.png") == tmp_path / "a" / "a.png"
    assert find("a/b.png") is None and find("c/a.png") is None and find("a/.") is None
