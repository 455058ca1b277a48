"""What a probe is and what it finds; a probe that raises becomes a finding, never a traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from defectctl.errors import EXIT_FAILED, EXIT_FINDINGS, EXIT_OK, DefectctlError

OK, WARNING, FAILED, NOT_TRIED = "ok", "warning", "failed", "not tried"
SELF_TEST = "self-test"
"""Group of the checks that compute, which `--no-test` leaves out."""
REPORT_IT = "send this whole report to the maintainers"
LONGEST_REASON = 300
"""Characters of an exception's text that are shown; loaders list every folder they have searched."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the diagnosis.

    Attributes:
        status: `OK`, `WARNING`, `FAILED` or `NOT_TRIED`.
        text: what was found, one line.
        advice: what to do about it; empty where nothing need be done.
        facts: the same in plain values, for `--json`.
        name, group: filled in by the probe where left empty.
        blocks: probes that need this one are not tried, although it did not fail.
    """

    status: str
    text: str
    advice: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    group: str = ""
    blocks: bool = False


@dataclass(frozen=True, slots=True)
class Probe:
    """One question to the machine.

    Attributes:
        run: answers it; may raise anything.
        needs: names of probes that must have been answered well, since this one would only repeat their failure.
        seconds: how long it may take before it counts as hanging.
    """

    name: str
    group: str
    run: Callable[[], Check | list[Check]]
    needs: tuple[str, ...] = ()
    seconds: float = 60


def run_probe(probe: Probe) -> list[Check]:
    """Ask one probe; whatever it raises (but for Ctrl-C) is its answer."""
    try:
        found = probe.run()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # native extensions raise their panics, and SystemExit, past Exception
        # Our own sentences say themselves what to do.
        found = Check(FAILED, one_line(error), "" if isinstance(error, DefectctlError) else REPORT_IT)
    checks = [found] if isinstance(found, Check) else found
    return [replace(check, name=check.name or probe.name, group=check.group or probe.group) for check in checks]


def run_probes(probes: Iterable[Probe], blocked: Iterable[str] = ()) -> Iterator[Probe | Check]:
    """Ask probes in turn; yield each probe before it is asked, then its checks.

    Args:
        blocked: names of probes that failed before these; what needs them is not tried.
    """
    stopped = set(blocked)
    for probe in probes:
        yield probe
        missing = [need for need in probe.needs if need in stopped]
        if missing:
            checks = [not_tried(probe, missing)]
            stopped.add(probe.name)
        else:
            checks = run_probe(probe)
        for check in checks:
            if stops(check):
                stopped.add(probe.name)
            yield check


def not_tried(probe: Probe, missing: Iterable[str]) -> Check:
    """The answer of a probe whose needs are not met."""
    return Check(NOT_TRIED, f"needs {', '.join(missing)}, see above", name=probe.name, group=probe.group)


def stops(check: Check) -> bool:
    """Whether probes that need the one this check is of would be asked in vain."""
    return check.blocks or check.status == FAILED


def exit_code(checks: Iterable[Check]) -> int:
    """1 where the self-test failed, or could not be made because something it needs failed; 3 with findings; else 0."""
    listed = list(checks)
    statuses = {check.status for check in listed}
    tested = {check.status for check in listed if check.group == SELF_TEST}
    if FAILED in tested or (NOT_TRIED in tested and FAILED in statuses):
        return EXIT_FAILED
    return EXIT_FINDINGS if statuses & {WARNING, FAILED} else EXIT_OK


def one_line(error: BaseException) -> str:
    """An exception as one line of bounded length: our own sentences as they are, others behind their type."""
    text = " ".join(str(error).split()) or "no further word"
    if len(text) > LONGEST_REASON:
        text = text[:LONGEST_REASON] + " ..."
    return text if isinstance(error, DefectctlError) else f"{type(error).__name__}: {text}"
