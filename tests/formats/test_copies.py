"""Turned copies and overlapping crops in a raw folder: what the samples say of them, and how splits keep to it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defectctl.dataset.store import load_split
from defectctl.formats.options import PrepareOptions
from defectctl.formats.prepare import prepare
from defectctl.imaging.synthetic import SyntheticSurface

SIDE = 160


def put(root, name, pixels):
    for folder, picture in (("images", pixels), ("masks", np.zeros(pixels.shape, np.uint8))):
        path = root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", np.ascontiguousarray(picture))[1].tobytes())


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Ten photographs; 0 also turned, 1 also mirrored and lighter, 2 also as a crop moved by half its width."""
    root = tmp_path_factory.mktemp("copies") / "raw"
    surface = SyntheticSurface(seed=3, size=(SIDE, 2 * SIDE), good_share=0)
    for index in range(10):
        strip = surface.sample(index)[0]
        put(root, f"{index}.png", strip[:, :SIDE])
        if index == 0:
            put(root, "0 turned.png", np.rot90(strip[:, :SIDE]))
        if index == 1:
            lighter = np.clip(strip[:, :SIDE][:, ::-1].astype(int) + 8, 0, 255).astype(np.uint8)
            put(root, "1 mirrored.png", lighter)
        if index == 2:
            put(root, "2 moved.png", strip[:, SIDE // 2 : SIDE // 2 + SIDE])
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[60:80, 20:90] = 255
    (root / "masks" / "3.png").write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    return root


def test_turned_and_mirrored_copies_become_families(raw, tmp_path):
    result = prepare(raw, tmp_path / "data", PrepareOptions(kfold=3))
    twins = {sample.id.split("/")[-1]: sample.twins for sample in result.dataset.samples if sample.twins}
    assert twins == {
        "0.png": "images/0 turned.png",
        "0 turned.png": "images/0 turned.png",
        "1.png": "images/1 mirrored.png",
        "1 mirrored.png": "images/1 mirrored.png",
    }
    assert not any(sample.overlaps or sample.pasted_from for sample in result.dataset.samples)
    for name in ("random", "fold-0", "fold-1", "fold-2"):
        parts = load_split(result.dataset, name).parts
        home = {i: part for part, ids in parts.items() for i in ids}
        assert home["images/0.png"] == home["images/0 turned.png"]
        assert home["images/1.png"] == home["images/1 mirrored.png"]


def test_overlapping_crops_stay_together_when_parts_are_looked_for(raw, tmp_path):
    result = prepare(raw, tmp_path / "data", PrepareOptions(parts=True))
    overlaps = {sample.id: sample.overlaps for sample in result.dataset.samples if sample.overlaps}
    assert overlaps == dict.fromkeys(("images/2.png", "images/2 moved.png"), "images/2 moved.png")
    assert any(note.startswith("shared parts: 1 pairs") for note in result.notes)
