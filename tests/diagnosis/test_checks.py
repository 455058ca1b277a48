"""Probes that raise, probes that need others, and the exit code."""

import pytest

from defectctl.diagnosis.checks import (
    FAILED,
    NOT_TRIED,
    OK,
    SELF_TEST,
    WARNING,
    Check,
    Probe,
    exit_code,
    run_probe,
    run_probes,
)
from defectctl.errors import InputError


class Panic(BaseException):
    """What extensions written in Rust raise."""


def raising(error):
    def run():
        raise error

    return run


@pytest.mark.parametrize(
    "error, expected",
    [
        (OSError(126, "The specified module could not be found\n  Error loading c10.dll"), "OSError: [Errno 126] The"),
        (Panic("a\nb"), "Panic: a b"),
        (SystemExit(3), "SystemExit: 3"),
        (InputError("the disk is gone"), "the disk is gone"),
        (ValueError(), "ValueError: no further word"),
        (RecursionError("x" * 5000), "RecursionError: xxx"),
    ],
)
def test_whatever_a_probe_raises_is_a_failed_check_of_one_line(error, expected):
    (check,) = run_probe(Probe("gpu", "devices", raising(error)))
    assert (check.status, check.name, check.group) == (FAILED, "gpu", "devices")
    assert check.text.startswith(expected) and "\n" not in check.text and len(check.text) < 400
    assert bool(check.advice) == (not isinstance(error, InputError))


def test_ctrl_c_is_no_finding():
    with pytest.raises(KeyboardInterrupt):
        run_probe(Probe("gpu", "devices", raising(KeyboardInterrupt())))


def test_what_needs_a_failed_probe_is_not_tried_and_what_needs_that_neither():
    asked = []

    def run(name, status):
        return Probe(name, "g", lambda: asked.append(name) or Check(status, name), needs[name])

    needs = {"a": (), "b": ("a",), "c": ("b",), "d": (), "e": ("d", "z")}
    probes = [run("a", FAILED), run("b", OK), run("c", OK), run("d", WARNING), run("e", OK)]
    checks = [item for item in run_probes(probes) if isinstance(item, Check)]
    assert [check.status for check in checks] == [FAILED, NOT_TRIED, NOT_TRIED, WARNING, OK]
    assert asked == ["a", "d", "e"] and "needs a" in checks[1].text
    blocked = [item for item in run_probes([probes[4]], blocked=["z"]) if isinstance(item, Check)]
    assert blocked[0].status == NOT_TRIED


def test_a_check_that_blocks_need_not_have_failed():
    probes = [Probe("a", "g", lambda: Check(WARNING, "", blocks=True)), Probe("b", "g", lambda: Check(OK, ""), ("a",))]
    assert [i.status for i in run_probes(probes) if isinstance(i, Check)] == [WARNING, NOT_TRIED]


@pytest.mark.parametrize(
    "rest, tested, code",
    [
        ([OK], [OK], 0),
        ([OK], [], 0),
        ([OK, WARNING], [OK], 3),
        ([FAILED], [OK], 3),
        ([FAILED], [], 3),
        ([OK], [WARNING], 3),
        ([OK], [OK, FAILED, NOT_TRIED], 1),
        ([FAILED, NOT_TRIED], [NOT_TRIED], 1),  # torch is broken, so nothing could be tested
        ([WARNING, NOT_TRIED], [NOT_TRIED], 3),  # torch was left out on purpose
    ],
)
def test_exit_code(rest, tested, code):
    checks = [Check(status, "", group="machine") for status in rest]
    assert exit_code(iter(checks + [Check(status, "", group=SELF_TEST) for status in tested])) == code
