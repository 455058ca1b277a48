"""NEU_Seg leaks as it is parted, and does not after --resplit: all pairs in all eight poses, by brute force."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from defectctl.dataset.store import load_split
from defectctl.formats.base import ReadOptions
from defectctl.formats.prepare import PrepareOptions, prepare
from defectctl.imaging.reader import read_image

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real data sets are not at ../shared/data"),
]
SAME = 0.9925
"""Correlation of two pictures at 50x50 pixels above which they are copies: in this set none lies from 0.99 to 0.995."""


def normed(pictures):
    rows = pictures.reshape(len(pictures), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def copied(held_out, training):
    """How many of `held_out` `(n, 50, 50)` correlate with some of `training` in some pose."""
    table, best = normed(training).T, np.zeros(len(held_out), np.float32)
    for turn in range(4):
        turned = np.rot90(held_out, turn, axes=(1, 2))
        for pose in (turned, turned[:, :, ::-1]):
            best = np.maximum(best, (normed(np.ascontiguousarray(pose)) @ table).max(axis=1))
    return int((best > SAME).sum())


def test_after_resplit_no_test_image_has_a_copy_in_training(tmp_path):
    read = ReadOptions(classes=("inclusion", "patches", "scratches"))
    dataset = prepare(DATA / "NEU_Seg", tmp_path / "data", PrepareOptions(read=read, resplit=True, link=True)).dataset
    small = {
        sample.id: cv2.resize(read_image(dataset.image_path(sample), "grey"), (50, 50), interpolation=cv2.INTER_AREA)
        for sample in dataset.samples
    }
    counts = {}
    for name in ("official", "grouped"):
        parts = load_split(dataset, name).parts
        pictures = {part: np.stack([small[i] for i in ids]) for part, ids in parts.items()}
        training = np.concatenate([pictures["train"], pictures["val"]])
        counts[name] = copied(pictures["test"], training), copied(pictures["val"], pictures["train"])
        assert len(parts["test"]) == pytest.approx(840, abs=10)
    assert counts == {"official": (810, 0), "grouped": (0, 0)}
