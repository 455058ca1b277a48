"""How much slower evaluating is than predicting: images/s of both, in turns, on the same images with the same network.

    python tests/bench/evaluate_speed.py MODEL DATA [SPLIT] [PART] [ROUNDS]

Predicting is `predict_files` with masks written into a temporary folder, evaluating `score_samples` with everything
that `defectctl evaluate` asks for: pixel counts, single defects, regions, saliency. Start-up, figures and report are
left out of both; what figures take once is printed last. The least of ROUNDS counts, since other work can only add.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch

from defectctl.evaluation.asked import Asked
from defectctl.evaluation.part import load_part
from defectctl.evaluation.result import build_result
from defectctl.evaluation.scored import Scored
from defectctl.inference.device import choose_device, choose_precision, default_batch_size, set_threads
from defectctl.inference.options import PredictOptions
from defectctl.inference.predict import predict_files
from defectctl.inference.runner import load_runner
from defectctl.inference.scoring import score_samples
from defectctl.inference.sources import list_inputs
from defectctl.loading.pictures import PictureStore


def main(model: str, data: str, split: str | None = None, part: str = "test", rounds: str = "3") -> None:
    """Print the least seconds of each, and their ratio."""
    device = choose_device("auto")
    set_threads(1, device)
    chosen = load_part(Path(data), split or None, part)
    runner, contract = load_runner(Path(model), device, choose_precision(device))
    preset = contract.preset_config()
    batch = default_batch_size(device)
    pictures = PictureStore(chosen.dataset, preset.input.colour, cache_bytes=0)
    files = [str(chosen.dataset.image_path(sample)) for sample in chosen.samples]
    least = {"predict": float("inf"), "evaluate": float("inf")}
    table = None
    for _ in range(int(rounds)):
        with tempfile.TemporaryDirectory() as folder:
            inputs = list_inputs(files, Path(folder))
            began = time.perf_counter()
            options = PredictOptions(write=("masks",), min_area=contract.min_area, batch_size=batch)
            predict_files(inputs, Path(folder), runner, contract, Path(model), options)
            least["predict"] = min(least["predict"], time.perf_counter() - began)
        began = time.perf_counter()
        how = {"finer": True, "box_score": preset.predict.box_score}
        table = score_samples(runner, chosen.dataset, chosen.samples, pictures, contract.min_area, batch, **how)
        least["evaluate"] = min(least["evaluate"], time.perf_counter() - began)
    for name, seconds in least.items():
        print(f"{name}: {len(files) / seconds:.2f} images/s ({seconds:.2f} s for {len(files)})")
    ratio = least["predict"] / least["evaluate"]
    print(f"evaluate / predict: {ratio:.3f} of the images/s, {device}, torch {torch.__version__}")
    assert table is not None
    about = {"tasks": ["segmentation"], "masks": None, "leak": {"text": ""}, "own_thresholds": {}, "min_area": 0}
    began = time.perf_counter()
    build_result(Scored(table, about), Asked())
    print(f"figures with 2,000 rounds of resampling, once: {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
