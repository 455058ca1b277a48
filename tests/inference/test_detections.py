"""Raw boxes to found ones: own pixels, floors and limits; and models that deliver boxes or verdicts only."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from inference_toys import BrightBox, BrightJudge, Everything

from defectctl.config.schema import InputConfig, PredictConfig
from defectctl.imaging.geometry import Geometry
from defectctl.inference.detections import MOST_BOXES, candidates, choose
from defectctl.inference.runner import TorchRunner
from defectctl.models.output import Boxes

CPU = torch.device("cpu")


def boxes(corners, scores, labels=None) -> Boxes:
    count = len(scores)
    return Boxes(
        torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(scores, dtype=torch.float32),
        torch.tensor(labels or [1] * count, dtype=torch.int64),
    )


@pytest.mark.parametrize(
    "geometry",
    [
        Geometry.fit(130, 70, 64, 96),
        Geometry.fit(130, 70, 64, 96, "stretch"),
        Geometry.tile(130, 70, 64, 96, 6, 30),
        Geometry.tile(50, 70, 64, 96, 3, 0),
    ],
)
def test_boxes_go_back_the_way_single_boxes_go(geometry: Geometry) -> None:
    corners = np.random.default_rng(0).uniform(-10, 100, (40, 4)).astype(np.float32)
    corners[:, 2:] = corners[:, :2] + np.abs(corners[:, 2:])
    expected = [geometry.to_image(tuple(box)) for box in corners.tolist()]
    expected = [box for box in expected if box[2] > box[0] and box[3] > box[1]]
    found = candidates(boxes(corners, [0.5] * 40), geometry)
    np.testing.assert_allclose(found.boxes, expected, atol=1e-3)


def test_low_scores_empty_boxes_and_odd_numbers_are_dropped() -> None:
    corners = [[0, 0, 9, 9], [0, 0, 9, 9], [5, 5, 5, 9], [0, 0, float("inf"), float("nan")], [99, 99, 120, 120]]
    found = candidates(boxes(corners, [0.001001, 0.0009, 0.9, 0.9, 0.9]), Geometry.fit(32, 32, 32, 32))
    assert found.boxes.tolist() == [[0, 0, 9, 9]]


def test_at_most_so_many_boxes_are_kept() -> None:
    corners = [[x, y, x + 1, y + 1] for x in range(0, 60, 2) for y in range(0, 60, 2)]
    scores = np.linspace(0.9, 0.1, len(corners)).tolist()
    geometry = Geometry.fit(64, 64, 64, 64)
    found = choose([candidates(boxes(corners, scores), geometry)], 0.6)
    assert len(found) == MOST_BOXES and found.scores.min() == pytest.approx(scores[MOST_BOXES - 1])


def picture_with(box: tuple[int, int, int, int], shape: tuple[int, int] = (40, 80)) -> np.ndarray:
    picture = np.full(shape, 20, np.uint8)
    picture[box[1] : box[3], box[0] : box[2]] = 250
    return picture


def test_a_model_that_only_detects_has_boxes_and_an_empty_mask() -> None:
    runner = TorchRunner(BrightBox(), InputConfig(size=[80, 80], colour="grey"), CPU, fold=True)
    found, none = runner.maps([picture_with((10, 5, 30, 15)), np.full((40, 80), 9, np.uint8)])
    assert not found.has_mask and found.probability is None
    assert found.class_map.shape == found.defect.shape == (40, 80) and not found.class_map.any()
    assert found.boxes.boxes.tolist() == [[10, 5, 30, 15]] * 2 and found.boxes.labels.tolist() == [1, 2]
    assert len(none.boxes) == 0
    all_kept = TorchRunner(BrightBox(), runner.input, CPU, predict=PredictConfig(box_iou=1.0))
    assert len(all_kept.maps([picture_with((10, 5, 30, 15))])[0].boxes) == 3


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_model_that_only_decides(precision: str) -> None:
    runner = TorchRunner(BrightJudge(), InputConfig(size=[32, 32], colour="grey"), CPU, precision)
    found = runner.maps([picture_with((0, 0, 9, 9), (32, 32)), np.full((32, 32), 9, np.uint8)])
    assert [maps.probability for maps in found] == pytest.approx([0.75, 0.25], abs=2e-3)
    assert found[0].boxes is None and not found[0].has_mask
    assert runner.logits(torch.zeros(1, 1, 32, 32)) is None


def test_a_model_of_all_tasks() -> None:
    runner = TorchRunner(Everything(), InputConfig(size=[40, 80], colour="grey"), CPU)
    maps = runner.maps([picture_with((10, 5, 30, 15))])[0]
    assert maps.has_mask and maps.class_map.sum() == 200 and maps.probability == pytest.approx(0.75)
    assert maps.boxes.boxes[0].tolist() == [10, 5, 30, 15]
