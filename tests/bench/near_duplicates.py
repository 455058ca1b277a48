"""Measures the search for near-duplicates among 1,000, 10,000 and 50,000 prints: time, memory and growth.

python tests/bench/near_duplicates.py [counts …]

A tenth of the prints are copies, posed and noisy; the rest are pictures of a falling spectrum, as photographs have.
"""

from __future__ import annotations

import json
import math
import sys
import time
import tracemalloc

import numpy as np

from defectctl.dataset.near_duplicates import candidates
from defectctl.imaging.prints import COARSE, DETAIL, ImagePrint, cosines, to_pose

COUNTS = (1000, 10000, 50000)


def made(count: int, seed: int = 0) -> list[ImagePrint]:
    """`count` prints; each of the last tenth is a copy of the one as many places after the start, in some pose."""
    rng = np.random.default_rng(seed)
    waves = cosines(COARSE, 32)
    fall = 1 / (1 + np.add.outer(np.arange(COARSE), np.arange(COARSE)))
    fall[0, 0] = 0
    originals = count - count // 10
    pictures, prints = [], []
    for index in range(count):
        if index < originals:
            coarse = rng.normal(size=(COARSE, COARSE)) * fall
            coarse *= 20 * 32 / np.linalg.norm(coarse)
            detail = rng.normal(0, 30, (DETAIL, DETAIL))
            pictures.append((coarse, detail)) if index < count // 10 else None
        else:
            coarse, detail = pictures[index - originals]
            pose = int(rng.integers(8))
            coarse = waves @ to_pose(waves.T @ coarse @ waves, pose) @ waves.T + rng.normal(0, 0.5, coarse.shape)
            detail = to_pose(detail, pose) + rng.normal(0, 20, detail.shape)
        unit = (coarse / np.linalg.norm(coarse)).astype(np.float16)
        prints.append(ImagePrint(200, 200, 20.0, 0.0, unit, np.clip(detail, -127, 127).astype(np.int8), 5.0))
    return prints


def main() -> int:
    """Print one JSON line a count; the exponent is that of time over count since the line before."""
    counts = [int(text) for text in sys.argv[1:]] or COUNTS
    candidates(made(100))  # imports what it needs
    before: tuple[int, float] | None = None
    for count in counts:
        prints = made(count)
        start = time.process_time()
        found = {tuple(pair) for pair in candidates(prints).tolist()}
        seconds = time.process_time() - start
        tracemalloc.start()
        candidates(prints)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        originals = count - count // 10
        known = {(index, index + originals) for index in range(count // 10)}
        exponent = None if before is None else math.log(seconds / before[1]) / math.log(count / before[0])
        row = {
            "prints": count,
            "seconds": round(seconds, 2),
            "peak_kb_a_print": round(peak / 1024 / count, 2),
            "copies_found": len(known & found) / len(known),
            "pairs_besides": len(found - known),
            "exponent": exponent and round(exponent, 2),
        }
        print(json.dumps(row), flush=True)
        before = count, seconds
    return 0


if __name__ == "__main__":
    sys.exit(main())
