"""Measures `defectctl --help` against `import torch`, alternating in one run, and fails above a quarter.

python tests/bench/startup.py [rounds]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

BUDGET = 0.25


def seconds(*command: str) -> float:
    """Wall-clock time of one run of the interpreter."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    """Print medians and their ratio as JSON; exit code 1 above the budget."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    pairs = [(seconds("-m", "defectctl", "--help"), seconds("-c", "import torch")) for _ in range(rounds)]
    ours, torch = (statistics.median(column) for column in zip(*pairs, strict=True))
    result = {"help_s": round(ours, 3), "import_torch_s": round(torch, 3), "ratio": round(ours / torch, 3)}
    print(json.dumps({**result, "budget": BUDGET, "rounds": rounds}))
    return int(ours / torch > BUDGET)


if __name__ == "__main__":
    sys.exit(main())
