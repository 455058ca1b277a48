"""Samplers: who is visited how often, and that the order depends on seed and epoch alone."""

import pytest

from defectctl.errors import InputError
from defectctl.loading.samplers import epoch_batches


def batches(sampler, count=20, size=4, seed=0, epoch=0, defective=5):
    labels = [1] * defective + [0] * (count - defective)
    sets = [frozenset({1})] * defective + [frozenset({0})] * (count - defective)
    return epoch_batches(sampler, size, seed, epoch, sets, labels)


def test_shuffle_visits_each_sample_once_and_leaves_out_the_incomplete_batch():
    found = batches("shuffle", count=22)
    assert [len(b) for b in found] == [4] * 5
    visited = [i for b in found for i in b]
    assert len(set(visited)) == 20


def test_shuffle_of_fewer_samples_than_a_batch_is_one_batch_of_all():
    assert sorted(batches("shuffle", count=3, size=8, defective=1)[0]) == [0, 1, 2]


def test_order_is_a_function_of_seed_and_epoch():
    assert batches("shuffle", epoch=1) == batches("shuffle", epoch=1)
    assert batches("shuffle", epoch=1) != batches("shuffle", epoch=2)
    assert batches("shuffle", seed=1) != batches("shuffle", seed=2)


def test_balanced_draws_the_rare_kind_as_often_as_the_common_one():
    visited = [i for epoch in range(40) for b in batches("balanced", count=100, defective=5, epoch=epoch) for i in b]
    share = sum(i < 5 for i in visited) / len(visited)
    assert share == pytest.approx(0.5, abs=0.03)


def test_pairs_hold_as_many_defective_as_good_parts():
    for batch in batches("pairs"):
        assert sum(i < 5 for i in batch) == 2 and len(batch) == 4


def test_alternate_takes_turns():
    kinds = [{i < 5 for i in batch} for batch in batches("alternate", size=1)]
    assert kinds == [{True}, {False}] * 5


def test_a_sampler_without_good_parts_says_so():
    with pytest.raises(InputError, match="0 good"):
        batches("pairs", count=5, defective=5)


def test_pairs_of_an_odd_batch_are_refused():
    with pytest.raises(InputError, match="even"):
        batches("pairs", size=3)
