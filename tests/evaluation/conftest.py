"""A small dataset on disk, made picture by picture, and masks as `predict` writes them."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from defectctl.dataset.splits import split_fingerprint
from defectctl.dataset.store import load_dataset
from defectctl.dataset.types import ClassInfo, Dataset, Known, Sample, Source, Split
from defectctl.dataset.writer import DatasetWriter
from defectctl.fileio import sha256_bytes, write_bytes
from defectctl.imaging.masks import encode_mask
from defectctl.imaging.palette import class_colours
from defectctl.imaging.synthetic import make_sample

sys.path.insert(0, str(Path(__file__).parent))

from calibration_toys import Bench, Line

CLASSES = ("inclusion", "patches", "scratches")
COLOURS = class_colours(3)
SIZE = (48, 64)


class Steel:
    """A dataset of 12 pictures in parts of 6, 2 and 4, with a second split in which the parts are swapped."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.truth: dict[str, np.ndarray] = {}
        classes = [ClassInfo(n, c) for n, c in zip(CLASSES, COLOURS, strict=True)]
        sources = {"raw": Source("raw", "mask-folders", Known(mask=(1, 2, 3)))}
        with DatasetWriter(root, "steel", classes, sources) as writer:
            for index in range(12):
                writer.add(*self._sample(index))
            ids = sorted(self.truth)
            swapped = {"train": ids[6:], "val": ids[:2], "test": ids[2:6]}
            splits = [
                self._split("official", {"train": ids[:6], "val": ids[6:8], "test": ids[8:]}, "official"),
                self._split("swapped", swapped, "seeded"),
            ]
            writer.finish(splits, "official", {})
        self.dataset: Dataset = load_dataset(root)

    def _sample(self, index: int) -> tuple[Sample, bytes, bytes]:
        image, mask = make_sample(index, size=SIZE, good_share=0.0 if index % 4 else 1.0)
        name = f"line {index // 6}/теил_{index:02d}.png"
        if index == 9:
            mask[:4] = 255
        self.truth[name] = mask
        data = cv2.imencode(".png", image)[1].tobytes()
        height, width = mask.shape
        return Sample(name, "", width, height, sha256_bytes(data), "raw"), data, encode_mask(mask, COLOURS)

    def _split(self, name: str, parts: dict[str, list[str]], maker: str) -> Split:
        return Split(name, maker, None, parts, split_fingerprint(parts))

    def guess(self, name: str) -> np.ndarray:
        """A prediction that is wrong in a known way: the truth moved by three columns, nothing unknown."""
        moved = np.roll(self.truth[name], 3, axis=1)
        return np.where(moved == 255, 0, moved).astype(np.uint8)

    def write_masks(self, folder: Path, drop: int = 0) -> Path:
        """Write the guess of every picture as `predict` does, without the first `drop` folders of its name."""
        for name in self.truth:
            below = "/".join(name.split("/")[drop:])
            write_bytes((folder / below).with_suffix(".png"), encode_mask(self.guess(name), COLOURS))
        return folder


@pytest.fixture(scope="session")
def steel(tmp_path_factory: pytest.TempPathFactory) -> Steel:
    """The dataset; read only."""
    return Steel(tmp_path_factory.mktemp("steel") / "data")


@pytest.fixture
def networks(steel: Steel, monkeypatch: pytest.MonkeyPatch):
    """Writes model files with known answers on the dataset."""
    from evaluation_toys import Networks

    return Networks(steel, monkeypatch)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    return Line(tmp_path_factory.mktemp("line") / "data")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """Another dataset of the same classes."""
    return Line(tmp_path_factory.mktemp("other") / "data", seed=1)


@pytest.fixture
def bench(line: Line, other: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    # Drawing is not what is tested here.
    monkeypatch.setattr("defectctl.evaluation.evaluate.write_sheet", lambda *_: None)
    monkeypatch.setattr("defectctl.evaluation.evaluate.draw_pictures", lambda *_: {})
    monkeypatch.setattr("defectctl.reports.confusion.draw_confusion", lambda *_: None)
    return Bench([line, other], tmp_path, monkeypatch)
