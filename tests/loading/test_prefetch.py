"""The prefetcher keeps order, is bounded, and passes errors on at their item."""

import threading
import time

import pytest

from defectctl.loading.prefetch import prefetch


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_results_come_in_order_whatever_takes_longest(threads):
    def work(item):
        time.sleep(0.01 * (item % 3 == 0))
        return item * item

    assert list(prefetch(range(20), work, threads, depth=5)) == [i * i for i in range(20)]


def test_no_more_than_depth_items_are_taken_ahead():
    taken = []

    def source():
        for item in range(100):
            taken.append(item)
            yield item

    results = prefetch(source(), lambda item: item, threads=2, depth=4)
    assert next(results) == 0
    assert len(taken) <= 5
    results.close()


def test_an_error_is_raised_at_its_item_and_the_threads_end():
    def work(item):
        if item == 3:
            raise ValueError("third")
        return item

    before = threading.active_count()
    results = prefetch(range(10), work, threads=2, depth=4)
    assert [next(results), next(results), next(results)] == [0, 1, 2]
    with pytest.raises(ValueError, match="third"):
        next(results)
    assert threading.active_count() == before
