"""What is measured on images: hand-worked sizes, positions and brightness, and a draw of examples that lasts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defectctl.dataset.survey import BOXES, GOOD, GRID, MASKS, SHARE_UNIT, LogHistogram, Survey, measure
from defectctl.dataset.types import Object
from defectctl.imaging.components import find_components
from defectctl.imaging.pixel_rule import PixelRule
from defectctl.imaging.reader import ImageInfo


def kind(width=64, height=32, bits=8, channels=1):
    return ImageInfo(width, height, bits, channels, False, False, False, 255)


def test_one_image_worked_by_hand():
    pixels = np.full((32, 64), 100, np.uint8)
    pixels[:, 32:] = 200
    mask = np.zeros((32, 64), np.uint8)
    mask[0:2, 0:4] = 1  # 8 pixels, 4x2
    mask[2, 4] = 1  # touches it by a corner: 9 pixels, 5x3
    mask[20:30, 60:64] = 2
    mask[10, 10] = 255
    facts = measure(pixels, kind(), mask)
    assert (facts.brightness, facts.contrast) == (150, 50)
    assert facts.patches.tolist() == [[1, 9, 5, 3], [2, 40, 4, 10]]
    expected = np.zeros((GRID, GRID))  # a cell is 2 wide, 1 high
    expected[0:2, 0:2], expected[2, 2] = 1, 0.5
    assert (facts.cover[1] == expected).all()
    assert set(facts.cover) == {1, 2} and not len(facts.boxes)


def test_patches_are_those_of_find_components():
    noise = np.random.default_rng(0)
    mask = cv2.resize(noise.integers(0, 5, (20, 30), np.uint8), (97, 61), interpolation=cv2.INTER_NEAREST)
    mask[mask == 4] = 255
    facts = measure(mask, kind(97, 61), mask)
    truth = sorted((c.label, c.area, c.box[2] - c.box[0], c.box[3] - c.box[1]) for c in find_components(mask)[1])
    assert sorted(map(tuple, facts.patches.tolist())) == truth


def test_more_patches_than_16_bits_can_number():
    mask = np.zeros((530, 530), np.uint8)
    mask[::2, ::2] = 1
    patches = measure(mask, kind(530, 530), mask).patches
    assert len(patches) == 265 * 265 > 65535 and (patches[:, 1:] == 1).all()


@pytest.mark.parametrize("size", [(5, 7), (31, 33), (200, 90)])
def test_covered_cells_add_up_to_the_area_for_every_size(size):
    mask = np.random.default_rng(1).integers(0, 2, size, np.uint8)
    cover = measure(mask, kind(size[1], size[0]), mask).cover[1]
    assert cover.mean() * mask.size == pytest.approx(mask.sum(), rel=1e-5)


def test_boxes_count_where_the_mask_does_not_speak():
    boxes = [Object(1, (0, 0, 32, 8)), Object(2, (32, 0, 64, 32)), Object(1, (0, 0, 9, 9), crowd=True)]
    facts = measure(np.zeros((32, 64), np.uint8), kind(), None, boxes, masked=(2,))
    assert facts.boxes.tolist() == [[1, 256, 32, 8]]
    assert facts.cover[1][:8, :16].min() == 1 and facts.cover[1].sum() == 8 * 16
    assert 2 not in facts.cover


def test_sizes_positions_and_kinds_are_gathered():
    survey = Survey(2)
    for side in (2, 4, 8):
        mask = np.zeros((32, 32), np.uint8)
        mask[:side, :side] = 2
        survey.add(f"{side}.png", measure(mask, kind(32, 32, channels=3), mask), (2,))
    survey.add("good.png", measure(np.zeros((32, 32), np.uint8), kind(32, 32)), good=True)
    survey.add("box.png", measure(mask, kind(32, 32), None, [Object(1, (0, 0, 4, 3))]), (1,))
    sizes = survey.sizes[MASKS, 2]
    assert (sizes.areas.smallest, sizes.areas.quantile(0.5), sizes.areas.largest) == (4, 16, 64)
    assert [value for value, _ in sizes.sides.bars()] == [2, 4, 8]
    assert sizes.shares.largest / SHARE_UNIT == 64 / 1024
    assert survey.sizes[BOXES, 1].areas.largest == 12 and survey.sizes[BOXES, 1].sides.largest == 3
    assert survey.cover[2][0, 0] == 3 and survey.cover[2][3, 3] == 2 and survey.cover[2][7, 7] == 1
    assert survey.covering.tolist() == [4, 1, 3] and survey.cover[0][0, 0] == 4
    assert survey.kinds == {(8, 3, False, False, False): 3, (8, 1, False, False, False): 2}
    assert survey.examples(2) == ["2.png", "4.png", "8.png"]
    assert survey.examples(GOOD) == ["good.png"] and survey.examples(1) == ["box.png"]


def test_examples_do_not_depend_on_the_order_and_are_few():
    facts = measure(np.zeros((4, 4), np.uint8), kind(4, 4))
    ids = [f"картина {i}.png" for i in range(50)]
    one, other = Survey(1), Survey(1)
    for name in ids:
        one.add(name, facts, (1,))
    for name in reversed(ids):
        other.add(name, facts, (1,))
    assert one.examples(1) == other.examples(1) and len(one.examples(1)) == 4


def test_16_bit_levels_follow_the_pixel_rule():
    pixels = np.zeros((8, 8), np.uint16)
    pixels[:, 4:] = 4095
    survey = Survey(1)
    survey.add("deep", measure(pixels, kind(8, 8, bits=16)))
    survey.add("plain", measure(np.full((8, 8), 51, np.uint8), kind(8, 8)))
    rules = dict.fromkeys(("deep", "plain"), PixelRule(0, 4095))
    assert survey.levels(["deep", "stranger", "plain"], rules) == pytest.approx(np.array([[127.5, 127.5], [51, 0]]))


def test_a_colour_picture_is_measured_as_grey():
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :, 0] = 255
    assert measure(pixels, kind(8, 8, channels=3)).brightness == pytest.approx(0.299 * 255, abs=0.5)


def test_quantiles_are_exact_for_small_values_and_close_for_large_ones():
    values = np.random.default_rng(2).integers(0, 5_000_000, 4001)
    small, large = LogHistogram(), LogHistogram()
    small.add(values % 128)
    large.add(values[:2000])
    large.add(values[2000:])
    assert small.quantile(0.5) == np.sort(values % 128)[2000]
    for share in (0.01, 0.25, 0.5, 0.99):
        assert large.quantile(share) == pytest.approx(np.quantile(values, share), rel=0.02)
    assert (large.quantile(0), large.quantile(1)) == (values.min(), values.max())
    assert large.total == 4001 and len(large.counts) < 2000
    assert LogHistogram().quantile(0.5) == 0
