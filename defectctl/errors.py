"""What a user may be told when something goes wrong, and the exit code that goes with it."""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1
"""The run failed: device, memory, disk, or a fault of ours."""
EXIT_USAGE = 2
"""Wrong usage or input: an option, a path, a preset, a dataset that cannot be read."""
EXIT_FINDINGS = 3
"""Finished, but with findings: some files unreadable, a strict check not passed."""
EXIT_DEFECTS = 4
"""Finished, and NG or UNSURE parts were found (only with `--fail-on-defect`; goes before 3)."""
EXIT_INTERRUPTED = 130
"""Ctrl-C or SIGTERM; everything done so far is kept."""


class DefectctlError(Exception):
    """An expected failure. `str(error)` is the whole message: what is wrong, where, and what to do."""

    exit_code = EXIT_FAILED


class RunError(DefectctlError):
    """The run failed through the machine or through us (exit code 1)."""

    exit_code = EXIT_FAILED


class InputError(DefectctlError):
    """The user's options, paths or files are wrong (exit code 2)."""

    exit_code = EXIT_USAGE


class Interrupted(DefectctlError):
    """The user stopped the command; what was finished is kept (exit code 130)."""

    exit_code = EXIT_INTERRUPTED


def nearest(name: str, choices: list[str]) -> str:
    """Return "; did you mean 'x'?" for the choice most like `name`, or "" where none is close."""
    import difflib

    close = difflib.get_close_matches(name.lower(), [c.lower() for c in choices], n=1, cutoff=0.6)
    original = {c.lower(): c for c in choices}
    return f"; did you mean '{original[close[0]]}'?" if close else ""
