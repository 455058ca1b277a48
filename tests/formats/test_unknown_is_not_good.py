"""An image whose every annotation is unusable may be defective: it is left out or unknown, never a good part."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from defectctl.dataset.truth import recorded_state
from defectctl.formats.prepare import prepare


def pictures(root, count=4):
    root.mkdir(parents=True)
    for i in range(count):
        picture = np.random.default_rng(i).integers(0, 255, (30, 40), np.uint8)
        (root / f"{i}.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())


def coco(root, broken):
    images = [{"id": i, "file_name": f"{i}.png", "width": 40, "height": 30} for i in range(4)]
    categories = [{"id": 1, "name": "crack"}]
    notes = [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [2, 2, 9, 9]}, {"id": 2, "image_id": 1, **broken}]
    text = json.dumps({"images": images, "annotations": notes, "categories": categories})
    (root / "a.json").write_text(text, encoding="utf-8")


def voc(root, broken):
    for i in range(4):
        box = {0: "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>", 1: broken}.get(i)
        thing = f"<object><name>crack</name>{box}</object>" if box is not None else ""
        text = f"<annotation><filename>{i}.png</filename>{thing}</annotation>"
        (root / f"{i}.xml").write_text(text, encoding="utf-8")


def run_lengths(root, broken):
    (root / "train.csv").write_text(f"ImageId,ClassId,EncodedPixels\n0.png,1,5 9\n1.png,1,{broken}\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("write", "broken"),
    [
        (coco, {"category_id": 1, "bbox": [100, 100, 5, 5]}),
        (coco, {"category_id": 9, "bbox": [2, 2, 5, 5]}),
        (coco, {"category_id": 1, "segmentation": {"size": [30, 40], "counts": "??"}}),
        (voc, "<bndbox><xmin>90</xmin><ymin>90</ymin><xmax>99</xmax><ymax>99</ymax></bndbox>"),
        (voc, ""),
        (run_lengths, "1 x"),
        (run_lengths, "1 99999"),
    ],
)
def test_what_is_lost_is_not_good(tmp_path, write, broken):
    pictures(tmp_path / "raw")
    write(tmp_path / "raw", broken)
    result = prepare(tmp_path / "raw", tmp_path / "data")
    states = {sample.id[0]: recorded_state(result.dataset, sample) for sample in result.dataset.samples}
    assert states.get("1", -1) == -1 and states["0"] == 1 and states["2"] == states["3"] == 0
    assert result.dataset.counts["good"] == 2
    assert any(finding.dropped and "1" in finding.file + finding.text for finding in result.findings)
