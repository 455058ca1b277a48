"""Time and memory of `defectctl prepare` over the number of images, beside the bare cost of the same files.

The bare cost is reading, hashing and decoding every image and mask once, on as many threads as prepare uses.

Example: python tests/bench/prepare_scale.py 1000 10000 50000
"""

from __future__ import annotations

import argparse
import contextlib
import io
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

SIDE = 200


def make(root: Path, count: int) -> None:
    """`count` JPEGs of noise with streaks, no two alike, and a mask for each; every third part is good."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for number in range(count):
        random = np.random.default_rng(number)
        coarse = cv2.resize(random.normal(128, 40, (12, 12)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        picture = np.clip(coarse + random.normal(0, 8, (SIDE, SIDE)), 0, 255).astype(np.uint8)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        if number % 3:
            x, y = random.integers(10, 150, 2)
            cv2.ellipse(mask, (int(x), int(y)), (20, 6), int(random.integers(180)), 0, 360, 255, -1)
            picture[mask > 0] //= 2
        for folder, pixels, ending in (("images", picture, ".jpg"), ("masks", mask, ".png")):
            (root / folder / f"{number:06}{ending}").write_bytes(cv2.imencode(ending, pixels)[1].tobytes())


def bare(root: Path) -> None:
    """Read, hash and decode every image and mask once."""
    from defectctl.fileio import sha256_bytes
    from defectctl.formats.threads import on_threads
    from defectctl.imaging.masks import decode_index
    from defectctl.imaging.reader import inspect_image

    def image(path: Path) -> None:
        data = path.read_bytes()
        sha256_bytes(data)
        inspect_image(data)

    def mask(path: Path) -> None:
        data = path.read_bytes()
        sha256_bytes(data)
        decode_index(data, path.name)

    for work, folder in ((image, "images"), (mask, "masks")):
        for _ in on_threads(work, sorted((root / folder).iterdir())):
            pass


def measured(what: str, root: Path, out: Path) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak memory in MB of one process that does `what`."""
    start = time.perf_counter()
    child = subprocess.run(
        [sys.executable, __file__, "--do", what, str(root), str(out)], check=True, capture_output=True
    )
    wall = time.perf_counter() - start
    cpu, peak = child.stdout.decode().split()[-2:]
    return wall, float(cpu), float(peak)


def do(what: str, root: Path, out: Path) -> None:
    """Run in a process of its own; the last two words printed are CPU seconds and peak memory in MB."""
    with contextlib.redirect_stdout(io.StringIO()):
        if what == "bare":
            bare(root)
        else:
            from defectctl.cli.app import main

            main(["prepare", str(root), "--out", str(out), "--quiet"])
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(f"{usage.ru_utime + usage.ru_stime:.2f} {usage.ru_maxrss / 1024:.0f}")


def compare(count: int) -> None:
    """Measure one number of images and print its line."""
    folder = Path(tempfile.mkdtemp(prefix="prepare-scale-"))
    try:
        make(folder / "raw", count)
        measured("bare", folder / "raw", folder / "data")  # fills the system's file cache
        plain = measured("bare", folder / "raw", folder / "data")
        whole = measured("prepare", folder / "raw", folder / "data")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(
        f"{count:7} images: prepare {whole[0]:7.1f} s wall, {whole[1]:7.1f} s CPU, {whole[2]:5.0f} MB;"
        f" bare {plain[0]:7.1f} s wall, {plain[1]:7.1f} s CPU, {plain[2]:5.0f} MB;"
        f" ratio {whole[0] / plain[0]:.2f} wall, {whole[1] / plain[1]:.2f} CPU",
        flush=True,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--do"]:
        do(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("counts", nargs="*", type=int, default=[1000, 10000])
        for asked in parser.parse_args().counts:
            compare(asked)
