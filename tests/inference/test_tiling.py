"""Tiles against the whole picture: no seams, nothing lost at edges, any size, boxes and verdicts joined."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from inference_toys import Bright, Everything
from torch import nn

from defectctl.config.schema import InputConfig, PredictConfig
from defectctl.errors import RunError
from defectctl.inference.runner import TorchRunner
from defectctl.models.output import Output

CPU = torch.device("cpu")
TILES = InputConfig(size=[32, 40], mode="tile", overlap=0.25, colour="grey")


class Blur(nn.Module):
    """Three classes from the means of neighbourhoods: what a pixel is depends on five pixels around it."""

    def __init__(self, activation: str = "softmax") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.Conv2d(6, 3, 7, padding=3))

    def forward(self, images: torch.Tensor) -> Output:
        return Output(mask_logits=3 * self.body(images))


def runner_of(model: nn.Module, size: list[int], mode: str = "resize", **predict) -> TorchRunner:
    config = InputConfig(size=size, mode=mode, overlap=0.5 if mode == "tile" else 0.25, colour="grey")
    return TorchRunner(model, config, CPU, predict=PredictConfig(**predict))


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_tiles_equal_the_whole_where_a_tile_sees_enough(activation: str) -> None:
    """A pixel in the middle of some tile has nearly all its weight there; the others add what their edges saw."""
    picture, model = noise(96, 120), Blur()
    whole = runner_of(model, [96, 120], activation=activation).maps([picture])[0]
    tiled = runner_of(model, [64, 64], mode="tile", activation=activation).maps([picture])[0]
    difference = (whole.defect.int() - tiled.defect.int()).abs()
    assert tiled.class_map.shape == (96, 120) and tiled.class_map.unique().numel() == 3
    assert difference[2:-2, 2:-2].max() <= 6 and difference.float().mean() < 0.3
    assert (whole.class_map != tiled.class_map).float().mean() < 0.01


def test_one_tile_is_the_whole_and_pointwise_networks_see_no_tiles() -> None:
    for model, size in ((Blur(), [96, 120]), (Bright(), [32, 40])):
        picture = noise(96, 120)
        whole = runner_of(model, [96, 120]).maps([picture])[0]
        tiled = runner_of(model, size, mode="tile").maps([picture])[0]
        assert torch.equal(whole.class_map, tiled.class_map)
        assert (whole.defect.int() - tiled.defect.int()).abs().max() <= 1


def test_a_constant_picture_gives_a_constant_map() -> None:
    class Level(nn.Module):
        """A stride of 4, and the same everywhere."""

        def forward(self, images: torch.Tensor) -> Output:
            small = nn.functional.avg_pool2d(images, 4)
            return Output(mask_logits=torch.cat([torch.zeros_like(small), 5 * small - 2], dim=1))

    found = runner_of(Level(), [32, 40], mode="tile").maps([np.full((77, 131), 90, np.uint8)])[0]
    assert found.class_map.unique().numel() == 1 and found.defect.unique().numel() == 1


@pytest.mark.parametrize("shape", [(20, 25), (20, 90), (100, 25), (32, 40), (75, 93)])
@pytest.mark.parametrize("deep", [False, True])
def test_pictures_of_any_size_keep_their_pixels(shape: tuple[int, int], deep: bool) -> None:
    picture = noise(*shape)
    expected = (picture > 127).astype(np.uint8)
    found = TorchRunner(Bright(), TILES, CPU).maps([picture.astype(np.uint16) * 257 if deep else picture])[0]
    assert np.array_equal(found.class_map.numpy(), expected)


def test_colour_and_normalisation_reach_the_tiles_as_they_reach_whole_pictures() -> None:
    class Sum(nn.Module):
        """Logits from all three channels."""

        def forward(self, images: torch.Tensor) -> Output:
            value = (images * torch.tensor([1.0, 2.0, -1.5]).view(1, 3, 1, 1)).sum(1, keepdim=True)
            return Output(mask_logits=torch.cat([torch.zeros_like(value), value], 1))

    picture = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    settings = {"colour": "rgb", "normalise": "imagenet"}
    whole = TorchRunner(Sum(), InputConfig(size=[64, 96], **settings), CPU).maps([picture])[0]
    tiled = TorchRunner(Sum(), InputConfig(size=[32, 40], mode="tile", **settings), CPU).maps([picture])[0]
    assert (whole.defect.int() - tiled.defect.int()).abs().max() <= 1


def test_boxes_and_verdicts_of_all_tiles_are_joined() -> None:
    """One bright patch in a single corner: one box in the picture's own pixels, and the part is defective."""
    picture, dark = np.full((75, 93), 20, np.uint8), np.full((20, 25), 20, np.uint8)
    picture[60:66, 80:90] = 250
    found, none = TorchRunner(Everything(), TILES, CPU, predict=PredictConfig(batch_size=2)).maps([picture, dark])
    assert found.boxes is not None and none.boxes is not None
    assert found.boxes.boxes.tolist() == [[80, 60, 90, 66]] * 2 and found.boxes.labels.tolist() == [1, 2]
    assert found.boxes.scores.tolist() == pytest.approx([0.9, 0.1]) and len(none.boxes) == 0
    assert found.probability == pytest.approx(0.75) and none.probability == pytest.approx(0.25)
    assert found.class_map.sum() == 60 and not none.class_map.any()


class Counting(nn.Module):
    """Remembers the sizes of its batches and refuses large ones."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.batches = most, []

    def forward(self, images: torch.Tensor) -> Output:
        self.batches.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return Output(mask_logits=torch.zeros(len(images), 2, 8, 8))


def test_tiles_of_several_pictures_share_batches_and_full_memory_halves_them(capsys) -> None:
    model = Counting(99)
    picture = noise(32, 70)  # two tiles
    found = TorchRunner(model, TILES, CPU, predict=PredictConfig(batch_size=4)).maps([picture] * 5)
    assert model.batches == [4, 4, 2] and len(found) == 5
    model = Counting(2)
    assert len(TorchRunner(model, TILES, CPU, predict=PredictConfig(batch_size=4)).maps([picture] * 3)) == 3
    assert model.batches == [4, 2, 2, 2] and "4 tiles" in capsys.readouterr().err
    with pytest.raises(RunError, match="single picture"):
        TorchRunner(Counting(0), TILES, CPU).maps([picture])
