"""The per-image table: counting, storing, joining."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from defectctl.errors import InputError
from defectctl.metrics.boxes import Detections, box_metrics
from defectctl.metrics.table import ImageTable, count_image, join


def small_table(ids: list[str], seed: int = 0) -> ImageTable:
    rng = np.random.default_rng(seed)
    n = len(ids)
    return ImageTable(
        ids,
        ["scratch", "fläche"],
        rng.integers(0, 99, (n, 3, 3)),
        rng.integers(0, 9, n),
        rng.random(n),
        rng.integers(-1, 2, n),
        rng.random((n, 3)) > 0.5,
        rng.integers(0, 9, (n, 256)),
        rng.integers(0, 9, (n, 256)),
    )


def test_hand_counted_image():
    truth = np.array([[0, 1], [255, 2]], np.uint8)
    prediction = np.array([[0, 1], [2, 1]], np.uint8)
    counts = count_image(truth, prediction, np.ones(3, bool), np.array([[10, 200], [250, 180]], np.uint8))
    assert counts.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
    assert counts.unknown == 1
    assert np.flatnonzero(counts.positives).tolist() == [180, 200]
    assert np.flatnonzero(counts.negatives).tolist() == [10]


def test_background_predicted_as_a_class_the_mask_is_silent_about_is_left_out():
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    prediction = np.array([[2, 1, 2, 1]], np.uint8)
    counts = count_image(truth, prediction, np.array([True, True, False]))
    assert counts.confusion.tolist() == [[0, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert counts.unknown == 1
    assert counts.negatives.sum() == 1 and counts.positives.sum() == 2


def test_truth_of_a_class_the_mask_is_silent_about_is_left_out():
    truth = np.array([[2, 2, 0, 1]], np.uint8)
    counts = count_image(truth, np.array([[0, 2, 0, 1]], np.uint8), np.array([True, True, False]))
    assert counts.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert counts.unknown == 2


def test_no_truth_counts_nothing():
    counts = count_image(None, np.ones((3, 4), np.uint8), np.zeros(3, bool))
    assert counts.confusion.sum() == 0 and counts.unknown == 12 and counts.positives.sum() == 0


def test_save_and_load_give_the_same_table(tmp_path: Path):
    table = small_table(["a/ж.png", "b.png"])
    table.save(tmp_path / "t.npz")
    back = ImageTable.load(tmp_path / "t.npz")
    assert back.ids == table.ids and back.classes == table.classes
    for name in ("confusion", "unknown", "score", "defective", "known", "positives", "negatives"):
        assert np.array_equal(getattr(back, name), getattr(table, name))
        assert getattr(back, name).dtype == getattr(table, name).dtype


@pytest.mark.parametrize("data", [b"", b"nonsense", b"PK\x03\x04broken"])
def test_a_broken_file_is_named(tmp_path: Path, data: bytes):
    (tmp_path / "t.npz").write_bytes(data)
    with pytest.raises(InputError, match=r"t\.npz"):
        ImageTable.load(tmp_path / "t.npz")


def test_join_sorts_by_id_and_refuses_doubles():
    left, right = small_table(["c", "a"]), small_table(["b"], seed=1)
    whole = join([left, right])
    assert whole.ids == ["a", "b", "c"]
    assert np.array_equal(whole.confusion[0], left.confusion[1])
    assert np.array_equal(whole.score, [left.score[1], right.score[0], left.score[0]])
    with pytest.raises(InputError, match="'a'"):
        join([left, small_table(["a"])])
    with pytest.raises(InputError, match="no table"):
        join([])


def test_select_takes_rows_or_a_condition():
    table = small_table(["a", "b", "c"])
    assert table.select([2, 0]).ids == ["c", "a"]
    assert table.select(np.array([False, True, False])).ids == ["b"]
    assert len(table.select([])) == 0


def test_a_column_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="confusion"):
        ImageTable(
            ["a"], ["x"], np.zeros((1, 3, 3)), [0], [0], [0], np.ones((1, 2)), np.zeros((1, 256)), np.zeros((1, 256))
        )


def with_boxes(ids: list[str], seed: int = 0) -> ImageTable:
    """A table with two boxes in each image, the score of each telling image and box."""
    rng = np.random.default_rng(seed)
    table, n = small_table(ids, seed), len(ids)
    rows = np.repeat(np.arange(n), 2)
    scores = [float(f"0.{ord(i[0])}{k}") for i in ids for k in (2, 1)]
    flags = rng.random((2, 2 * n, 10)) < 0.5
    labels, truths = rng.integers(1, 3, 2 * n), np.pad(rng.integers(0, 4, (n, 2)), ((0, 0), (1, 0)))
    table.detections = Detections(rows, labels, scores, *flags, truths)
    return table


def boxes_of(table: ImageTable) -> dict[str, tuple]:
    found = table.detections
    return {
        name: (
            *(getattr(found, c)[found.row == n].tolist() for c in ("label", "score", "matched", "ignored")),
            found.truths[n].tolist(),
        )
        for n, name in enumerate(table.ids)
    }


def test_boxes_follow_their_images_through_file_choice_and_join(tmp_path: Path):
    left, right = with_boxes(["c", "a"]), with_boxes(["b"], seed=1)
    left.save(tmp_path / "t.npz")
    assert boxes_of(ImageTable.load(tmp_path / "t.npz")) == boxes_of(left)
    whole = join([left, right])
    assert boxes_of(whole) == {**boxes_of(left), **boxes_of(right)} and whole.ids == ["a", "b", "c"]
    assert boxes_of(whole.select([2, 0])) == boxes_of(left)
    assert boxes_of(whole.select([])) == {}
    assert box_metrics(join([right, left]).detections, whole.classes) == box_metrics(whole.detections, whole.classes)


def test_tables_with_and_without_boxes_are_not_joined():
    with pytest.raises(InputError, match="boxes"):
        join([with_boxes(["a"]), small_table(["b"])])
