"""The live line: a bar on a terminal, times in words, and Ctrl-C as a wish."""

from __future__ import annotations

import io
import os
import signal

import pytest

from defectctl.training.interrupt import Stop, StopSignal
from defectctl.training.live import Live, duration


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_bar_shows_loss_rate_and_time_left(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    live = Live(10, 5, quiet=False)
    live.update("epoch 2", 0.25, 12.5, "best val/defect_iou 0.5000, ")
    live.validating(3, 8)
    live.say("a line")
    live.jump(2)
    live.close()
    shown = screen.getvalue()
    for text in ("epoch 2", "validating 3/8", "a line\n", "6/10"):
        assert text in shown
    assert live.left() > 0 and live.total == 8


def test_quiet_shows_no_bar(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    live = Live(10, 0, quiet=True)
    live.update("epoch 1", 0.1, 1.0, "")
    live.close()
    assert screen.getvalue() == "" and live.left() > 0


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min 01 s"), (3600 * 2 + 299, "2 h 04 min")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_the_first_signal_is_a_wish_and_the_second_an_order():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignal() as stop:
        stop.check()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stop):
            stop.check()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before
