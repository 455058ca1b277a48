"""Splits are seeded, stratified, and never cut what belongs together."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from defectctl.dataset.splits import clusters, official_split, random_split, split_fingerprint
from defectctl.dataset.types import Sample


def make(count, group=lambda i: None, sha=str):
    return [Sample(f"{i:04}.png", "", 8, 8, sha(i), "s", group=group(i)) for i in range(count)]


def all_ids(split):
    return sorted(i for ids in split.parts.values() for i in ids)


def test_every_sample_is_in_exactly_one_part_in_the_asked_shares():
    samples = make(1000)
    split = random_split(samples, {}, seed=1)
    assert all_ids(split) == [s.id for s in samples]
    assert {part: len(ids) for part, ids in split.parts.items()} == {"train": 700, "val": 150, "test": 150}


def test_each_stratum_keeps_the_shares():
    samples = make(1000)
    strata = {s.id: "rare" if i % 20 == 0 else "common" for i, s in enumerate(samples)}
    split = random_split(samples, strata, seed=3)
    rare = Counter(part for part, ids in split.parts.items() for i in ids if strata[i] == "rare")
    assert rare["train"] == pytest.approx(35, abs=2) and rare["val"] == pytest.approx(7.5, abs=1.6)


def test_order_of_samples_does_not_matter_but_the_seed_does():
    samples = make(200)
    shuffled = samples[:]
    random.Random(0).shuffle(shuffled)
    assert random_split(samples, {}, 5).parts == random_split(shuffled, {}, 5).parts
    assert random_split(samples, {}, 5).parts != random_split(samples, {}, 6).parts


def test_groups_and_equal_images_are_never_cut_even_in_chains():
    # 0-1 share a group, 1-2 share their bytes, 2-3 share a group: all four belong together.
    samples = make(40, group=lambda i: {0: "a", 1: "a", 2: "b", 3: "b"}.get(i), sha=lambda i: "1" if i == 2 else str(i))
    assert ["0000.png", "0001.png", "0002.png", "0003.png"] in clusters(samples)
    for seed in range(20):
        split = random_split(samples, {}, seed)
        homes = {part for part, ids in split.parts.items() for i in ids if i <= "0003.png"}
        assert len(homes) == 1


@pytest.mark.parametrize("count", [3, 4, 5, 7])
def test_no_part_is_empty_where_there_are_enough_images(count):
    split = random_split(make(count), {}, seed=0)
    assert all(split.parts.values())
    assert len(split.parts["train"]) >= len(split.parts["test"])


def test_a_rare_class_is_seen_in_training():
    samples = make(300)
    for seed in range(30):
        strata = {s.id: "rare" if i in (7, 130) else "common" for i, s in enumerate(samples)}
        assert {"0007.png", "0130.png"} & set(random_split(samples, strata, seed).parts["train"])


def test_official_parts_are_kept_and_val_is_a_tenth_of_train():
    samples = make(300)
    parts = {"train": [s.id for s in samples[:200]], "test": [s.id for s in samples[200:]]}
    split = official_split(parts, samples, {}, seed=0)
    assert split.name == "official" and list(split.parts) == ["train", "val", "test"]
    assert split.parts["test"] == parts["test"]
    assert sorted(split.parts["train"] + split.parts["val"]) == parts["train"]
    assert len(split.parts["val"]) == 20


def test_a_stated_val_part_is_left_alone():
    samples = make(30)
    parts = {"train": [s.id for s in samples[:20]], "val": [s.id for s in samples[20:]]}
    split = official_split(parts, samples, {}, seed=0)
    assert split.parts == parts and split.seed is None


def test_fingerprint_ignores_order_and_sees_changes():
    assert split_fingerprint({"a": ["1", "2"], "b": []}) == split_fingerprint({"b": [], "a": ["2", "1"]})
    assert split_fingerprint({"a": ["1"], "b": ["2"]}) != split_fingerprint({"a": ["1", "2"], "b": []})


def test_near_duplicates_are_never_cut():
    samples = make(60)
    for i, sample in enumerate(samples):
        sample.twins = f"{i // 3 * 3:04}.png"
    for seed in range(10):
        split = random_split(samples, {}, seed)
        home = {i: part for part, ids in split.parts.items() for i in ids}
        assert all(len({home[f"{k + j:04}.png"] for j in range(3)}) == 1 for k in range(0, 60, 3))


def test_pasted_images_train_with_all_their_pieces_or_not_at_all():
    samples = make(100)
    for i in range(90, 100):
        samples[i].pasted_from = (f"{i - 90:04}.png", f"{i - 50:04}.png")
    for seed in range(10):
        split = random_split(samples, {}, seed)
        home = {i: part for part, ids in split.parts.items() for i in ids}
        pasted = [s for s in samples if s.pasted_from]
        for sample in pasted:
            pieces = {home[i] for i in sample.pasted_from}
            assert home.get(sample.id) == ("train" if pieces == {"train"} else None)
        assert any(s.id in home for s in pasted) and any(s.id not in home for s in pasted)
        assert len(home) == 90 + sum(s.id in home for s in pasted)


def test_calibration_is_taken_from_training():
    split = random_split(make(1000), {}, 0, calibration=0.15)
    assert {part: len(ids) for part, ids in split.parts.items()} == {
        "train": 550,
        "val": 150,
        "test": 150,
        "calibration": 150,
    }
    samples = make(200)
    stated = {"train": [s.id for s in samples[:100]], "test": [s.id for s in samples[100:]]}
    official = official_split(stated, samples, {}, 0, calibration=0.15)
    assert [len(official.parts[part]) for part in ("train", "val", "calibration", "test")] == [75, 10, 15, 100]
    assert official.parts["test"] == stated["test"]
    assert set(official.parts["train"] + official.parts["val"] + official.parts["calibration"]) == set(stated["train"])


def test_a_pasted_image_of_an_official_training_part_never_validates_or_calibrates():
    samples = make(120)
    for i in range(100, 112):
        samples[i].pasted_from = tuple(f"{(i - 100) * 5 + k:04}.png" for k in range(3))
    stated = {"train": [s.id for s in samples[:112]], "test": [s.id for s in samples[112:]]}
    for seed in range(10):
        parts = official_split(stated, samples, {}, seed, calibration=0.15).parts
        home = {i: part for part, ids in parts.items() for i in ids}
        for sample in samples[100:112]:
            assert home.get(sample.id, "none") in ("train", "none")
            assert sample.id not in home or {home[i] for i in sample.pasted_from} == {"train"}


def test_calibration_leaves_training_at_least_half_of_its_share():
    split = random_split(make(100, group=lambda i: "all"), {}, 0, calibration=0.4)
    assert len(split.parts["train"]) == 100
    assert len(random_split(make(100), {}, 0, (0.2, 0.1, 0.7), calibration=0.4).parts["train"]) == 10
