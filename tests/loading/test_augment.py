"""Augmentation moves image, mask and boxes together, and draws the same for the same seed."""

import pytest
import torch

from defectctl.loading.augment import Augment


def spot(height=24, width=24):
    """A bright 3x5 rectangle (rows 4..7, columns 10..15) with its mask and box."""
    image = torch.zeros(1, 3, height, width)
    image[:, :, 4:7, 10:15] = 1.0
    mask = (image[:, 0] > 0.5).to(torch.uint8)
    return image, mask, [torch.tensor([[10.0, 4, 15, 7]])]


@pytest.mark.parametrize("size", [(24, 24), (20, 32)])
@pytest.mark.parametrize(
    "items", [[{"hflip": 1.0}], [{"vflip": 1.0}], [{"rot90": 1.0}], [{"hflip": 0.5}, {"vflip": 0.5}, {"rot90": 1.0}]]
)
def test_turns_and_mirrors_are_exact_and_move_all_three_alike(size, items):
    seen = set()
    for seed in range(20):
        images, masks, boxes = Augment(items)(*spot(*size), torch.Generator().manual_seed(seed))
        assert torch.equal((images[0, 0] > 0.5).to(torch.uint8), masks[0])
        assert masks.sum() == 15
        rows, columns = torch.nonzero(masks[0], as_tuple=True)
        expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert boxes[0][0].tolist() == pytest.approx([float(v) for v in expected], abs=1e-4)
        seen.add(tuple(boxes[0][0].round().tolist()))
    if items == [{"rot90": 1.0}]:
        assert len(seen) == (4 if size[0] == size[1] else 2)


def test_rotation_and_scale_keep_image_mask_and_box_together():
    augment = Augment([{"rotate": {"degrees": 30, "p": 1.0}}, {"scale": {"low": 1.5, "high": 1.6, "p": 1.0}}])
    image, mask, boxes = spot(96, 96)
    image[:, :, 40:60, 30:70] = 1.0
    mask = (image[:, 0] > 0.5).to(torch.uint8)
    image[:, :, 4:7], mask[:, 4:7] = 0, 0
    boxes = [torch.tensor([[30.0, 40, 70, 60]])]
    images, masks, moved = augment(image, mask, boxes, torch.Generator().manual_seed(3))
    agreement = ((images[0, 0] > 0.5) == masks[0].bool()).float().mean()
    assert agreement > 0.99
    assert masks.sum().item() == pytest.approx(800 * 1.55**2, rel=0.1)  # area grows with the square of the scale
    rows, columns = torch.nonzero(masks[0], as_tuple=True)
    tight = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()
    assert torch.allclose(moved[0][0], tight, atol=1.5)


def test_same_generator_same_draws_and_no_values_outside_the_unit_range():
    items = [
        {"hflip": 0.5},
        {"rotate": {"degrees": 10, "p": 1}},
        {"brightness": {"amount": 0.9, "p": 1}},
        {"contrast": {"amount": 0.5, "p": 1}},
        {"blur": {"p": 1}},
        {"noise": {"amount": 0.5, "p": 1}},
    ]
    first = Augment(items)(*spot(), torch.Generator().manual_seed(5))
    second = Augment(items)(*spot(), torch.Generator().manual_seed(5))
    other = Augment(items)(*spot(), torch.Generator().manual_seed(6))
    assert torch.equal(first[0], second[0]) and not torch.equal(first[0], other[0])
    assert first[0].min() >= 0 and first[0].max() <= 1


def test_no_steps_leaves_everything_alone():
    image, mask, boxes = spot()
    images, masks, moved = Augment([])(image, mask, boxes, torch.Generator())
    assert torch.equal(images, image) and torch.equal(masks, mask) and torch.equal(moved[0], boxes[0])


@pytest.mark.parametrize("reflect", [True, False])
def test_what_lies_beyond_the_edge_of_a_shrunk_image(reflect):
    """Shrunk to a half, the image fills the middle 8x8; a mirrored defect would stand there without its box."""
    images = torch.full((1, 1, 16, 16), 0.9)
    masks = torch.ones(1, 16, 16, dtype=torch.uint8)
    shrink = Augment([{"scale": {"low": 0.5, "high": 0.5, "p": 1.0}}], reflect)
    images, masks, boxes = shrink(images, masks, [torch.tensor([[0.0, 0.0, 16.0, 16.0]])], torch.Generator())
    assert boxes[0].tolist() == [[4.0, 4.0, 12.0, 12.0]]
    assert (masks[0, 4:12, 4:12] == 1).all() and images[0, 0, 5:11, 5:11].sub(0.9).abs().max() < 1e-6
    outside = torch.cat([masks[0, :4].flatten(), masks[0, :, :4].flatten(), masks[0, 12:].flatten()])
    assert (outside == (1 if reflect else 255)).all()
    assert images[0, 0, 0].sub(0.9 if reflect else 0.5).abs().max() < 1e-6
