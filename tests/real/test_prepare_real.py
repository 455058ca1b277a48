"""The real data sets are recognised and counted right with no option beyond the paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from defectctl.formats.prepare import PrepareOptions, prepare
from defectctl.imaging.masks import decode_index

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real data sets are not at ../shared/data")


def prepared(name, tmp_path):
    return prepare(DATA / name, tmp_path / "out", PrepareOptions(link=True))


def test_neu_seg(tmp_path):
    result = prepared("NEU_Seg", tmp_path)
    assert result.format == "mask-folders" and result.dataset.class_names == ["class-1", "class-2", "class-3"]
    assert {part: len(ids) for part, ids in result.split.parts.items()} == {"train": 3267, "val": 363, "test": 840}


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
