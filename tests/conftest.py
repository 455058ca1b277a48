"""What every test starts from: messages switched on, and one thread, since tests share the machine."""

import os

import pytest

from defectctl.messages import set_quiet

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def messages_are_on():
    """A command run with `--quiet` in this process must not silence the next test."""
    set_quiet(False)
    yield
    set_quiet(False)
