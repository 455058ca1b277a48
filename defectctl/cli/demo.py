"""`defectctl demo`: every step once, on generated steel surfaces, in about a minute of training."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from defectctl.errors import InputError
from defectctl.messages import say, set_quiet

if TYPE_CHECKING:
    from defectctl.dataset.types import Dataset, Split
    from defectctl.inference.predict import Summary

PICTURES = 320
"""Generated surfaces: 224 to train on, 48 to choose the epoch by, 48 to test."""

SIDE = 128
"""Height and width of a generated surface, in pixels."""

MOST_THREADS = 4
"""The demo computes on every core up to this many: it is watched, so it may have the machine for a minute."""

OVERRIDES = (
    "model={name: sme-deeplab, backbone: starnet_s050}",
    f"input.size=[{SIDE}, {SIDE}]",
    "train.batch_size=8",
    "train.stages.0.epochs=15",
)
"""What the demo changes in the preset `quick`: a smaller network, which learns faster from so few pictures."""


def command(
    out: Annotated[Path, typer.Option("--out", help="New folder for all that the demo makes.")] = Path("demo"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the surfaces and of the training.")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Threads that compute on the CPU; default: all cores, at most 4."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No messages, only warnings and the result.")] = False,
) -> None:
    """Generate steel surfaces with defects, prepare, train, evaluate and predict them, each step once.

    Shows in about a minute of training (two processor cores) whether the installation works, and what each step makes.

    Example: defectctl demo --out demo
    """
    set_quiet(quiet)
    from defectctl.inference.device import check_device_name, choose_device

    check_device_name(device)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"'{out}' is not an empty folder; choose a new one with --out, or delete it")
    threads = threads or min(os.cpu_count() or 1, MOST_THREADS)
    device = str(choose_device(device))  # once: each choice of its own would announce the CPU anew
    dataset, split = _make_data(out, seed)
    model, seconds = _train(out, seed, device, threads, quiet)
    from defectctl.evaluation.evaluate import Hardware, evaluate

    say("evaluate: compare with the truth")
    result = evaluate(model, dataset.root, hardware=Hardware(device, threads=threads))
    summary = _predict(out, model, dataset, split, device, threads)
    places = {
        "raw images": out / "raw",
        "dataset": dataset.root,
        "model": model,
        "evaluation": Path(result["out"]),
        "masks": out / "masks",
        "overlays": out / "masks" / "overlays",
    }
    _report(result, summary, places, seconds, as_json)


def _make_data(out: Path, seed: int) -> tuple[Dataset, Split]:
    from defectctl.formats.base import ReadOptions
    from defectctl.formats.prepare import PrepareOptions, prepare
    from defectctl.imaging.synthetic import DEFAULT_CLASSES, write_raw_folder

    say(f"generate: {PICTURES} steel surfaces in {out / 'raw'}")
    write_raw_folder(out / "raw", PICTURES, seed, (SIDE, SIDE))
    say(f"prepare: dataset in {out / 'data'}")
    read = ReadOptions(classes=tuple(DEFAULT_CLASSES))
    result = prepare(out / "raw", out / "data", PrepareOptions(read=read, name="demo", seed=seed))
    return result.dataset, result.split


def _train(out: Path, seed: int, device: str, threads: int | None, quiet: bool) -> tuple[Path, float]:
    """Train and return the model file and the seconds it took."""
    from defectctl.training.request import TrainOptions, check_request

    job = check_request(
        TrainOptions(
            preset="quick",
            data=out / "data",
            overrides=OVERRIDES,
            out=out / "runs",
            device=device,
            threads=threads,
            seed=seed,
            quiet=quiet,
        )
    )
    from defectctl.training.launch import start_training

    say(f"train: preset 'quick', {len(job.train)} images")
    began = time.perf_counter()
    model = start_training(job).model
    return model, time.perf_counter() - began


def _predict(out: Path, model: Path, dataset: Dataset, split: Split, device: str, threads: int | None) -> Summary:
    """Predict the test images as a user would: files in, masks and overlays out."""
    from defectctl.inference.device import choose_device, choose_precision, set_threads
    from defectctl.inference.options import PredictOptions
    from defectctl.inference.predict import predict_files
    from defectctl.inference.runner import load_runner
    from defectctl.inference.sources import list_inputs

    say(f"predict: masks and overlays in {out / 'masks'}")
    place = choose_device(device)
    set_threads(threads, place)
    runner, contract = load_runner(model, place, choose_precision(place))
    files = {sample.id: str(dataset.image_path(sample)) for sample in dataset.samples}
    inputs = list_inputs([files[name] for name in split.parts["test"]], out / "masks")
    options = PredictOptions(write=("masks", "overlays"), min_area=contract.min_area)
    return predict_files(inputs, out / "masks", runner, contract, model, options)


def _report(result: dict[str, Any], summary: Summary, places: dict[str, Path], seconds: float, as_json: bool) -> None:
    from defectctl.cli.evaluate_tell import figures
    from defectctl.cli.tables import print_json, print_table

    if as_json:
        print_json(
            {
                "metrics": result["metrics"],
                "parts": result["parts"],
                "verdicts": summary.verdicts,
                "training_seconds": round(seconds, 1),
                "files": {name.replace(" ", "_"): str(path) for name, path in places.items()},
            }
        )
        return
    title = f"demo: {result['dataset']['images']} test images after {seconds:.0f} s of training"
    print_table(["metric", "value", f"{result['confidence']:.0%} interval", "meaning"], figures(result)[:7], title)
    print_table(["made", "where"], [(name, str(path)) for name, path in places.items()])
    print(f"look at: {places['overlays']} and {places['evaluation'] / 'report.html'}")
