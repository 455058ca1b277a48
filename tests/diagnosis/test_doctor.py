"""The child process: probes that crash, hang, print or end Python are findings, and the rest is still asked."""

import sys
import time

import pytest

from defectctl.diagnosis import doctor
from defectctl.diagnosis.checks import FAILED, NOT_TRIED, OK, Check, Probe
from defectctl.diagnosis.doctor import run_isolated

PROBES = """
import os, sys, time
from defectctl.diagnosis.checks import Check, Probe

def noisy():
    print("loading..."); os.write(1, b"native words\\n"); sys.stdout.flush()
    return [Check("ok", "one", name="first"), Check("ok", "Prüf", facts={"n": 1})]

def broken():
    raise OSError(126, "c10.dll")

def crash():
    os.write(2, b"OMP: Error #15: Initializing libiomp5md.dll, but found libomp already initialized.\\nOMP: Hint\\n")
    os.abort()

def leave():
    os._exit(7)

def hang():
    time.sleep(60)

PROBES = [
    Probe("noisy", "g", noisy), Probe("broken", "g", broken), Probe("crash", "g", crash),
    Probe("needs crash", "g", noisy, ("crash",)), Probe("leave", "g", leave), Probe("hang", "g", hang, (), 0.5),
    Probe("needs broken", "g", noisy, ("broken",)), Probe("last", "g", noisy),
]
"""


@pytest.fixture
def registry(tmp_path, monkeypatch):
    (tmp_path / "toy_probes.py").write_text(PROBES, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "toy_probes:PROBES"
    sys.modules.pop("toy_probes", None)


def names(registry):
    import toy_probes

    return toy_probes.PROBES


def test_every_probe_answers_whatever_the_others_do(registry, capfd):
    began = time.perf_counter()
    checks = list(run_isolated(names(registry), registry))
    told = [(check.name, check.status) for check in checks]
    assert told == [
        ("first", OK),
        ("noisy", OK),
        ("broken", FAILED),
        ("crash", FAILED),
        ("needs crash", NOT_TRIED),
        ("leave", FAILED),
        ("hang", FAILED),
        ("needs broken", NOT_TRIED),
        ("first", OK),
        ("last", OK),
    ]
    assert checks[1].text == "Prüf" and checks[1].facts == {"n": 1}
    assert "c10.dll" in checks[2].text
    assert "OMP: Error #15" in checks[3].text and "fresh environment" in checks[3].advice
    assert "exit code 7" in checks[5].text
    assert "no answer within 0.5 s" in checks[6].text
    assert capfd.readouterr().out == "" and time.perf_counter() - began < 20


def test_where_no_child_can_be_started_the_probes_run_here(registry, monkeypatch):
    wanted = names(registry)[:2]
    monkeypatch.setattr(doctor.sys, "executable", "/no/such/python")
    assert [check.name for check in run_isolated(wanted, registry)] == ["first", "noisy", "broken"]


def test_a_child_that_says_nothing_is_given_up(registry):
    probe = Probe("here", "g", lambda: Check(OK, "asked in this process"))
    assert [check.text for check in run_isolated([probe], "no_such_module:PROBES")] == ["asked in this process"]


def test_stopping_early_leaves_no_process(registry):
    checks = run_isolated(names(registry), registry)
    assert next(checks).name == "first"
    checks.close()


@pytest.mark.parametrize("code, words", [(0xC000001D, "illegal instruction"), (-1073741819, "access violation")])
def test_codes_of_windows_are_words(code, words):
    child = object.__new__(doctor._Child)
    child._process, child._said, child.hung = type("P", (), {"returncode": code & 0xFFFFFFFF})(), "", False
    check = doctor._lost(Probe("torch", "installation", lambda: Check(OK, "")), child)
    assert words in check.text and check.advice
