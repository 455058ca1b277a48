"""Measures what is done with each predicted map, as multiples of OpenCV's own labelling of the same map.

python tests/bench/postprocess.py [rounds]

The measure is one `cv2.connectedComponentsWithStats` of the whole map a class, with one thread; all times are of the
processor, the least of all rounds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import cv2
import numpy as np

from defectctl.imaging.components import find_components
from defectctl.inference.postprocess import clean
from defectctl.metrics.instance_matching import match_instances
from defectctl.metrics.region_overlap import regions_of
from defectctl.metrics.saliency import structure_columns


def cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Truth and prediction `(H, W)` uint8 of each case."""
    rng = np.random.default_rng(0)
    small, crack, many, good, speck = (
        np.zeros(shape, np.uint8) for shape in ((200, 200), (512, 1408), (512, 512), (1024, 1024), (512, 512))
    )
    small[20:40, 30:80] = 1
    cv2.circle(small, (150, 50), 12, 1, -1)
    cv2.line(small, (20, 160), (180, 140), 1, 2)
    points = np.stack([np.arange(40, 1300, 20), rng.integers(200, 300, 63)], axis=1)
    cv2.polylines(crack, [points.astype(np.int32)], False, 1, 2)
    for number, (x, y, radius) in enumerate(rng.integers((20, 20, 5), (490, 490, 25), (10, 3)).tolist()):
        cv2.circle(many, (x, y), radius, 1 + number % 3, -1)
    speck[100:140, 200:260] = 1
    moved = {"3 defects": small, "thin crack": crack, "10 defects of 3 classes": many, "good part": good}
    noise = rng.integers(0, 4, speck.shape).astype(np.uint8)
    return {**{name: (truth, np.roll(truth, 2, 0)) for name, truth in moved.items()}, "noise": (speck, noise)}


def steps(truth: np.ndarray, said: np.ndarray) -> dict[str, Callable[[], object]]:
    """What is measured; the first is the measure of all."""
    known, labels = np.ones(4, bool), range(1, 1 + max(1, int(said.max())))
    level = cv2.GaussianBlur(np.where(said > 0, 230, 0).astype(np.uint8), (0, 0), 2)
    components = find_components(said)
    return {
        "opencv": lambda: [cv2.connectedComponentsWithStats((said == label).view(np.uint8)) for label in labels],
        "find_components": lambda: find_components(said),
        "clean": lambda: clean(said, level, 4),
        "match_instances": lambda: match_instances(truth, said, known),
        "match_instances, components known": lambda: match_instances(truth, said, known, components),
        "regions_of": lambda: regions_of(truth, level, known),
        "structure_columns": lambda: structure_columns(truth, level, 0),
    }


def seconds(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Least processor time of each, one after the other in every round."""
    least = dict.fromkeys(work, float("inf"))
    for _ in range(rounds):
        for name, run in work.items():
            start = time.thread_time()
            run()
            least[name] = min(least[name], time.thread_time() - start)
    return least


def main() -> int:
    """Print milliseconds and multiples of the measure, a line of JSON for each case."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    cv2.setNumThreads(1)
    for name, pictures in cases().items():
        least = seconds(steps(*pictures), rounds)
        values = {key: [round(1e3 * value, 2), round(value / least["opencv"], 2)] for key, value in least.items()}
        print(json.dumps({"case": name, "ms_and_ratio": values}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
