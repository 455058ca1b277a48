"""The machine in plain numbers, and limits of containers."""

import os

import pytest

from defectctl.diagnosis import machine
from defectctl.diagnosis.checks import OK, WARNING


def test_this_machine_tells_what_it_is():
    assert machine.system().status == OK and machine.processor_name()
    check = machine.torch_processor()
    assert check.status == OK and "torch uses" in check.text and "thread" in check.text
    check = machine.memory()
    assert check.facts["total_bytes"] >= check.facts["free_bytes"] > 0


@pytest.mark.skipif(not os.path.exists("/proc/meminfo"), reason="the sizes are compared with Linux' own")
def test_memory_agrees_with_the_system():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert machine.memory().facts["total_bytes"] == pytest.approx(total, rel=0.01)


def test_little_memory_is_a_finding(monkeypatch):
    monkeypatch.setattr(machine, "_memory", lambda: (8 << 30, 1 << 30))
    check = machine.memory()
    assert check.status == WARNING and "8.0 GiB, 1.0 GiB free" in check.text and check.advice
    monkeypatch.setattr(machine, "_memory", lambda: (64 << 30, 60 << 30))
    monkeypatch.setattr(machine, "_number", lambda path: 1 << 30)
    assert "limited to 1.0 GiB" in machine.memory().text and machine.memory().status == WARNING
    monkeypatch.setattr(machine, "_memory", lambda: (None, None))
    assert machine.memory().status == OK


def test_cores_of_a_container(monkeypatch):
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 16)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(4)), raising=False)
    monkeypatch.setattr(machine, "_quota", lambda: None)
    assert machine.cores().text == "16, of which this process may use 4" and machine.cores().status == OK
    monkeypatch.setattr(machine, "_quota", lambda: 1.5)
    assert "limited to 1.5" in machine.cores().text and machine.cores().status == WARNING
