"""What every test starts from: messages switched on, and one thread, since tests share the machine."""

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
    """How many times more processor time `work(large)` takes than `work(small)`, both in this run."""

    def ratio(work, small, large):
        work(small)  # the first call pays for imports
        times = []
        for size in (small, large):
            start = time.process_time()
            work(size)
            times.append(time.process_time() - start)
        return times[1] / times[0]

    return ratio
