"""Start-up and speed of an exported model against the weights it was made from; run by hand on a quiet machine.

    python tests/bench/onnx_start.py RUN IMAGE [--python PYTHON_WITHOUT_TORCH] [--repeat 5]

RUN holds model.safetensors and model.onnx. Start-up: the whole command `predict` on one image, wall clock and processor
time of the process, the best of the repeats. Speed: `Runner.maps` on eight copies of the image in memory, at once and
one by one, on one thread, the best of the repeats; the runners take turns, so that what else runs hits them alike.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PICTURES = 8


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--repeat", type=int, default=5)
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    for python, name in ((sys.executable, "model.safetensors"), (asked.python, "model.onnx")):
        wall, processor = start_up(python, asked.run / name, asked.image, asked.repeat)
        print(f"one image with {name:18} {wall:6.2f} s, {processor:6.2f} s of the processor")
    for batch in (1, PICTURES):
        for name, (rate, rate_of_processor) in speed(asked.run, asked.image, batch, asked.repeat).items():
            print(
                f"batch {batch}, {name:14} {rate:6.1f} images/s, {rate_of_processor:6.1f} per second of the processor"
            )


def start_up(python: str, model: Path, image: Path, repeat: int) -> tuple[float, float]:
    """Least wall clock and least processor time in seconds of a predict command on one image."""
    walls, processors = [], []
    with tempfile.TemporaryDirectory() as folder:
        command = [python, "-m", "defectctl", "predict", str(image), "--out", folder, "--model", str(model), "-q"]
        for _ in range(repeat):
            before, start = os.times(), time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            walls.append(time.perf_counter() - start)
            after = os.times()
            spent = after.children_user - before.children_user + after.children_system - before.children_system
            processors.append(spent)
    return min(walls), min(processors)


def speed(run: Path, image: Path, batch: int, repeat: int) -> dict[str, tuple[float, float]]:
    """Images per second, of the wall clock and of the processor, by runner."""
    import cv2
    import torch

    from defectctl.imaging.reader import decode_image
    from defectctl.inference.onnx_runner import load_onnx_runner
    from defectctl.inference.runner import load_runner

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    place = torch.device("cpu")
    runners = {f"torch {name}": load_runner(run / "model.safetensors", place, name)[0] for name in ("float32", "bf16")}
    runners["onnxruntime"] = load_onnx_runner(run / "model.onnx", threads=1)[0]
    colour = runners["onnxruntime"].input.colour
    pictures = [decode_image(image.read_bytes(), colour)] * PICTURES
    best = {name: (float("inf"), float("inf")) for name in runners}
    for turn in range(repeat + 1):
        for name, runner in runners.items():
            wall, processor = time.perf_counter(), time.process_time()
            for start in range(0, PICTURES, batch):
                runner.maps(pictures[start : start + batch])
            spent = time.perf_counter() - wall, time.process_time() - processor
            if turn:  # the first warms up
                best[name] = min(best[name][0], spent[0]), min(best[name][1], spent[1])
    return {name: (PICTURES / wall, PICTURES / processor) for name, (wall, processor) in best.items()}


if __name__ == "__main__":
    main()
