"""What counts as agreement, on maps made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from defectctl.config.schema import InputConfig
from defectctl.export.parity import Parity, compare
from defectctl.inference.base_runner import Runner
from defectctl.inference.detections import FoundBoxes
from defectctl.inference.device import Place
from defectctl.inference.maps import Maps


class Says(Runner):
    """Answers with maps given beforehand, whatever it is shown."""

    precision = "float32"

    def __init__(self, *answers: Maps) -> None:
        super().__init__(InputConfig(size=[32, 32]), Place("cpu"))
        self.answers = list(answers)

    def _batch(self, pictures: list[np.ndarray]) -> list[Maps]:
        return [self.answers.pop(0) for _ in pictures]

    def _tiles(self, pictures: list[np.ndarray], at_once: int) -> list[Maps]:
        raise AssertionError

    def _memory_is_full(self, error: Exception) -> bool:
        return False

    def _free_memory(self) -> None:
        pass


def mask(defects: int, pixels: int = 10_000) -> Maps:
    """The first so many pixels are defects."""
    classes = (np.arange(pixels) < defects).astype(np.uint8).reshape(100, -1)
    return Maps(classes, classes * 255)


def agreement(first: list[Maps], second: list[Maps]) -> Parity:
    return compare(Says(*first), Says(*second), [np.zeros((1, 1), np.uint8)] * len(first))


def test_pixels_and_defects_are_counted_over_all_pictures() -> None:
    parity = agreement([mask(1000), mask(0)], [mask(990), mask(0)])
    assert parity.same_pixels == 1 - 10 / 20_000 and parity.defect_iou == 0.99
    assert parity.defect_share == 0.05 and parity.problems() == []
    assert parity.to_dict().keys() == {"images", "same_pixels", "defect_iou", "defect_share"}


@pytest.mark.parametrize(("defects", "words"), [(980, "overlap by 0.9800"), (1011, "overlap by 0.9891")])
def test_too_different_defects_are_a_problem(defects: int, words: str) -> None:
    assert words in agreement([mask(1000)], [mask(defects)]).problems()[-1]


def test_too_many_different_pixels_are_a_problem() -> None:
    problems = agreement([mask(9000)], [mask(9011)]).problems()
    assert len(problems) == 1 and "99.8900% of the pixels" in problems[0]


def test_two_empty_masks_agree() -> None:
    parity = agreement([mask(0)], [mask(0)])
    assert parity.defect_iou is None and parity.same_pixels == 1 and parity.problems() == []


def test_probabilities_may_differ_by_a_thousandth() -> None:
    def says(chance: float) -> list[Maps]:
        return [Maps(np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.uint8), False, chance)]

    assert agreement(says(0.5), says(0.5009)).problems() == []
    assert agreement(says(0.5), says(0.5009)).same_pixels is None
    assert "differ by 0.0020" in agreement(says(0.5), says(0.502)).problems()[0]
    assert agreement(says(0.5), says(float("nan"))).problems()


def boxes(*rows: tuple[float, float, int]) -> list[Maps]:
    """Boxes of 100 x 100 pixels: left edge, score, class."""
    corners = np.float32([[x, 0, x + 100, 100] for x, _, _ in rows]).reshape(-1, 4)
    found = FoundBoxes(corners, np.float32([s for _, s, _ in rows]), np.int64([c for _, _, c in rows]))
    return [Maps(np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.uint8), False, None, found)]


def test_boxes_need_their_like_on_the_other_side() -> None:
    first = boxes((0, 0.9, 1), (300, 0.5, 2))
    assert agreement(first, boxes((1, 0.895, 1), (300, 0.5, 2))).same_boxes == 1
    # another class; too far (an overlap of 94 to 106 is below 0.95); another score; one too many
    assert agreement(first, boxes((0, 0.9, 2), (300, 0.5, 2))).same_boxes == 0.5
    assert agreement(first, boxes((6, 0.9, 1), (300, 0.5, 2))).same_boxes == 0.5
    assert agreement(first, boxes((0, 0.8, 1), (300, 0.5, 2))).same_boxes == 0.5
    lost = agreement(first, boxes((0, 0.9, 1)))
    assert lost.same_boxes == pytest.approx(2 / 3) and "66.67% of the boxes" in lost.problems()[0]


def test_boxes_far_below_what_is_reported_do_not_count() -> None:
    parity = agreement(boxes((0, 0.9, 1)), boxes((0, 0.9, 1), (300, 0.02, 1)))
    assert parity.boxes == 2 and parity.same_boxes == 1
    nothing = agreement(boxes((300, 0.01, 1)), boxes())
    assert nothing.boxes == 0 and nothing.same_boxes is None and nothing.problems() == []
