"""The contact sheet: outlines in class colours, thin defects kept, any size and depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defectctl.imaging.palette import UNKNOWN_COLOUR, class_colours
from defectctl.reports.sheet import TILE, SheetRow, draw_boxes, draw_sheet, fitted_size, heat_map, outline

COLOURS = class_colours(2)


def count(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((picture == np.array(colour)).all(axis=-1).sum())


def test_outlines_have_the_colour_of_their_class_and_leave_the_inside_visible():
    mask = np.zeros((100, 100), np.uint8)
    mask[20:80, 20:80] = 2
    picture = outline(np.full((100, 100), 90, np.uint8), mask, COLOURS)
    assert picture.shape == (TILE, TILE, 3)
    assert count(picture, COLOURS[1]) > 4 * 60 and count(picture, COLOURS[0]) == 0
    assert picture[TILE // 2, TILE // 2].tolist() == [90, 90, 90]


def test_a_scratch_one_pixel_wide_survives_a_smaller_picture():
    mask = np.zeros((2000, 3000), np.uint8)
    mask[1001, 100:2900] = 1
    mask[0:50, 0:50] = 255
    picture = outline(np.zeros((2000, 3000, 3), np.uint16), mask, COLOURS)
    assert count(picture, COLOURS[0]) >= 400
    assert count(picture, UNKNOWN_COLOUR) > 10


def test_sixteen_bit_is_shown_at_its_own_brightness():
    assert outline(np.full((9, 9), 40_000, np.uint16), None, COLOURS)[3, 3].tolist() == [156] * 3


@pytest.mark.parametrize(
    ("size", "fitted"), [((200, 200), (480, 480)), ((1, 5000), (1, 480)), ((960, 480), (480, 240))]
)
def test_proportions_are_kept(size, fitted):
    assert fitted_size(*size) == fitted


def test_a_sheet_of_mixed_rows_is_written(tmp_path: Path):
    image, mask = np.full((40, 60), 80, np.uint8), np.zeros((40, 60), np.uint8)
    mask[5:20, 5:20] = 1
    rows = [
        SheetRow("ж/$a$" * 30, image, mask, mask),
        SheetRow("b", np.full((90, 20, 3), 9, np.uint8), None, np.zeros((90, 20), np.uint8)),
    ]
    draw_sheet(rows, ["inclusion", "裂纹"], COLOURS, tmp_path / "s.png", "worst")
    picture = np.asarray(Image.open(tmp_path / "s.png").convert("RGB"))
    assert picture.shape[1] > 900
    assert np.abs(picture.astype(int) - COLOURS[0]).sum(axis=-1).min() < 12


def written(path: Path, rows: list[SheetRow]) -> np.ndarray:
    draw_sheet(rows, ["inclusion", "scratch"], COLOURS, path)
    return np.asarray(Image.open(path).convert("RGB"))


def test_the_sheet_has_the_columns_that_the_model_fills(tmp_path: Path):
    """A defect map makes it wider, a verdict alone narrower than truth and prediction."""
    image, mask = np.full((60, 60), 80, np.uint8), np.zeros((60, 60), np.uint8)
    boxes = [(1, (10.0, 10.0, 30.0, 30.0), 0.9)]
    three = written(tmp_path / "a.png", [SheetRow("a", image, mask, mask)])
    four = written(tmp_path / "b.png", [SheetRow("a", image, mask, mask, np.full((60, 60), 255, np.uint8))])
    detector = written(tmp_path / "c.png", [SheetRow("a", image, None, None, None, [(2, boxes[0][1])], boxes)])
    verdict = written(tmp_path / "d.png", [SheetRow("a", image, None, None, remark="good, score 0.90")])
    assert four.shape[1] > 1.2 * three.shape[1] and verdict.shape[1] < 0.6 * three.shape[1]
    assert all(np.abs(detector.astype(int) - c).sum(axis=-1).min() < 12 for c in COLOURS)


def test_a_weak_defect_map_looks_weak():
    low, high = (heat_map(np.full((20, 30), level, np.uint8)) for level in (0, 255))
    assert low.shape == (320, 480, 3) and low.max() < 10 and high[..., :2].min() > 200
    assert heat_map(np.full((20, 30), 60, np.uint8)).mean() < 100


def test_boxes_are_drawn_where_they_lie_in_the_fitted_picture():
    picture = np.zeros((240, 480, 3), np.uint8)
    draw_boxes(picture, [(2, (50.0, 20.0, 100.0, 80.0), None)], (100, 200), COLOURS)
    rows, columns = np.nonzero((picture == COLOURS[1]).all(axis=-1))
    assert abs(rows.min() - 48) <= 5 and abs(rows.max() - 192) <= 5
    assert abs(columns.min() - 120) <= 5 and abs(columns.max() - 240) <= 5
    assert not picture[70:170, 140:220].any()
