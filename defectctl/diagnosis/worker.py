"""Asks probes in a process of its own, where a crash ends nothing else, and sends the answers as JSON lines."""

from __future__ import annotations

import importlib
import json
import os
import sys
from dataclasses import asdict
from typing import TextIO

from defectctl.diagnosis.checks import Probe, run_probes


def work(registry: str, names: list[str], blocked: list[str]) -> None:
    """Ask the named probes of `registry` (`module:LIST`); standard output carries nothing but the lines.

    The lines are `{"begin": name}` before a probe, `{"check": {...}}` for each of its checks, and `{"done": true}`.
    """
    lines = _own_output()
    module, _, attribute = registry.partition(":")
    wanted = set(names)
    probes = [probe for probe in getattr(importlib.import_module(module), attribute) if probe.name in wanted]
    for item in run_probes(probes, blocked):
        _send(lines, {"begin": item.name} if isinstance(item, Probe) else {"check": asdict(item)})
    _send(lines, {"done": True})


def _own_output() -> TextIO:
    """A stream on what was standard output; from now on libraries that print there print on standard error."""
    sys.stdout.flush()
    ours = os.fdopen(os.dup(1), "w", encoding="ascii", newline="\n")
    os.dup2(2, 1)
    return ours


def _send(lines: TextIO, event: dict[str, object]) -> None:
    lines.write(json.dumps(event, default=str) + "\n")
    lines.flush()
