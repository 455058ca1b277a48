"""The network's input made by numpy and OpenCV against the one made by torch, for sizes, depths, modes and colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from defectctl.config.schema import InputConfig
from defectctl.loading.array_input import resize_picture, to_network_array
from defectctl.loading.network_input import to_network

SIZES = ((200, 200), (40, 80), (150, 130), (33, 300), (64, 64), (1, 1), (97, 65), (700, 31))


def make_picture(size: tuple[int, int], colour: str, dtype: type = np.uint8) -> np.ndarray:
    shape = size if colour == "grey" else (*size, 3)
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


@pytest.mark.parametrize("normalise", ["zero-one", "imagenet"])
@pytest.mark.parametrize("mode", ["resize", "stretch"])
@pytest.mark.parametrize("colour", ["rgb", "grey"])
def test_every_value_is_torchs(colour: str, mode: str, normalise: str) -> None:
    for net in ([64, 96], [96, 64]):
        config = InputConfig(size=net, mode=mode, colour=colour, normalise=normalise)
        for dtype in (np.uint8, np.uint16):
            pictures = [make_picture(size, colour, dtype) for size in SIZES]
            expected, where = to_network(pictures, config, torch.device("cpu"))
            found, where_too = to_network_array(pictures, config)
            assert found.dtype == np.float32 and found.shape == expected.shape and where == where_too
            # a hundredth of an 8-bit grey level, in units of ImageNet's deviation where it is normalised
            assert np.abs(found - expected.numpy()).max() < 4e-5 * (1 if normalise == "zero-one" else 5)


def test_tiles_are_padded_and_never_resized() -> None:
    config = InputConfig(size=[64, 96], mode="tile")
    picture = make_picture((40, 50), "rgb")
    found, _ = to_network_array([picture], config)
    assert np.allclose(found[0, :, 12:52, 23:73], picture.transpose(2, 0, 1) / 255)
    assert (found[0, :, :12] == 0.5).all() and (found[0, :, :, :23] == 0.5).all()


def test_shrinking_looks_at_every_pixel() -> None:
    """A fine chequered board turns grey; plain bilinear sampling would make it black, white or a pattern."""
    board = np.indices((256, 256)).sum(axis=0) % 2
    small = resize_picture(board.astype(np.float32), 31, 31)
    assert np.abs(small - 0.5).max() < 0.02


def test_mixed_growing_and_shrinking_is_torchs_antialiased_resizing() -> None:
    picture = np.random.default_rng(1).random((30, 200, 3), np.float32)
    expected = functional.interpolate(
        torch.from_numpy(picture).permute(2, 0, 1)[None], (90, 41), mode="bilinear", antialias=True
    )
    found = resize_picture(picture, 90, 41)
    assert np.abs(found - expected[0].permute(1, 2, 0).numpy()).max() < 1e-5
