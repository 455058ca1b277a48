"""Every preset's network learns eight real images by heart on the CPU; `-s` prints the figures.

The bound is 0.95 of mIoU, mAP@0.5 or image AP, or 0.98 of what the truth itself keeps at the network's output stride.
Takes most of an hour: `python -m pytest tests/real/test_overfit.py -m slow -s`.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from overfit import IMAGES, Overfit, kept_by_stride, overfit, prepared

from defectctl.imaging.masks import decode_index

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real data sets are not at ../shared/data"),
]

WITH_CE = {"ce": 1.0, "dice": 1.0}
"""Dice of the defect classes alone, the loss of the corrosion study, loses a class now and then from random weights."""

PIXELS = {
    "sme-deeplab": (4, Overfit()),
    "unet-cbam": (1, Overfit(updates=450, options={"width": 16})),
    "unet-mobilenetv2": (1, Overfit()),
    "unet-resnet152": (1, Overfit(lr=3e-4, losses=WITH_CE)),
    "unet-inceptionv4": (1, Overfit(size=(160, 160), losses=WITH_CE)),
    "unet-vgg16": (1, Overfit(lr=3e-4, losses=WITH_CE)),
    "unet": (1, Overfit(updates=450, options={"width": 16})),
    "res-unet": (1, Overfit()),
    "segnet": (1, Overfit(updates=450, options={"width": 0.25})),
    "fcn-8s": (8, Overfit(updates=450, lr=1e-3, options={"width": 0.25})),
    "deeplabv3plus": (4, Overfit()),
    "pspnet": (8, Overfit()),
    "hrnet": (4, Overfit()),
    "unetplusplus": (1, Overfit()),
    "upernet-convnext": (4, Overfit(lr=3e-4)),
    "segformer": (4, Overfit(lr=5e-4, updates=300)),
}
"""Preset -> stride of its mask logits, and how it is taught; the heaviest in a narrower form."""

BOXES = {
    "multitask": Overfit(updates=400, size=(192, 192), options={"blocks": 1}, min_area=60),
    "yolov5s": Overfit(updates=400, size=(192, 192), min_area=60),
    "faster-rcnn": Overfit(updates=120, lr=3e-4, options={"backbone": "resnet18", "roi_samples": 64}, min_area=60),
}
DECISIONS = {
    "weak-lnet-dnet": Overfit(
        updates=100,
        size=(352, 128),
        losses={"image_bce": 1, "weak_good": 8, "weak_defective": 1},
        options={"width": 0.25},
    ),
    "resnet18": Overfit(size=(352, 128), updates=60),
    "segdecnet": Overfit(updates=100, size=(352, 128), losses={"ce": 1, "image_bce": 0.1}, options={"width": 0.25}),
}


@pytest.fixture(scope="module")
def steel(tmp_path_factory):
    """Eight training images of NEU_Seg that show every class, and their dataset."""
    dataset = prepared(DATA / "NEU_Seg", tmp_path_factory.mktemp("steel") / "data")
    chosen, seen = [], {1: 0, 2: 0, 3: 0}
    for sample in dataset.samples:
        mask = decode_index((dataset.root / sample.mask).read_bytes(), sample.mask)
        labels = set(np.unique(mask).tolist()) - {0, 255}
        if all(seen[label] < 3 for label in labels):
            chosen.append(sample)
            for label in labels:
                seen[label] += 1
        if len(chosen) == IMAGES:
            break
    return dataset, chosen


@pytest.fixture(scope="module")
def commutators(tmp_path_factory):
    """Four defective and four good parts of KolektorSDD, and their dataset."""
    dataset = prepared(DATA / "KolektorSDD", tmp_path_factory.mktemp("commutators") / "data")
    bad = [s for s in dataset.samples if s.mask is not None][: IMAGES // 2]
    good = [s for s in dataset.samples if s.mask is None][: IMAGES // 2]
    return dataset, bad + good


def told(name: str, key: str, value: float, bound: float, start: float) -> None:
    print(f"\noverfit {name}: {key} {value:.3f} (bound {bound:.3f}) in {time.process_time() - start:.0f} CPU s")


@pytest.mark.parametrize("name", PIXELS)
def test_pixels(name, steel):
    start, (stride, how) = time.process_time(), PIXELS[name]
    metrics = overfit(name, *steel, how)
    bound = min(0.95, 0.98 * kept_by_stride(*steel, how.size, stride))
    told(name, "mIoU", metrics["val/miou"], bound, start)
    assert metrics["val/miou"] >= bound


@pytest.mark.parametrize("name", BOXES)
def test_boxes(name, steel):
    start = time.process_time()
    how = BOXES[name]
    metrics = overfit(name, *steel, how)
    told(name, "mAP@0.5", metrics["val/map50"], 0.95, start)
    if name == "multitask":
        bound = min(0.95, 0.98 * kept_by_stride(*steel, how.size, 4))
        told(name, "mIoU", metrics["val/miou"], bound, start)
        assert metrics["val/miou"] >= bound
    assert metrics["val/map50"] >= 0.95


@pytest.mark.parametrize("name", DECISIONS)
def test_decisions(name, commutators):
    start = time.process_time()
    metrics = overfit(name, *commutators, DECISIONS[name])
    told(name, "image AP", metrics["val/image_ap"], 0.95, start)
    assert metrics["val/image_ap"] >= 0.95
