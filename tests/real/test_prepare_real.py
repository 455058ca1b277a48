"""The real data sets are recognised and counted right with no option beyond the paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from defectctl.dataset.store import load_dataset, load_split
from defectctl.dataset.truth import recorded_state
from defectctl.formats.base import ReadOptions
from defectctl.formats.prepare import PrepareOptions, SourceOptions, prepare
from defectctl.imaging.masks import decode_index

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real data sets are not at ../shared/data")


def prepared(name, tmp_path):
    return prepare(DATA / name, tmp_path / "out", PrepareOptions(link=True))


def test_neu_seg(tmp_path):
    result = prepared("NEU_Seg", tmp_path)
    assert result.format == "mask-folders" and result.dataset.class_names == ["class-1", "class-2", "class-3"]
    sizes = {part: len(ids) for part, ids in result.split.parts.items()}
    assert sizes["test"] == 840 and sizes["train"] + sizes["val"] == 3630
    assert abs(sizes["val"] - 363) <= 8  # a tenth, but for families of turned copies that stay together


def test_neu_det(tmp_path):
    result = prepared("NEU-DET", tmp_path)
    assert result.format == "voc-boxes" and result.dataset.counts["images"] == 1800
    assert sum(row["objects"] for row in result.classes) == 4189 and len(result.classes) == 6
    assert all(not result.dataset.known(sample).mask for sample in result.dataset.samples)


def test_sd_saliency(tmp_path):
    result = prepared("SD-saliency-900", tmp_path)
    assert result.dataset.counts["images"] == 900 and result.dataset.counts["classes"]["defect"]["images"] == 900
    assert any("--classes-from prefix" in note for note in result.notes)


def test_kolektor_with_the_crack_of_kos20_part4(tmp_path):
    result = prepared("KolektorSDD", tmp_path)
    assert result.format == "mask-suffix"
    assert (result.dataset.counts["images"], result.dataset.counts["good"]) == (400, 348)
    sample = next(sample for sample in result.dataset.samples if sample.id == "kos20/Part4.jpg")
    path = result.dataset.mask_path(sample)
    assert path is not None and int((decode_index(path.read_bytes()) == 1).sum()) > 100
    assert "kos20/Part4_label.bmp" in {finding.file for finding in result.findings}


def test_corrosion(tmp_path):
    result = prepared("corrosion", tmp_path)
    assert result.format == "coco" and result.split.name == "random"
    assert result.dataset.counts["images"] == 205 and result.classes[0]["objects"] == 2140
    masks = [result.dataset.mask_path(sample) for sample in result.dataset.samples]
    assert all(path is not None and np.any(decode_index(path.read_bytes())) for path in masks)


def test_neu_det_and_sd_saliency_joined_by_content(tmp_path):
    names = {"In": "inclusion", "Pa": "patches", "Sc": "scratches"}
    options = PrepareOptions(
        link=True,
        join="content",
        of_source={"SD-saliency-900": SourceOptions(read=ReadOptions(classes_from="prefix"))},
        maps=tuple(f"SD-saliency-900:{old}={new}" for old, new in names.items()),
    )
    result = prepare([DATA / "NEU-DET", DATA / "SD-saliency-900"], tmp_path / "out", options)
    dataset = load_dataset(tmp_path / "out")
    masked = [sample for sample in dataset.samples if sample.mask]
    assert len(dataset.samples) == 1800 and len(masked) == 900 and len(dataset.classes) == 6
    assert all(dataset.known(sample).boxes == (1, 2, 3, 4, 5, 6) for sample in dataset.samples)
    for sample in masked:
        name = sample.id.removeprefix("IMAGES/").rpartition("_")[0]
        label = dataset.class_names.index(name) + 1
        absent = {1, 2, 3, 4, 5, 6} - {thing.label for thing in sample.objects}
        assert set(dataset.known(sample).mask) == {label} | absent and sample.present == (label,)
    beyond = [s for s in masked if any(thing.label not in dataset.known(s).mask for thing in s.objects)]
    assert len(beyond) == 79 and any("in 79 of them" in note for note in result.notes)


def test_kolektor_folds(tmp_path):
    options = PrepareOptions(
        link=True, folds=DATA / "KolektorSDD_folds.json", group_by=r"(kos\d+)", exclude=("kos21/Part7*",)
    )
    prepare(DATA / "KolektorSDD", tmp_path / "out", options)
    dataset = load_dataset(tmp_path / "out")
    samples = {sample.id: sample for sample in dataset.samples}
    assert len(samples) == 399
    tested = [load_split(dataset, f"fold-{fold}").parts["test"] for fold in range(3)]
    assert sorted(i for ids in tested for i in ids) == sorted(samples)
    assert [sum(recorded_state(dataset, samples[i]) for i in ids) for ids in tested] == [18, 18, 16]
    for split in dataset.splits:
        parts = load_split(dataset, split).parts
        groups = [{samples[i].group for i in ids} for ids in parts.values()]
        assert sum(map(len, groups)) == len(set.union(*groups)) and len(groups) == 3
        if "positives" in split:
            assert sum(recorded_state(dataset, samples[i]) for i in parts["train"]) == int(split.rpartition("-")[2])
