"""A stored pixel threshold against logits worked by hand: in maps, tiles, the runner, and the rows of predict."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from journal_toys import read_journal
from torch import nn

from defectctl.checkpoints.contract import Contract
from defectctl.config.presets import load_preset, preset_to_dict
from defectctl.config.schema import InputConfig, PredictConfig
from defectctl.errors import InputError
from defectctl.imaging.geometry import Geometry
from defectctl.imaging.masks import decode_index
from defectctl.inference.maps import maps_from_logits, pixel_level
from defectctl.inference.options import PredictOptions
from defectctl.inference.predict import predict_files
from defectctl.inference.runner import TorchRunner, load_runner
from defectctl.inference.sources import list_inputs
from defectctl.models.output import Output

CPU = torch.device("cpu")


def logits_of(probabilities: list[list[float]], activation: str) -> torch.Tensor:
    """One row of pixels `(1, 1 + classes, 1, W)` from the probabilities of each pixel."""
    chance = torch.tensor(probabilities, dtype=torch.float64).T[None, :, None]
    return (torch.logit(chance) if activation == "sigmoid" else torch.log(chance)).float()


def classes_of(logits: torch.Tensor, activation: str, threshold: float | None) -> list[int]:
    height, width = logits.shape[2:]
    maps = maps_from_logits(logits, [Geometry.fit(width, height, height, width)], activation, threshold)[0]
    assert maps.class_map.dtype == torch.uint8
    return maps.class_map[0].tolist()


# Background, dent, scratch of five pixels; 1 - P(background) is 0.1, 0.3, 0.55, 0.6, 0.9.
SOFTMAX = [[0.9, 0.06, 0.04], [0.7, 0.1, 0.2], [0.45, 0.35, 0.2], [0.4, 0.25, 0.35], [0.1, 0.7, 0.2]]
# Each by itself: the classes of the second and the fourth pixel lie above what the background leaves.
SIGMOID = [[0.9, 0.06, 0.04], [0.7, 0.8, 0.9], [0.45, 0.35, 0.2], [0.4, 0.25, 0.35], [0.1, 0.7, 0.2]]


@pytest.mark.parametrize(
    ("probabilities", "activation", "threshold", "expected"),
    [
        (SOFTMAX, "softmax", None, [0, 0, 0, 0, 1]),  # in two pixels the background is largest, yet below one half
        (SOFTMAX, "softmax", 0.5, [0, 0, 1, 2, 1]),
        (SOFTMAX, "softmax", 0.2, [0, 2, 1, 2, 1]),
        (SOFTMAX, "softmax", 0.8, [0, 0, 0, 0, 1]),
        (SOFTMAX, "softmax", 0.95, [0, 0, 0, 0, 0]),
        (SIGMOID, "sigmoid", None, [0, 2, 0, 0, 1]),
        (SIGMOID, "sigmoid", 0.5, [0, 0, 1, 2, 1]),
        (SIGMOID, "sigmoid", 0.2, [0, 2, 1, 2, 1]),
    ],
)
def test_a_pixel_is_a_defect_from_the_threshold_on(probabilities, activation, threshold, expected) -> None:
    assert classes_of(logits_of(probabilities, activation), activation, threshold) == expected


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize(("threshold", "expected"), [(0.3, [0, 1, 1, 1]), (0.5, [0, 0, 1, 1]), (0.8, [0, 0, 0, 1])])
def test_with_one_class_the_threshold_alone_decides(activation, threshold, expected) -> None:
    chance = [[0.9, 0.1], [0.65, 0.35], [0.35, 0.65], [0.1, 0.9]]
    assert classes_of(logits_of(chance, activation), activation, threshold) == expected
    if activation == "softmax":
        assert classes_of(logits_of(chance, activation), activation, None) == [0, 0, 1, 1]


@pytest.mark.parametrize("level", [1, 2, 77, 127, 128, 200, 254, 255])
def test_a_stored_level_takes_its_own_byte_and_not_the_one_below(level: int) -> None:
    below, at = (level - 1) / 255, level / 255
    background = [min(max(1 - value, 1e-9), 1 - 1e-9) for value in (below, at)]
    logits = logits_of([[b, 1 - b] for b in background], "softmax")
    assert classes_of(logits, "softmax", at) == [0, 1]


def test_every_level_comes_back_from_the_stored_probability() -> None:
    assert [pixel_level(level / 255) for level in range(1, 256)] == list(range(1, 256))
    assert pixel_level(1e-6) == 1, "level 0 would make every pixel a defect"


def test_the_threshold_is_applied_at_the_image_s_own_size() -> None:
    """Between a background of 0.9 and one of 0.1 a bilinear ramp of the log-odds passes 0.2 before it passes 0.5."""
    half = math.log(9) / 2
    logits = torch.tensor([[half, -half], [-half, half]])[None, :, None]
    found = [maps_from_logits(logits, [Geometry.fit(16, 8, 1, 2)], "softmax", t)[0] for t in (0.2, 0.5, None)]
    widths = [int(maps.class_map[4].sum()) for maps in found]
    # Column c of 16 has its centre at (c + 0.5) / 8 - 0.5 of the way, its log-odds at (2 * that - 1) * log 9.
    odds = [(2 * min(max((c + 0.5) / 8 - 0.5, 0), 1) - 1) * math.log(9) for c in range(16)]
    assert widths[0] == sum(value >= math.log(0.2 / 0.8) for value in odds) > widths[1] == widths[2] == 8


class Three(nn.Module):
    """Background, dent and scratch from the grey levels of a neighbourhood."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.Conv2d(6, 3, 7, padding=3))

    def forward(self, images: torch.Tensor) -> Output:
        return Output(mask_logits=12 * self.body(images))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("threshold", [0.3, 0.7, 0.9, None])
def test_an_image_of_one_tile_is_decided_as_the_whole(activation: str, threshold: float | None) -> None:
    picture, model = noise(48, 64), Three()
    whole, tiled = (
        TorchRunner(
            model,
            InputConfig(size=[48, 64], mode=mode, colour="grey"),
            CPU,
            predict=PredictConfig(activation=activation),
            pixel_threshold=threshold,
        ).maps([picture])[0]
        for mode in ("resize", "tile")
    )
    differ = whole.class_map != tiled.class_map
    assert differ.float().mean() < 0.01 and whole.class_map.unique().numel() == 3
    if threshold is not None:  # only rounding of the byte may move a pixel over the threshold
        assert (whole.defect.int() - tiled.defect.int()).abs()[differ].ge(1).all()


def test_maps_obey_the_threshold_in_many_tiles_and_follow_the_runner_s_attribute() -> None:
    picture = noise(75, 93)
    runner = TorchRunner(Three(), InputConfig(size=[32, 40], mode="tile", overlap=0.25, colour="grey"), CPU)
    usual = runner.maps([picture])[0]
    for level in (60, 128, 220):
        runner.pixel_threshold = level / 255
        maps = runner.maps([picture])[0]
        assert torch.equal(maps.defect, usual.defect), "the threshold decides, it does not change what was found"
        assert torch.equal(maps.class_map > 0, maps.defect >= level)
        both = (maps.class_map > 0) & (usual.class_map > 0)
        assert both.any() and torch.equal(maps.class_map[both], usual.class_map[both])
    runner.pixel_threshold = None
    assert torch.equal(runner.maps([picture])[0].class_map, usual.class_map)


def test_a_model_without_masks_has_no_use_for_it() -> None:
    class Judge(nn.Module):
        """Decides about whole parts only."""

        def forward(self, images: torch.Tensor) -> Output:
            return Output(image_logit=images.mean(dim=(1, 2, 3)))

    for mode in ("resize", "tile"):
        config = InputConfig(size=[32, 40], mode=mode, colour="grey")
        plain = TorchRunner(Judge(), config, CPU).maps([noise(32, 40)])[0]
        maps = TorchRunner(Judge(), config, CPU, pixel_threshold=0.001).maps([noise(32, 40)])[0]
        assert maps.probability == plain.probability and not maps.has_mask and not maps.class_map.any()


class Faint(nn.Module):
    """Sees a defect with a probability of 0.3 where the grey level is over one half, of 0.01 elsewhere."""

    def forward(self, images: torch.Tensor) -> Output:
        odds = torch.where(images > 0.5, math.log(0.3 / 0.7), math.log(0.01 / 0.99))
        return Output(mask_logits=torch.cat([torch.zeros_like(odds), odds], dim=1))


def predict_faint(root: Path, stored: dict[str, float], **options) -> tuple[list[dict], int, int]:
    """Predict three images of which two have a bright patch; rows, skipped images, pixels of the last mask."""
    if not (root / "in").exists():
        (root / "in").mkdir()
        for number in range(3):
            pixels = np.full((32, 40), 20, np.uint8)
            pixels[5:10, 5 : 5 + 4 * number] = 250
            (root / "in" / f"{number}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        (root / "model.safetensors").write_bytes(b"weights")
    contract = Contract({"model": {"name": "unet"}}, ["dent"], [(255, 0, 0)], thresholds=stored)
    config = InputConfig(size=[32, 40], colour="grey")
    runner = TorchRunner(Faint(), config, CPU, pixel_threshold=stored.get("pixel"))
    inputs = list_inputs([str(root / "in")], root / "out")
    model = root / "model.safetensors"
    summary = predict_files(inputs, root / "out", runner, contract, model, PredictOptions(**options))
    rows = list(read_journal(root / "out" / "predictions.jsonl").values())
    mask = decode_index((root / "out" / rows[-1]["mask"]).read_bytes(), "mask")
    return rows, summary.skipped, int(mask.sum())


def test_rows_hold_it_and_their_verdicts_follow_it(tmp_path: Path) -> None:
    level = 64 / 255
    rows, _, pixels = predict_faint(tmp_path, {})
    assert [row["verdict"] for row in rows] == ["OK"] * 3 and pixels == 0 and rows[0]["thresholds"] == {}
    rows, skipped, pixels = predict_faint(tmp_path, {"pixel": level}, skip_done=True)
    assert skipped == 0, "rows made without the threshold are made anew"
    assert [row["verdict"] for row in rows] == ["OK", "NG", "NG"] and pixels == 5 * 8
    assert all(row["thresholds"] == {"pixel": level} for row in rows)
    assert predict_faint(tmp_path, {"pixel": level}, skip_done=True)[1] == 3
    assert predict_faint(tmp_path, {"pixel": 65 / 255}, skip_done=True)[1] == 0


def test_a_threshold_on_the_command_line_keeps_it(tmp_path: Path) -> None:
    """The patch is found with a score of 0.3, to a byte: NG from 0.29, not from 0.4."""
    stored = {"pixel": 64 / 255, "ng": 0.1}
    for asked, verdict in ({"ng": 0.4}, "OK"), ({"ng": 0.29}, "NG"), ({"ok": 0.2, "ng": 0.4}, "UNSURE"):
        rows, _, pixels = predict_faint(tmp_path, stored, thresholds=asked)
        assert [row["verdict"] for row in rows] == ["OK", verdict, verdict] and pixels == 5 * 8
        assert rows[0]["thresholds"] == {**asked, "pixel": 64 / 255}


def load_with(stored: dict, monkeypatch: pytest.MonkeyPatch) -> TorchRunner:
    """`load_runner` of a model whose contract holds these thresholds."""
    contract = Contract(preset_to_dict(load_preset("unet")), ["dent"], [(255, 0, 0)], thresholds=stored)
    monkeypatch.setattr("defectctl.checkpoints.weights.load_model", lambda *_: (Faint(), contract))
    runner, read = load_runner(Path("model.safetensors"), CPU)
    assert read is contract
    return runner


def test_a_loaded_model_brings_its_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_with({}, monkeypatch).pixel_threshold is None
    assert load_with({"ng": 0.5}, monkeypatch).pixel_threshold is None
    assert load_with({"pixel": 77 / 255, "ng": 0.5}, monkeypatch).pixel_threshold == 77 / 255
    assert load_with({"pixel": 1}, monkeypatch).pixel_threshold == 1


@pytest.mark.parametrize("value", [0, -0.1, 77, float("nan"), "0.3", [0.3], True])
def test_what_is_no_probability_is_a_damaged_contract(value, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"model\.safetensors holds a damaged contract: its pixel threshold"):
        load_with({"pixel": value}, monkeypatch)
