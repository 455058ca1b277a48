"""What stands in a journal, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from defectctl.inference.journal import each_row


def read_journal(path: Path) -> dict[str, dict[str, Any]]:
    """Whole rows by `file`, the last one of each."""
    return {row["file"]: row for row in each_row(path)}
