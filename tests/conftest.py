"""What every test starts from: messages switched on, and one thread, since tests share the machine."""

import gc
import os
import time

import pytest

from defectctl.messages import set_quiet

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def messages_are_on():
    """A command run with `--quiet` in this process must not silence the next test."""
    set_quiet(False)
    yield
    set_quiet(False)


@pytest.fixture
def growth():
    """How many times more processor time `work(large)` takes than `work(small)`, both in this run, best of three."""

    def seconds(work, size):
        gc.collect()
        gc.disable()  # a collection looks at everything the earlier tests left behind, too
        try:
            start = time.process_time()
            work(size)
            return time.process_time() - start
        finally:
            gc.enable()

    def ratio(work, small, large):
        return min(seconds(work, large) for _ in range(3)) / min(seconds(work, small) for _ in range(3))

    return ratio
