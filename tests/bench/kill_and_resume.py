"""Kills `defectctl predict` (SIGKILL) at random moments, resumes with `--skip-done`, and checks what is there.

After each kill: every row of the journal has its files, they decode, and they hold what the row says. At the end: one
result for every image, whole tables, and no file besides. Each run is a fork of this process, which has imported
everything before: so 50 kills take a minute. Linux and macOS.

Example: python tests/bench/kill_and_resume.py --kills 50
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from pycocotools.coco import COCO

from defectctl.checkpoints.contract import Contract
from defectctl.checkpoints.weights import save_model
from defectctl.cli.app import main as defectctl
from defectctl.config.presets import load_preset, preset_to_dict
from defectctl.imaging.masks import decode_index
from defectctl.inference.journal import last_rows
from defectctl.models.registry import build_model

WRITE = "masks,overlays,defect-maps,csv,coco,summary"
TABLES = {"predictions.csv", "defects.csv", "predictions.coco.json", "summary.json", "predictions.jsonl"}


def make_model(path: Path) -> None:
    """A small network at 64 px with untrained weights, balanced so that it finds patches of both classes."""
    torch.manual_seed(0)
    preset = load_preset("sme-deeplab", ["input.size=[64, 64]", "model.backbone=starnet_s050"])
    network = build_model(preset.model, 2, 3).eval()
    last = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d) and layer.out_channels == 3][-1]
    with torch.inference_mode():
        last.bias -= network(torch.rand(4, 3, 64, 64)).mask_logits.mean(dim=(0, 2, 3))
    save_model(path, network.state_dict(), Contract(preset_to_dict(preset), ["dent", "scratch"], [(255, 0, 0)] * 2))


def make_images(folder: Path, count: int) -> None:
    """Noise with blobs in two sub-folders; every 40th file is empty, and every 40th is cut off."""
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 256, (48 + number % 30, 64, 3), dtype=np.uint8)
        data = cv2.imencode(".png", cv2.GaussianBlur(noise, (0, 0), 4))[1].tobytes()
        if number % 20 == 7:
            data = b"" if number % 40 == 7 else data[: len(data) // 2]
        path = folder / f"day {number % 2}" / f"part {number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def start(work: Callable[[], int | None], log: Path) -> int:
    """Run `work` in a fork of this process, which only waits: threads do not survive a fork; its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        with log.open("w") as messages:
            os.dup2(messages.fileno(), 1)
            os.dup2(messages.fileno(), 2)
        code = work() or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def finish(child: int) -> int:
    """Wait for a fork and return its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def lines(out: Path) -> int:
    """Whole lines of the journal."""
    path = out / "predictions.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill_after(child: int, out: Path, rows: int, seconds: float) -> int:
    """Kill a fork some time after the journal has so many rows, unless it ends before; its exit code as `finish`."""
    while lines(out) < rows:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return finish(child)


def check_rows(out: Path) -> Counter[str]:
    """Every row that counts has whole files that agree with it; how many rows of each verdict there are."""
    verdicts: Counter[str] = Counter()
    for row in last_rows(out / "predictions.jsonl"):
        verdicts[row["verdict"]] += 1
        if row["verdict"] == "UNREADABLE":
            assert row["mask"] is None and row["reason"], row
            continue
        mask = decode_index((out / row["mask"]).read_bytes(), row["mask"])
        assert mask.shape == (row["height"], row["width"]), row["file"]
        areas: Counter[str] = Counter()
        for defect in row["defects"]:
            areas[defect["class"]] += defect["area"]
        assert all((mask == n).sum() == areas[name] for n, name in enumerate(("dent", "scratch"), 1)), row["file"]
        for key in ("overlay", "defect_map"):
            shown = cv2.imdecode(np.frombuffer((out / row[key]).read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
            assert shown is not None and shown.shape[:2] == mask.shape, row["file"]
    return verdicts


def check_end(out: Path, images: Path, count: int) -> None:
    """One result an image, tables that agree with them, and nothing else."""
    verdicts = check_rows(out)
    rows = list(last_rows(out / "predictions.jsonl"))
    names = {path.relative_to(images).as_posix() for path in images.rglob("*.png")}
    assert {row["file"] for row in rows} == names and len(rows) == count == sum(verdicts.values())
    keys = ("mask", "overlay", "defect_map")
    expected = {row[key] for row in rows for key in keys if row[key]} | TABLES
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert found == expected, found ^ expected
    with open(out / "predictions.csv", encoding="utf-8-sig", newline="") as handle:
        assert {line["file"]: line["verdict"] for line in csv.DictReader(handle)} == {
            row["file"]: row["verdict"] for row in rows
        }
    assert json.loads((out / "summary.json").read_text("utf-8"))["verdicts"] == {"OK": 0, "UNSURE": 0} | verdicts
    results = COCO(out / "predictions.coco.json")
    assert len(results.imgs) == count - verdicts["UNREADABLE"]
    assert len(results.anns) == sum(len(row["defects"]) for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    root = Path(tempfile.mkdtemp(prefix="defectctl-kill-"))
    images, out, model, log = root / "in", root / "out", root / "model.safetensors", root / "log.txt"

    def do(work: Callable[[], object]) -> None:
        code = finish(start(lambda: int(work() is False), log))
        assert code == 0, (code, log.read_text())

    do(lambda: make_images(images, options.images))
    do(lambda: make_model(model))
    arguments = ["predict", str(images), "--out", str(out), "--model", str(model), "--write", WRITE, "--skip-done"]
    arguments += ["--device", "cpu", "--precision", "float32", "--threads", "1", "--quiet", "--debug"]

    kills = ends = torn = busy = 0
    while kills < options.kills:
        before = lines(out)
        child = start(lambda: defectctl(arguments), log)
        code = kill_after(child, out, before + chance.randint(0, options.images // 5), chance.uniform(0, 0.05))
        if code == -signal.SIGKILL:
            kills += 1
            busy += lines(out) > before
            do(lambda: check_rows(out))
            torn += sum(1 for path in out.rglob(".*.part"))
        else:
            assert code == 3, (code, log.read_text())
            do(lambda: check_end(out, images, options.images))
            shutil.rmtree(out)
            ends += 1
    assert finish(start(lambda: defectctl(arguments), log)) == 3
    do(lambda: check_end(out, images, options.images))
    print(f"{kills} kills, {busy} of them after new results, {torn} unfinished files found, {ends + 1} runs to the end")
    shutil.rmtree(root)


if __name__ == "__main__":
    sys.exit(main())
