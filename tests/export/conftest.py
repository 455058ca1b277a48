"""Lets the tests of exports use the smallest form of every network, and the toys of inference."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("models", "inference")]
