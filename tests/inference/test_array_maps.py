"""Maps and tiles made by numpy against those that torch makes of the same logits, and against hand-worked ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from inference_toys import Everything

from defectctl.config.schema import InputConfig, PredictConfig
from defectctl.imaging.geometry import Geometry
from defectctl.inference import array_maps
from defectctl.inference.array_maps import background, decide, defect_byte, maps_from_logit_array, probabilities
from defectctl.inference.array_tiling import tiled_array_maps
from defectctl.inference.base_runner import RawOutput
from defectctl.inference.maps import maps_from_logits
from defectctl.inference.runner import TorchRunner
from defectctl.inference.tiling import tiled_maps

CPU = torch.device("cpu")


@pytest.mark.parametrize("threshold", [None, 0.2, 1.0])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("planes", [2, 4])
def test_maps_are_torchs(planes: int, activation: str, threshold: float | None) -> None:
    logits = torch.randn(4, planes, 16, 24, generator=torch.Generator().manual_seed(0)) * 3
    places = [
        Geometry.fit(96, 64, 64, 96),
        Geometry.fit(40, 70, 64, 96),
        Geometry.fit(40, 70, 64, 96, "stretch"),
        Geometry.fit(300, 200, 64, 96),
    ]
    expected = maps_from_logits(logits, places, activation, threshold)
    found = maps_from_logit_array(logits.numpy(), places, activation, threshold)
    for one, other in zip(expected, found, strict=True):
        (classes, defect), (classes_too, defect_too) = one.arrays(), other.arrays()
        assert classes_too.dtype == defect_too.dtype == np.uint8
        assert (classes == classes_too).mean() > 0.9995
        assert np.abs(defect.astype(int) - defect_too).max() <= 1
        assert (defect == defect_too).mean() > 0.995


def test_probabilities_are_torchs_and_never_overflow() -> None:
    logits = np.float32([[-300.0, 5.0, 300.0, 0.0], [300.0, 4.0, -300.0, 0.0], [1.0, -90.0, 0.0, 0.0]])[:, None]
    with np.errstate(all="raise", under="ignore"):
        for activation in ("softmax", "sigmoid"):
            found = probabilities(logits, activation)
            tensor = torch.from_numpy(logits).double()
            expected = tensor.softmax(0) if activation == "softmax" else tensor.sigmoid()
            assert np.allclose(found, expected.numpy(), atol=1e-6)
            assert np.allclose(background(logits, activation), found[0], atol=1e-6)
            assert np.allclose(background(logits[:2], activation), probabilities(logits[:2], activation)[0], atol=1e-6)


def test_the_pixel_threshold_counts_the_defect_byte() -> None:
    scores = np.float32([[[5, 5, 5]], [[1, 2, 0]], [[0, 3, 1]]])
    defect = defect_byte(np.float32([[1 - 127 / 255, 1 - 128 / 255, 0]]))
    assert defect.tolist() == [[127, 128, 255]]
    assert decide(scores, defect, 128 / 255).tolist() == [[0, 2, 2]]
    assert decide(scores, defect).tolist() == [[0, 0, 0]]
    assert decide(scores[:2], defect, 128 / 255).tolist() == [[0, 1, 1]]


def test_the_first_of_equal_classes_counts() -> None:
    scores = np.float32([[[1, 0]], [[1, 2]], [[1, 2]]])
    assert array_maps.decide(scores, np.zeros((1, 2), np.uint8)).tolist() == [[0, 1]]


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_tiles_are_torchs(colour: str) -> None:
    config = InputConfig(size=[32, 48], mode="tile", colour=colour)
    random = np.random.default_rng(2)
    pictures = []
    for height, width in ((70, 100), (20, 100), (32, 48)):
        picture = random.integers(0, 120, (height, width, 3), dtype=np.uint8)
        picture[8:14, 20:41] = 250
        pictures.append(picture if colour == "rgb" else picture[:, :, 0])
    runner = TorchRunner(Everything(), config, CPU) if colour == "grey" else TorchRunner(_Grey(), config, CPU)

    def run(images: np.ndarray) -> RawOutput:
        raw = runner._run(torch.from_numpy(images))
        return RawOutput(raw.logits.numpy(), raw.probabilities.numpy(), raw.boxes)

    expected = tiled_maps(pictures, config, CPU, runner._run, 3)
    for one, other in zip(expected, tiled_array_maps(pictures, config, run, 2, PredictConfig()), strict=True):
        (classes, defect), (classes_too, defect_too) = one.arrays(), other.arrays()
        assert (classes == classes_too).all()
        assert np.abs(defect.astype(int) - defect_too).max() <= 1
        assert one.probability == other.probability == pytest.approx(0.75)
        assert np.array_equal(one.boxes.boxes, other.boxes.boxes) and np.array_equal(
            one.boxes.scores, other.boxes.scores
        )


class _Grey(Everything):
    """Looks at the first channel alone."""

    def forward(self, images: torch.Tensor):
        return super().forward(images[:, :1])
