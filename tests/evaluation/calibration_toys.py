"""A line of tiny pictures with a calibration part, and a model of it whose every answer is known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from defectctl.checkpoints.contract import Contract
from defectctl.checkpoints.weights import save_model
from defectctl.config.presets import load_preset, preset_to_dict
from defectctl.dataset.splits import group_names, split_fingerprint
from defectctl.dataset.store import load_dataset, load_split
from defectctl.dataset.types import ClassInfo, Known, Sample, Source, Split
from defectctl.dataset.writer import DatasetWriter
from defectctl.errors import InputError
from defectctl.evaluation.asked import Asked
from defectctl.evaluation.calibrate import calibrate
from defectctl.evaluation.evaluate import Hardware
from defectctl.evaluation.part import load_part
from defectctl.evaluation.wanted import Wanted
from defectctl.fileio import sha256_bytes
from defectctl.imaging.masks import encode_mask
from defectctl.imaging.reader import read_image
from defectctl.inference.maps import Maps, pixel_level

COLOUR = (230, 159, 0)
WITHOUT_THRESHOLD = 20
"""The toy model calls a pixel a defect from this byte on where no pixel threshold is stored."""


class Line:
    """Pictures of 12 x 12 pixels; a defective part has a patch of 4 x 4, a good one a false patch of 2 x 2.

    The calibration part has 60 defective groups (20 of them two photographs of a part) and 60 good ones (10 of two).
    The byte of a patch is `levels[id]`: 30 and more of defects, up to 140 of good parts. Split `plain` has no
    calibration part and is the dataset's default; `official`, which trained the model, has one.
    """

    def __init__(self, root: Path, seed: int = 0) -> None:
        self.root, self.levels, self.truth = root, {}, {}
        self.rng, self.parts = np.random.default_rng(seed), {}
        sources = {"raw": Source("raw", "mask-folders", Known(mask=(1,)))}
        with DatasetWriter(root, f"line{seed}", [ClassInfo("dent", COLOUR)], sources) as writer:
            self.writer = writer
            for part, bad, good in (("train", 4, 2), ("val", 4, 4), ("test", 4, 4)):
                self.parts[part] = [self._add(f"{part}/{n}", n < bad) for n in range(bad + good)]
            aside = self.parts["calibration"] = []
            for defective, pairs in ((True, 20), (False, 10)):
                for n in range(60):
                    name = f"calibration/{'bad' if defective else 'good'}_{n:02d}"
                    group = f"part {name}" if n < pairs else None
                    aside += [self._add(f"{name}{x}", defective, group) for x in ("ab" if n < pairs else "a")]
            plain = {part: self.parts[part] for part in ("train", "val", "test")}
            splits = [Split(n, "seeded", 0, p, split_fingerprint(p)) for n, p in self._splits(plain).items()]
            writer.finish(splits, "plain", {})
        self.dataset = load_dataset(root)
        self.names = {read_image(self.dataset.image_path(s), "rgb").tobytes(): s.id for s in self.dataset.samples}

    def _splits(self, plain: dict[str, list[str]]) -> dict[str, dict[str, list[str]]]:
        bad = [name for name in self.parts["calibration"] if "bad" in name]
        one_kind = {**plain, "calibration": bad}
        good = {**plain, "calibration": [name for name in self.parts["calibration"] if "good" in name]}
        few = {**plain, "calibration": [*bad[:6], *good["calibration"][:30]]}
        torn = {**plain, "train": self.parts["calibration"][:6], "calibration": self.parts["train"]}
        chosen = {**plain, "val": [], "calibration": self.parts["val"] + bad}
        tested = {
            "train": plain["val"],
            "val": plain["train"],
            "calibration": self.parts["calibration"] + plain["test"],
        }
        pairs = [name for name in bad if "b.png" in name[-5:]][:10]  # the second photographs of ten parts
        kin = {**plain, "train": pairs}
        firsts = {**plain, "calibration": sorted({*self.parts["calibration"]} - {*pairs})}
        named = {
            "tested": tested,
            "firsts": firsts,
            "kin": kin,
            "official": dict(self.parts),
            "plain": plain,
            "bad": one_kind,
            "good": good,
            "few": few,
        }
        return {**named, "torn": torn, "chosen": chosen}

    def _add(self, stem: str, defective: bool, group: str | None = None) -> str:
        name = f"{stem}.png"
        mask = np.zeros((12, 12), np.uint8)
        mask[2:6, 2:6] = defective
        self.truth[name] = mask
        self.levels[name] = int(self.rng.integers(30, 250) if defective else self.rng.integers(5, 140))
        data = cv2.imencode(".png", self.rng.integers(0, 255, (12, 12), np.uint8))[1].tobytes()
        sample = Sample(name, "", 12, 12, sha256_bytes(data), "raw", group=group, present=(1,) * defective)
        self.writer.add(sample, data, encode_mask(mask, [COLOUR]))
        return name

    def answer(self, name: str, pixel_threshold: float | None, decides: bool) -> Maps:
        """What the toy model finds: the patch, where its byte reaches the threshold."""
        byte = np.zeros((12, 12), np.uint8)
        if self.truth[name].any():
            byte[2:6, 2:6] = self.levels[name]
        else:
            byte[8:10, 8:10] = self.levels[name]
        level = WITHOUT_THRESHOLD if pixel_threshold is None else pixel_level(pixel_threshold)
        found = Maps(torch.from_numpy((byte >= level).astype(np.uint8)), torch.from_numpy(byte))
        if decides:
            found.probability = self.levels[name] / 255
        return found

    def score(self, name: str, level: int = WITHOUT_THRESHOLD) -> float:
        """The image score at a level of the pixel threshold: the mean of the patch, 0 where it is not found."""
        return self.levels[name] / 255 if self.levels[name] >= level else 0.0

    def contract(self, split: str = "official", name: str | None = None, **changes) -> Contract:
        """Of a model that was trained by this split."""
        preset = preset_to_dict(load_preset("quick"))
        if name is not None:
            preset["model"] = {"name": name}
        dataset = {
            "name": self.dataset.name,
            "fingerprint": self.dataset.fingerprint,
            "split": split,
            "split_fingerprint": load_split(self.dataset, split).fingerprint,
        }
        return Contract(**{"preset": preset, "classes": ["dent"], "colours": [COLOUR], "dataset": dataset, **changes})


class Bench:
    """A place to write model files, all answered by `Line.answer`; `loads` counts how often a network was loaded."""

    def __init__(self, lines: list[Line], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lines, self.folder, self.loads, self.broken = lines, folder, 0, False
        monkeypatch.setattr("defectctl.inference.runner.load_runner", self._load)

    def model(self, line: Line | None = None, **changes) -> Path:
        """A model file of a line; changes as in `Line.contract`."""
        contract = (line or self.lines[0]).contract(**changes)
        self.decides = contract.preset["model"]["name"] in ("segdecnet", "resnet18")
        path = self.folder / "runs" / "quick-001" / "model.safetensors"
        save_model(path, {"w": torch.arange(12.0).reshape(3, 4)}, contract)
        return path

    def runner(self, pixel_threshold: float | None = None) -> SimpleNamespace:
        """What stands for the network."""
        runner = SimpleNamespace(pixel_threshold=pixel_threshold)

        def one(picture: np.ndarray) -> Maps:
            line = next(line for line in self.lines if picture.tobytes() in line.names)
            return line.answer(line.names[picture.tobytes()], runner.pixel_threshold, self.decides)

        runner.maps = lambda pictures: [one(picture) for picture in pictures]
        return runner

    def _load(self, *_) -> tuple[SimpleNamespace, None]:
        assert not self.broken, "no network may be loaded"
        self.loads += 1
        return self.runner(), None


CPU = Hardware("cpu", "float32", threads=1)
QUICK = Asked(rounds=100)
ESCAPES = Wanted(max_escape=0.1)


def run(path: Path, line: Line, wanted: Wanted = ESCAPES, asked: Asked = QUICK, **where) -> dict:
    return calibrate(path, wanted, line.root, hardware=CPU, asked=asked, **where)


def columns(line: Line, level: int = 20, names: list[str] | None = None) -> tuple[np.ndarray, np.ndarray, list]:
    """Scores, states and groups of the calibration part as the dataset itself tells them."""
    part = load_part(line.root, "official", "calibration")
    samples = [s for s in part.samples if names is None or s.id in names]
    groups = [s.group for s in samples]
    assert {bool(name) for name, group in zip(group_names(samples), groups, strict=True) if group} <= {True}
    score = np.array([line.score(s.id, level) for s in samples])
    return score, np.array([int(line.truth[s.id].any()) for s in samples]), groups


def refused(path: Path, line: Line, wanted: Wanted = ESCAPES, asked: Asked = QUICK, **where) -> str:
    """The sentence of a calibration that must be refused and leave everything as it is."""
    before, beside = path.read_bytes(), sorted(path.parent.rglob("*"))
    with pytest.raises(InputError) as caught:
        run(path, line, wanted, asked, **where)
    assert path.read_bytes() == before and sorted(path.parent.rglob("*")) == beside
    assert "\n" not in str(caught.value)
    return str(caught.value)
