"""Asks all probes in a child process, starts it anew where one of them ends or hangs it, and yields what they find."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import IO, Any

from defectctl.diagnosis.checks import FAILED, REPORT_IT, SELF_TEST, Check, Probe, run_probes, stops
from defectctl.diagnosis.private import this_user

REGISTRY = "defectctl.diagnosis.probes:PROBES"
START_SECONDS = 120
"""How long the child may take to its first line."""
CRASHES = {
    0xC0000005: "access violation",
    0xC000001D: "illegal instruction",
    0xC0000135: "a DLL was not found",
    0xC0000409: "stack overrun",
    0xC00000FD: "stack overflow",
}
"""Exit codes by which Windows ends a process."""
ADVICE = {
    "illegal": "this build wants a newer processor, or a virtual machine hides its abilities; install an older build",
    "OMP: Error #15": "two OpenMP libraries are loaded: install defectctl in a fresh environment, without conda's MKL",
}
"""Part of what is told of a crash -> what to do."""


def diagnose(test: bool = True) -> Iterator[Check]:
    """Ask every probe and yield the checks as they come, the user's name taken out of them.

    The probes run in a child process: a library that crashes natively or hangs becomes a failed check as well.

    Args:
        test: also compute something (the group `SELF_TEST`).
    """
    from defectctl.diagnosis.probes import PROBES

    user = this_user()
    probes = [probe for probe in PROBES if test or probe.group != SELF_TEST]
    for check in run_isolated(probes, REGISTRY):
        yield user.check(check)


def run_isolated(probes: Sequence[Probe], registry: str) -> Iterator[Check]:
    """Ask probes of `registry` (`module:LIST`) in a child process; in this one where none can be started."""
    left = {probe.name: probe for probe in probes}
    blocked: set[str] = set()
    while left:
        try:
            child = _Child(registry, list(left), blocked)
        except OSError:
            break
        now: Probe | None = None
        try:
            while event := child.next(now.seconds if now else START_SECONDS):
                if event.get("done"):
                    return
                if "begin" in event:
                    now = left.pop(event["begin"])
                else:
                    check = Check(**event["check"])
                    if stops(check) and now is not None:
                        blocked.add(now.name)
                    yield check
        finally:
            child.end()
        if now is None:  # not even begun: this Python starts no children (a frozen program, a policy)
            break
        blocked.add(now.name)
        yield _lost(now, child)
    yield from (item for item in run_probes(left.values(), blocked) if isinstance(item, Check))


def _lost(probe: Probe, child: _Child) -> Check:
    """What is told of a probe that took its process with it."""
    if child.hung:
        text = f"gave no answer within {probe.seconds:g} s"
        advice = "run `defectctl doctor` again; a driver or a network folder that hangs needs the machine started anew"
    else:
        text = f"Python was ended by the system while this was tried: {child.how_it_ended()}"
        advice = next((advice for part, advice in ADVICE.items() if part.lower() in text.lower()), REPORT_IT)
    return Check(FAILED, text, advice, name=probe.name, group=probe.group)


class _Child:
    """The process that asks, and the lines that it sends.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, registry: str, names: list[str], blocked: set[str]) -> None:
        self.hung = False
        self._said = ""
        # The same search path as here: the working folder, which may hold a file called like a module, is not added.
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; from defectctl.diagnosis.worker import work; "
            f"work({registry!r}, {names!r}, {sorted(blocked)!r})"
        )
        self._errors = _file_for_errors()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._errors or subprocess.DEVNULL,
            )
        except OSError:
            self._close_errors()
            raise
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def next(self, seconds: float) -> dict[str, Any] | None:
        """The next line; None where the process has ended, or sent nothing for `seconds` (then `hung` is set)."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            self.hung = True
            return None
        try:
            return None if line is None else json.loads(line)
        except ValueError:  # it crashed within a line
            return None

    def end(self) -> None:
        """End the process, if it has not ended by itself."""
        if self.hung or self._reader.is_alive():
            self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._close_errors()

    def how_it_ended(self) -> str:
        """The signal or exit code, and the last line on standard error."""
        code = self._process.returncode
        if code < 0:
            name = signal.strsignal(-code) or f"signal {-code}"
        else:
            name = CRASHES.get(code & 0xFFFFFFFF, f"exit code {code}")
        return f"{name.lower()} ({self._said})" if self._said else name.lower()

    def _close_errors(self) -> None:
        """Keep the line on standard error that tells most: one that is known, else the last."""
        if self._errors is None:
            return
        with self._errors:
            self._errors.seek(0)
            lines = self._errors.read().decode("utf-8", "replace").splitlines()
        known = [line for line in lines if any(part in line for part in ADVICE)]
        self._said = " ".join((known or [line for line in lines if line.strip()] or [""])[-1].split())[:200]


def _file_for_errors() -> IO[bytes] | None:
    """A temporary file, which is never in the way as a full pipe would be; None where there can be none."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return None
