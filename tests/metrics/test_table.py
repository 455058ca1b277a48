"""The per-image table: counting, storing, joining."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from defectctl.errors import InputError
from defectctl.metrics.boxes import Detections, box_metrics
from defectctl.metrics.instance_matching import match_instances
from defectctl.metrics.instances import INSTANCE_GROUPS, Instances
from defectctl.metrics.region_overlap import Regions, regions_of
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


def full_table(ids: list[str], seed: int = 0) -> ImageTable:
    """A table with everything below the image, made of random masks of two classes; every other image in a group."""
    rng = np.random.default_rng(seed)
    table, known = small_table(ids, seed), np.ones(3, bool)
    truths, guesses = ([np.kron(rng.integers(0, 3, (4, 5)), np.ones((4, 4))) for _ in ids] for _ in range(2))
    levels = [rng.integers(0, 256, (16, 20)).astype(np.uint8) for _ in ids]
    masks = [(t.astype(np.uint8), g.astype(np.uint8)) for t, g in zip(truths, guesses, strict=True)]
    table.instances = Instances.joined([match_instances(*pair, known) for pair in masks])
    found = [regions_of(truth, level, known) for (truth, _), level in zip(masks, levels, strict=True)]
    table.regions = Regions.joined(found, [1] * len(ids))
    table.structure = np.where(rng.random((len(ids), 2)) < 0.3, np.nan, rng.random((len(ids), 2)))
    table.groups = [f"партия {n}" if n % 2 else "" for n in range(len(ids))]
    return table


def below(table: ImageTable) -> dict[str, str]:
    """All that each image's row leads to, as text (in which NaN equals NaN)."""
    told = {}
    for n, name in enumerate(table.ids):
        parts = [table.score[n], table.groups[n], table.structure[n].tolist(), table.instances.judged[n]]
        for first, columns in INSTANCE_GROUPS.items():
            if first != "judged":
                mine = getattr(table.instances, first) == n
                parts += [getattr(table.instances, c)[mine].tolist() for c in columns if c != first]
        mine = table.regions.row == n
        parts += [getattr(table.regions, c)[mine].tolist() for c in ("whole", "label", "levels")]
        told[name] = str(parts)
    return told


def test_all_that_is_finer_than_an_image_follows_it_through_file_choice_and_join(tmp_path: Path):
    left, right = full_table(["d", "a", "c"]), full_table(["b", "e"], seed=1)
    for part in (left, right):
        assert len(part.instances.row) and len(part.regions) and len(part.instances.pair_row)
    left.save(tmp_path / "t.npz")
    assert below(ImageTable.load(tmp_path / "t.npz")) == below(left)
    whole = join([left, right])
    assert whole.ids == ["a", "b", "c", "d", "e"] and below(whole) == {**below(left), **below(right)}
    assert below(whole.select([3, 0, 2])) == below(left) and below(whole.select([])) == {}
    twice = whole.select([1, 1])
    assert twice.ids == ["b", "b"] and len(twice.regions) == 2 * (whole.regions.row == 1).sum()
    empty = ImageTable.load(saved(whole.select([]), tmp_path))
    assert len(empty) == 0 and len(empty.instances.row) == 0 and empty.structure.shape == (0, 2)


def saved(table: ImageTable, folder: Path) -> Path:
    table.save(folder / "again.npz")
    return folder / "again.npz"


def test_tables_of_before_there_was_anything_finer_still_load(tmp_path: Path):
    table = full_table(["a", "b"])
    with np.load(saved(table, tmp_path)) as stored:
        old = {k: v for k, v in stored.items() if k not in ("structure", "groups") and "_" not in k}
    np.savez_compressed(tmp_path / "old.npz", **old)
    back = ImageTable.load(tmp_path / "old.npz")
    assert back.instances is None and back.regions is None and back.structure is None and back.groups == ["", ""]
    assert np.array_equal(back.confusion, table.confusion) and back.select([1]).ids == ["b"]


def test_tables_with_and_without_single_defects_are_not_joined():
    with pytest.raises(InputError, match="single defects"):
        join([full_table(["a"]), small_table(["b"])])
    flat = full_table(["b"])
    flat.regions = flat.structure = None
    whole = join([full_table(["a"]), flat])
    assert whole.regions is None and whole.structure is None, "half of them would be a figure of other images"


def test_whatever_byte_is_damaged_the_file_is_named(tmp_path: Path):
    data = bytearray(saved(full_table(["a", "b"]), tmp_path).read_bytes())
    rng, refused = np.random.default_rng(0), 0
    for place in rng.integers(0, len(data), 80).tolist():
        broken = bytearray(data)
        broken[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "broken.npz").write_bytes(broken)
        try:
            ImageTable.load(tmp_path / "broken.npz")
        except InputError as error:
            assert "broken.npz" in str(error)
            refused += 1
    assert refused > 30
