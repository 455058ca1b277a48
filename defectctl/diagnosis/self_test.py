"""The self-test: generated surfaces, a small network forward and backward, and the prediction pipeline, end to end."""

from __future__ import annotations

import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defectctl.diagnosis.checks import FAILED, NOT_TRIED, OK, REPORT_IT, SELF_TEST, WARNING, Check, Probe, run_probe

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from defectctl.config.schema import Preset

PICTURES = 6
SIDE = 200
"""Height and width of a generated surface, in pixels: that of the best-known public steel pictures."""
NETWORK_SIDE = 128
OVERRIDES = ("model={name: sme-deeplab, backbone: starnet_s050}", f"input.size=[{NETWORK_SIDE}, {NETWORK_SIDE}]")
"""What is changed in the preset `quick`: the smallest network that needs no other library than torch."""
AGREEMENT = 0.98
"""Least share of pixels that a written mask has in common with the network's answer to the same picture alone: at equal
odds of two classes, a batch of another size may decide otherwise in half precision."""
ODD_FOLDER = "Prüf teile"


@dataclass(slots=True)
class Bench:
    """What one step of the self-test leaves for the next."""

    root: Path
    pictures: list[np.ndarray] = field(default_factory=list)
    masks: list[np.ndarray] = field(default_factory=list)
    preset: Preset | None = None
    model: nn.Module | None = None
    device: torch.device | None = None
    precision: str = "float32"

    @property
    def images(self) -> Path:
        """The folder of the generated pictures."""
        return self.root / ODD_FOLDER / "images"


def self_test() -> list[Check]:
    """Run the steps in a temporary folder, which is removed; those after a failed one are not tried.

    What the steps say on the way is kept from the screen.
    """
    checks: list[Check] = []
    with _quiet_folder() as root:
        bench = Bench(root)
        for name, step in STEPS:
            if any(check.status == FAILED for check in checks):
                checks.append(Check(NOT_TRIED, "needs the step before it", name=name))
            else:
                checks += run_probe(Probe(name, SELF_TEST, partial(step, bench)))
    return checks


def surfaces(bench: Bench) -> Check:
    """Generate pictures with known defects, write them, and read them back."""
    import cv2
    import numpy as np

    from defectctl.imaging.masks import decode_index
    from defectctl.imaging.reader import read_image
    from defectctl.imaging.synthetic import SyntheticSurface, write_raw_folder

    cv2.setNumThreads(1)
    write_raw_folder(bench.root / ODD_FOLDER, PICTURES, seed=1, size=(SIDE, SIDE))
    surface = SyntheticSurface(1, (SIDE, SIDE))
    for number in range(PICTURES):
        image, mask = surface.sample(number)
        picture = read_image(bench.images / f"{number:04d}.png")
        stored = decode_index((bench.root / ODD_FOLDER / "masks" / f"{number:04d}.png").read_bytes())
        if not (np.array_equal(picture[..., 0], image) and np.array_equal(stored, mask)):
            return Check(FAILED, f"surface {number} is not read as it was written", REPORT_IT)
        bench.pictures.append(picture)
        bench.masks.append(stored)
    return Check(OK, f"{PICTURES} of {SIDE}x{SIDE} pixels, written and read")


def network(bench: Bench) -> Check:
    """Train a small network for one step on the device and in the precision that `auto` takes."""
    import numpy as np
    import torch
    from torch.nn.functional import cross_entropy, interpolate

    from defectctl.config.presets import load_preset
    from defectctl.imaging.synthetic import DEFAULT_CLASSES
    from defectctl.inference.device import autocast, choose_device, choose_precision, set_threads
    from defectctl.loading.network_input import to_network
    from defectctl.models.registry import build_model

    bench.preset = preset = load_preset("quick", OVERRIDES)
    bench.device = device = choose_device("auto")
    bench.precision = choose_precision(device)
    set_threads(None, device)
    torch.manual_seed(0)
    bench.model = model = build_model(preset.model, len(DEFAULT_CLASSES)).to(device).train()
    images, _ = to_network(bench.pictures, preset.input, device)
    truth = torch.from_numpy(np.stack(bench.masks)).long().to(device)
    began = time.perf_counter()
    with autocast(device, bench.precision):
        logits = model(images).mask_logits
    loss = cross_entropy(interpolate(logits.float(), truth.shape[1:], mode="bilinear"), truth)
    loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    size = math.sqrt(sum(float(gradient.float().square().sum()) for gradient in gradients))
    seconds = time.perf_counter() - began
    model.zero_grad()
    value, where = float(loss.detach()), f"{device}, {bench.precision}, {torch.get_num_threads()} thread(s)"
    facts = {"device": str(device), "precision": bench.precision, "loss": _number(value), "gradient": _number(size)}
    if not (math.isfinite(value) and math.isfinite(size) and size > 0):
        text = f"one training step on {where}: loss {value:.3g}, gradient {size:.3g}"
        return Check(FAILED, text, "try --precision float32 and --device cpu, and report it", facts)
    return Check(OK, f"one training step on {where}, {seconds:.1f} s, loss {value:.2f}", facts=facts)


def pipeline(bench: Bench) -> Check:
    """Save the network, load it, predict the files as `predict` does, and look at the masks it wrote."""
    import numpy as np

    from defectctl.checkpoints.contract import Contract
    from defectctl.checkpoints.weights import save_model
    from defectctl.config.presets import preset_to_dict
    from defectctl.imaging.masks import decode_index
    from defectctl.imaging.palette import class_colours
    from defectctl.imaging.synthetic import DEFAULT_CLASSES
    from defectctl.inference.options import PredictOptions
    from defectctl.inference.predict import predict_files
    from defectctl.inference.runner import load_runner
    from defectctl.inference.sources import list_inputs

    assert bench.preset is not None and bench.model is not None and bench.device is not None
    path, out = bench.root / "model.safetensors", bench.root / ODD_FOLDER / "results"
    classes = list(DEFAULT_CLASSES)
    save_model(path, bench.model.state_dict(), Contract(preset_to_dict(bench.preset), classes, class_colours(3)))
    runner, contract = load_runner(path, bench.device, bench.precision)
    inputs = list_inputs([str(bench.images)], out)
    summary = predict_files(inputs, out, runner, contract, path, PredictOptions(write=("masks", "overlays")))
    if summary.images != PICTURES or summary.unreadable:
        return Check(FAILED, f"{summary.images} of {PICTURES} images predicted: {summary.verdicts}", REPORT_IT)
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    for row, picture in zip(rows, bench.pictures, strict=True):
        mask = decode_index((out / row["mask"]).read_bytes(), row["mask"])
        if mask.shape != picture.shape[:2] or mask.max() > len(classes):
            size = f"{mask.shape[1]}x{mask.shape[0]}"
            text = f"for {SIDE}x{SIDE} pixels a mask of {size} was written, with values up to {mask.max()}"
            return Check(FAILED, text, REPORT_IT)
        same = float(np.mean(mask == runner.maps([picture])[0].class_map.cpu().numpy()))
        if same < AGREEMENT:
            return Check(FAILED, f"{same:.1%} of a written mask are what the network found", REPORT_IT, {"same": same})
    rate = summary.images / max(summary.seconds, 1e-9)
    return Check(OK, f"{PICTURES} images to masks and overlays", facts={"images_per_second": round(rate, 1)})


def timings(bench: Bench) -> Check:
    """Milliseconds an image for decoding, for the network (with resizing), and for encoding and writing a mask."""
    from defectctl.fileio import write_bytes
    from defectctl.imaging.masks import encode_mask
    from defectctl.imaging.palette import class_colours
    from defectctl.imaging.reader import read_image
    from defectctl.inference.runner import TorchRunner

    assert bench.preset is not None and bench.model is not None and bench.device is not None
    runner = TorchRunner(bench.model.eval(), bench.preset.input, bench.device, bench.precision, fold=True)
    files = sorted(bench.images.iterdir())
    colours = class_colours(3)
    facts = {
        "decode_ms": _median_ms(files, read_image),
        "network_ms": _median_ms(bench.pictures, lambda picture: runner.maps([picture])[0].class_map.cpu()),
        "write_ms": _median_ms(
            list(enumerate(bench.masks)),
            lambda pair: write_bytes(bench.root / "timed" / f"{pair[0]}.png", encode_mask(pair[1], colours)),
        ),
    }
    text = ", ".join(f"{name.removesuffix('_ms')} {value} ms" for name, value in facts.items())
    text += f" an image of {SIDE}x{SIDE} pixels, one after the other"
    if facts["write_ms"] > 10 * max(facts["network_ms"], 10.0):
        advice = "work on a local disk, and ask the virus scanner to leave the results' folder out"
        return Check(WARNING, text, advice, facts)
    return Check(OK, text, facts=facts)


def trial() -> Check:
    """Predict two generated surfaces with the model that a command takes where `--model` names none."""
    from defectctl.checkpoints.runs import find_model
    from defectctl.errors import InputError
    from defectctl.imaging.synthetic import write_raw_folder
    from defectctl.inference.load import open_runner
    from defectctl.inference.options import PredictOptions
    from defectctl.inference.predict import predict_files
    from defectctl.inference.sources import list_inputs

    with _quiet_folder() as root:
        try:
            path, _ = find_model(None)
        except InputError:
            return Check(OK, "there is none, so none is tried")
        write_raw_folder(root, 2, seed=1, size=(SIDE, SIDE))
        runner, contract = open_runner(path)
        out = root / "results"
        inputs = list_inputs([str(root / "images")], out)
        summary = predict_files(inputs, out, runner, contract, path, PredictOptions())
    facts = {"verdicts": summary.verdicts, "seconds": round(summary.seconds, 3)}
    if summary.images != 2 or summary.unreadable:
        return Check(FAILED, f"{path} predicted {summary.images} of 2 images: {summary.verdicts}", REPORT_IT, facts)
    where = f"on {runner.device}, {runner.precision}"
    return Check(OK, f"{path} predicts 2 surfaces {where}, in {summary.seconds:.1f} s", facts=facts)


STEPS: tuple[tuple[str, Callable[[Bench], Check]], ...] = (
    ("surfaces", surfaces),
    ("network", network),
    ("pipeline", pipeline),
    ("timings", timings),
)


@contextmanager
def _quiet_folder() -> Iterator[Path]:
    """A temporary folder, while what is said on standard error is kept from the screen."""
    folder = tempfile.TemporaryDirectory(prefix="defectctl-", ignore_cleanup_errors=True)
    with folder as root, redirect_stderr(StringIO()):
        yield Path(root)


def _median_ms(items: list[Any], work: Callable[[Any], Any]) -> float:
    """Median of the milliseconds that `work` takes; the first run, which warms up, is not counted."""
    work(items[0])
    taken = []
    for item in items:
        began = time.perf_counter()
        work(item)
        taken.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(taken), 1)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
