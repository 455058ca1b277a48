"""Pictures to the network's input and back: scale, padding, both depths, both modes."""

import numpy as np
import pytest
import torch

from defectctl.config.schema import InputConfig
from defectctl.imaging.geometry import Geometry
from defectctl.loading import network_input
from defectctl.loading.network_input import masks_to_network, to_network, to_unit

CPU = torch.device("cpu")


def config(**values):
    return InputConfig(**{"size": [32, 32], **values})


def test_eight_and_sixteen_bit_of_the_same_scene_give_the_same_input():
    eight = np.arange(256, dtype=np.uint8).repeat(4).reshape(32, 32)
    sixteen = eight.astype(np.uint16) * 257
    images, _ = to_unit([eight, sixteen], config(colour="grey"), CPU)
    assert torch.allclose(images[0], images[1], atol=1e-6)
    assert images.shape == (2, 1, 32, 32) and images.is_contiguous(memory_format=torch.channels_last)


def test_many_large_pictures_are_not_all_held_in_float_at_once(monkeypatch):
    pictures = list(np.random.default_rng(0).integers(0, 256, (5, 40, 50, 3), dtype=np.uint8))
    whole, _ = to_unit(pictures, config(), CPU)
    resize, seen = network_input._resize, []

    def counted(images, *size):
        seen.append(len(images))
        return resize(images, *size)

    monkeypatch.setattr(network_input, "_resize", counted)
    monkeypatch.setattr(network_input, "RESIZE_VALUES", 2 * 40 * 50 * 3 + 1, raising=False)
    parts, _ = to_unit(pictures, config(), CPU)
    assert seen == [2, 2, 1] and torch.equal(parts, whole)


def test_twelve_bit_levels_all_survive():
    ramp = (np.arange(4096, dtype=np.uint32) * 65535 // 4095).astype(np.uint16).reshape(64, 64)
    images, _ = to_unit([ramp], config(size=[64, 64], colour="grey"), CPU)
    assert len(torch.unique(images)) == 4096


def test_resize_keeps_the_aspect_ratio_and_pads_with_grey_and_unknown():
    picture = np.full((20, 40, 3), 255, np.uint8)
    images, where = to_unit([picture], config(), CPU)
    assert where[0] == Geometry(40, 20, 32, 32, 32, 16, 0, 8)
    assert torch.all(images[0, :, 8:24] > 0.9999) and torch.all(images[0, :, :8] == 0.5)
    masks = masks_to_network([np.ones((20, 40), np.uint8)], where, CPU)
    assert torch.all(masks[0, 8:24] == 1) and torch.all(masks[0, :8] == 255) and torch.all(masks[0, 24:] == 255)


def test_stretch_fills_the_input():
    images, where = to_unit([np.full((20, 40), 255, np.uint8)], config(mode="stretch", colour="grey"), CPU)
    assert where[0].inner_height == 32 and torch.all(images > 0.9999)


def test_a_mixture_of_sizes_gives_the_same_as_each_alone():
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, 256, shape, dtype=np.uint8) for shape in [(20, 40, 3), (50, 50, 3), (20, 40, 3)]]
    together, _ = to_network(pictures, config(normalise="imagenet"), CPU)
    alone = torch.cat([to_network([p], config(normalise="imagenet"), CPU)[0] for p in pictures])
    assert torch.allclose(together, alone, atol=1e-6)


def test_imagenet_normalisation_of_a_known_colour():
    picture = np.full((32, 32, 3), 255, np.uint8)
    images, _ = to_network([picture], config(normalise="imagenet"), CPU)
    assert images[0, :, 0, 0].tolist() == pytest.approx([2.2489, 2.4286, 2.64], abs=1e-3)  # (1 - mean) / std


def test_a_box_goes_there_and_back():
    where = Geometry.fit(500, 1250, 1408, 512)
    box = (10.0, 20.0, 300.5, 999.0)
    assert where.to_image(where.to_network(box)) == pytest.approx(box)
