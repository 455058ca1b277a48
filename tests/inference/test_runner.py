"""The runner's maps against torch's own operations, for mixed sizes, folding, precision and full memory."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from defectctl.config.schema import InputConfig
from defectctl.errors import RunError
from defectctl.imaging.geometry import Geometry
from defectctl.inference import maps as maps_module
from defectctl.inference.runner import TorchRunner, fold_batch_norm, maps_from_logits
from defectctl.models.output import Output

CPU = torch.device("cpu")


class TinyNet(nn.Module):
    """Two strided convolutions with batch norm that has statistics of its own."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1, groups=2), nn.BatchNorm2d(8)),
            nn.ReLU(),
            nn.Conv2d(8, classes, 1),
        )
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.normal_(module.bias)

    def forward(self, images: torch.Tensor) -> Output:
        return Output(mask_logits=self.body(images))


def make_pictures(*sizes: tuple[int, int]) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in sizes]


def test_folding_keeps_the_output_and_the_model() -> None:
    model = TinyNet().eval()
    before = copy.deepcopy(model.state_dict())
    images = torch.rand(2, 3, 32, 32)
    folded = fold_batch_norm(copy.deepcopy(model))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    torch.testing.assert_close(folded(images).mask_logits, model(images).mask_logits, rtol=1e-4, atol=1e-4)
    TorchRunner(model, InputConfig(size=[32, 32]), CPU, "bf16", fold=True).maps(make_pictures((32, 32)))
    assert all(torch.equal(before[k], v) and v.dtype == before[k].dtype for k, v in model.state_dict().items())


def test_batch_norm_in_training_is_not_folded() -> None:
    model = TinyNet().train()
    assert any(isinstance(m, nn.BatchNorm2d) for m in fold_batch_norm(model).modules())


def test_mixed_sizes_come_back_in_their_own_pixels_and_as_if_alone() -> None:
    runner = TorchRunner(TinyNet(), InputConfig(size=[64, 64]), CPU)
    pictures = make_pictures((40, 80), (64, 64), (40, 80), (33, 17))
    together = runner.maps(pictures)
    for picture, maps in zip(pictures, together, strict=True):
        assert tuple(maps.class_map.shape) == tuple(maps.defect.shape) == picture.shape[:2]
        assert maps.class_map.dtype == maps.defect.dtype == torch.uint8
        alone = runner.maps([picture])[0]
        assert (alone.class_map != maps.class_map).float().mean() < 1e-3
        assert (alone.defect.int() - maps.defect.int()).abs().max() <= 1


def test_maps_are_argmax_and_one_minus_background() -> None:
    logits = torch.randn(1, 4, 24, 32)
    maps = maps_from_logits(logits, [Geometry.fit(32, 24, 24, 32)])[0]
    chance = torch.softmax(logits.double(), 1)
    assert torch.equal(maps.class_map.long(), chance.argmax(1)[0])
    assert (maps.defect.double() - 255 * (1 - chance[0, 0])).abs().max() <= 0.5001


def test_padding_is_cropped_before_the_own_size_is_reached() -> None:
    geometry = Geometry.fit(40, 20, 40, 40)
    logits = torch.zeros(1, 2, 40, 40)
    logits[:, 1] = -5.0
    logits[:, 1, : geometry.top] = 50.0
    logits[:, 1, geometry.top + geometry.inner_height :] = 50.0
    maps = maps_from_logits(logits, [geometry])[0]
    assert maps.class_map.shape == (20, 40) and not maps.class_map.any()


def test_large_groups_are_brought_back_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, geometries = torch.randn(5, 3, 8, 8), [Geometry.fit(16, 16, 32, 32)] * 5
    whole = maps_from_logits(logits, geometries)
    monkeypatch.setattr(maps_module, "UPSAMPLE_VALUES", 2 * 3 * 32 * 32)
    parts = maps_from_logits(logits, geometries)
    assert all(torch.equal(a.class_map, b.class_map) for a, b in zip(whole, parts, strict=True))


def test_bf16_agrees_with_float32() -> None:
    pictures = make_pictures((64, 64), (50, 70))
    config = InputConfig(size=[64, 64])
    exact = TorchRunner(TinyNet(), config, CPU).maps(pictures)
    quick = TorchRunner(TinyNet(), config, CPU, "bf16", fold=True).maps(pictures)
    for a, b in zip(exact, quick, strict=True):
        assert (a.class_map == b.class_map).float().mean() > 0.97
        assert (a.defect.int() - b.defect.int()).abs().float().mean() < 3


class Hungry(nn.Module):
    """Runs out of memory above a batch size."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.batches: list[int] = []

    def forward(self, images: torch.Tensor) -> Output:
        self.batches.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return Output(mask_logits=torch.zeros(len(images), 2, 8, 8))


def test_full_memory_halves_the_batch_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    model = Hungry(3)
    runner = TorchRunner(model, InputConfig(size=[32, 32]), CPU)
    assert len(runner.maps(make_pictures(*[(32, 32)] * 9))) == 9
    assert model.batches == [9, 4, 2, 2, 2, 2, 1]
    assert "out of memory" in capsys.readouterr().err
    with pytest.raises(RunError, match="single picture"):
        TorchRunner(Hungry(0), InputConfig(size=[32, 32]), CPU).maps(make_pictures((32, 32)))
